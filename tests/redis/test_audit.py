"""The audit of a pool in Redis and in a file: whole, in order, once, and true about what was done to it."""

from __future__ import annotations

import asyncio
import json
import stat
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pool.allocator import Order, request_drain, request_quarantine, request_reset, request_restore, request_resume
from pool.audit import AccessJournal, AuditFile, Auditor, Reader, Verdict, verify_chain, verify_file
from pool.audit.auditor import _ACCESS_KEPT
from pool.errors import ConfigError, UnknownContainer, WrongState
from pool.models import LeaseRef, Outcome, ResetLevel, State
from pool.store import ACCESS, AuditStore, Connection, Grant, PoolStore
from tests.support import Clock, add_available, wish

ALICE = Order("alice@desk", "it leaks")


@pytest.fixture
def auditor(store: PoolStore) -> Auditor:
    return Auditor(store.connection, store.pool, keep=100_000)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def file(tmp_path: Path, told: list[str]) -> AuditFile:
    return AuditFile(tmp_path / "audit.jsonl", lambda _, why: told.append(why) if why else None)


async def entries(store: PoolStore, pool: str | None = None) -> list[dict[str, Any]]:
    return await Reader(store.connection, [pool or store.pool]).read()


async def checked(store: PoolStore) -> Verdict:
    return await verify_chain(store.connection, store.pool)


async def use(store: PoolStore, request: str, outcome: Outcome = Outcome.PASSED) -> None:
    """Lend the container, give it back, and have it available again."""
    answer = await store.acquire(wish(request))
    assert isinstance(answer, Grant)
    await store.release(LeaseRef.parse(answer.lease.ref), outcome)
    [record] = (await store.status()).containers
    assert await store.transition(record, State.AVAILABLE, facts={"reset_level": "soft"})


async def test_a_lease_leaves_who_had_what_and_how_it_ended(store: PoolStore, auditor: Auditor) -> None:
    await add_available(store, "a")
    await use(store, "r1", Outcome.FAILED)

    await auditor.look()

    told = [(entry["type"], entry["who"], entry["result"]) for entry in await entries(store)]
    assert told == [
        ("pool.created", "manager", "created"),
        ("lease.granted", "owner", "granted"),
        ("lease.released", "owner", "failed"),
        ("container.moved", "manager", "cleaning to available, soft reset"),
    ]
    assert (await checked(store)).fault is None
    assert "token-r1" not in json.dumps(await entries(store))


async def test_what_operators_do_says_who_and_why(store: PoolStore, auditor: Auditor) -> None:
    await add_available(store, "a")

    await request_quarantine(store, "a", ALICE.why, by=ALICE.by)
    await request_restore(store, "a", order=ALICE)
    await request_drain(store, order=ALICE)
    await request_resume(store, order=ALICE)
    await request_drain(store, "a", order=ALICE)
    await request_resume(store, "a", order=ALICE)
    await auditor.look()

    hers = [(entry["what"], entry["result"]) for entry in await entries(store) if entry["who"] == "alice@desk"]
    assert hers == [
        ("container a", "available to quarantined"),
        ("container a", "quarantined to resetting"),
        (f"pool {store.pool}", "draining"),
        (f"pool {store.pool}", "resumed"),
        ("container a", "draining"),
        ("container a", "resumed"),
    ]
    assert {entry["why"] for entry in await entries(store) if entry["who"] == "alice@desk"} == {"it leaks"}


async def test_what_operators_are_refused_is_audited_too(store: PoolStore, auditor: Auditor) -> None:
    await add_available(store, "a")
    assert isinstance(await store.acquire(wish("r1")), Grant)

    with pytest.raises(WrongState):
        await request_reset(store, "a", ResetLevel.HARD, order=ALICE)
    with pytest.raises(UnknownContainer):
        await request_drain(store, "z", order=ALICE)
    await auditor.look()

    refused = [entry for entry in await entries(store) if entry["type"] == "operator.refused"]
    assert [(entry["who"], entry["what"]) for entry in refused] == [
        ("alice@desk", "container a"),
        ("alice@desk", "container z"),
    ]
    assert "is allocated by 'owner'" in refused[0]["result"]


async def test_another_manager_goes_on_where_the_last_one_was(store: PoolStore, auditor: Auditor) -> None:
    await add_available(store, "a")
    await use(store, "r1")
    await auditor.look()

    await use(store, "r2")
    await Auditor(store.connection, store.pool, keep=100_000).look()
    await use(store, "r3")
    await auditor.look()  # it does not know yet that another one was there

    await auditor.look()
    granted = [entry["facts"]["request"] for entry in await entries(store) if entry["type"] == "lease.granted"]
    assert granted == ["r1", "r2", "r3"]
    assert (await checked(store)).fault is None


async def test_many_auditors_at_once_write_one_chain_and_nothing_twice(store: PoolStore) -> None:
    await add_available(store, "a")
    several = [Auditor(store.connection, store.pool, keep=100_000) for _ in range(5)]

    for number in range(5):
        await use(store, f"r{number}")
        await asyncio.gather(*(each.look() for each in several))
    await several[0].look()
    await several[0].look()

    granted = [entry["facts"]["request"] for entry in await entries(store) if entry["type"] == "lease.granted"]
    assert granted == [f"r{number}" for number in range(5)]
    assert (await checked(store)).fault is None


async def test_events_that_were_trimmed_before_they_were_read_are_an_entry(store: PoolStore, auditor: Auditor) -> None:
    await add_available(store, "a")
    await auditor.look()
    await use(store, "r1")
    async with store.connection.plain() as redis:
        await redis.xtrim(f"cp:{{{store.pool}}}:events", maxlen=1, approximate=False)

    await auditor.look()
    await auditor.look()

    kinds = [entry["type"] for entry in await entries(store)]
    assert kinds.count("audit.gap") == 1
    assert (await checked(store)).fault is None


async def test_the_oldest_entries_go_and_the_rest_still_fits(store: PoolStore) -> None:
    await add_available(store, "a")
    small = Auditor(store.connection, store.pool, keep=1)

    for number in range(120):
        await use(store, f"r{number}")
        await small.look()

    verdict = await checked(store)
    assert verdict.fault is None
    assert verdict.entries < 361 == verdict.head.number


async def test_the_audit_outlives_its_pool(store: PoolStore, auditor: Auditor) -> None:
    await auditor.look()

    await store.forget()

    assert [entry["type"] for entry in await entries(store)] == ["pool.created"]


# Tampering in Redis


async def prepared(store: PoolStore, auditor: Auditor) -> list[Any]:
    await add_available(store, "a")
    for number in range(3):
        await use(store, f"r{number}")
    await auditor.look()
    return await AuditStore(store.connection, store.pool).read()


async def replaced(store: PoolStore, links: list[Any]) -> None:
    """Write the chain anew, as somebody with access to Redis can."""
    key = f"cp:{{{store.pool}}}:audit"
    async with store.connection.plain() as redis:
        await redis.delete(key)
        for link in links:
            await redis.xadd(key, {"hash": link.hash, "entry": link.text})
        await redis.expire(key, 60)


async def test_a_changed_entry_in_redis_is_named(store: PoolStore, auditor: Auditor) -> None:
    links = await prepared(store, auditor)
    forged = type(links[3])(links[3].id, links[3].hash, links[3].text.replace("manager", "nobody"))

    await replaced(store, [*links[:3], forged, *links[4:]])

    fault = (await checked(store)).fault
    assert fault is not None
    assert fault.what == "entry 4 was changed: its hash is another"


async def test_a_removed_entry_in_redis_is_named(store: PoolStore, auditor: Auditor) -> None:
    links = await prepared(store, auditor)
    async with store.connection.plain() as redis:
        await redis.xdel(f"cp:{{{store.pool}}}:audit", links[4].id)

    fault = (await checked(store)).fault

    assert fault is not None
    assert fault.what == "entry 6 follows entry 4: what was between them is missing"


async def test_an_inserted_or_moved_entry_in_redis_is_named(store: PoolStore, auditor: Auditor) -> None:
    links = await prepared(store, auditor)

    await replaced(store, [*links[:4], links[2], *links[4:]])
    inserted = (await checked(store)).fault
    await replaced(store, [*links[:4], links[5], links[4], *links[6:]])
    moved = (await checked(store)).fault

    assert "was inserted or moved" in str(inserted)
    assert "entry 6 follows entry 4" in str(moved)


async def test_after_a_broken_entry_the_audit_goes_on_and_never_verifies_again(
    store: PoolStore, auditor: Auditor
) -> None:
    await prepared(store, auditor)
    async with store.connection.plain() as redis:
        await redis.xadd(f"cp:{{{store.pool}}}:audit", {"rubbish": "x"})

    await use(store, "later")
    await Auditor(store.connection, store.pool, keep=1000).look()

    assert "later" in [entry["facts"].get("request") for entry in await entries(store)]
    assert (await checked(store)).fault is not None


# The file


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


async def test_the_file_has_what_the_chain_has_and_only_its_user_reads_it(
    store: PoolStore, file: AuditFile, tmp_path: Path
) -> None:
    path = tmp_path / "audit.jsonl"
    auditor = Auditor(store.connection, store.pool, keep=1000, file=file, others=[ACCESS])
    await add_available(store, "a")
    await AccessJournal(store.connection).record("token.created", who="alice", what="token ci")

    await use(store, "r1")
    await auditor.look()
    await use(store, "r2")
    await auditor.look()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    verdicts = {verdict.pool: verdict for verdict in verify_file(path)}
    assert verdicts[store.pool].head == (await checked(store)).head
    assert verdicts[ACCESS].fault is None


async def test_a_file_that_was_moved_away_is_made_anew_and_both_fit(
    store: PoolStore, file: AuditFile, tmp_path: Path
) -> None:
    path, moved = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    auditor = Auditor(store.connection, store.pool, keep=1000, file=file)
    await add_available(store, "a")
    await use(store, "r1")
    await auditor.look()

    path.rename(moved)
    await use(store, "r2")
    await auditor.look()

    [first], [second] = verify_file(moved), verify_file(path)
    assert (first.fault, second.fault) == (None, None)
    assert second.first == first.head.number + 1


async def test_another_process_goes_on_in_the_file_and_mends_a_torn_line(
    store: PoolStore, file: AuditFile, tmp_path: Path
) -> None:
    path = tmp_path / "audit.jsonl"
    await add_available(store, "a")
    await use(store, "r1")
    await Auditor(store.connection, store.pool, keep=1000, file=file).look()
    whole = path.read_text()
    path.write_text(whole[:-20])  # as a crash leaves it

    await use(store, "r2")
    await Auditor(store.connection, store.pool, keep=1000, file=AuditFile(path, lambda *_: None)).look()

    [verdict] = verify_file(path)
    assert verdict.fault is None
    assert verdict.head == (await checked(store)).head


async def test_when_redis_lost_its_data_the_chain_of_the_file_goes_on(
    store: PoolStore, file: AuditFile, tmp_path: Path
) -> None:
    path = tmp_path / "audit.jsonl"
    await add_available(store, "a")
    await use(store, "r1")
    await Auditor(store.connection, store.pool, keep=1000, file=file).look()
    async with store.connection.plain() as redis:
        await redis.delete(f"cp:{{{store.pool}}}:audit", f"cp:{{{store.pool}}}:events")

    await use(store, "r2")
    await Auditor(store.connection, store.pool, keep=1000, file=AuditFile(path, lambda *_: None)).look()

    [verdict] = verify_file(path)
    assert verdict.fault is None
    assert verdict.entries == len(lines(path)) == verdict.head.number


@pytest.mark.parametrize(
    ("number", "change", "what"),
    [
        (3, lambda line: line.replace('"owner"', '"nobody"'), "was changed"),
        (3, lambda _: "", "was between them is missing"),
        (3, lambda line: f"{line}\n{line}", "was inserted or moved"),
        (3, lambda _: "{}", "no entry"),
    ],
)
async def test_what_was_done_to_the_file_is_named(
    store: PoolStore, file: AuditFile, tmp_path: Path, number: int, change: Any, what: str
) -> None:
    path = tmp_path / "audit.jsonl"
    await add_available(store, "a")
    await use(store, "r1")
    await use(store, "r2")
    await Auditor(store.connection, store.pool, keep=1000, file=file).look()
    text = lines(path)

    changed = [*text[: number - 1], change(text[number - 1]), *text[number:]]
    path.write_text("".join(f"{line}\n" for line in changed if line))

    faults = [str(verdict.fault) for verdict in verify_file(path) if verdict.fault]
    assert any(what in fault for fault in faults)
    assert all("line " in fault for fault in faults)


async def test_a_file_that_cannot_be_written_is_told_of_and_the_chain_goes_on(
    store: PoolStore, file: AuditFile, tmp_path: Path, told: list[str]
) -> None:
    path, elsewhere = tmp_path / "audit.jsonl", tmp_path / "elsewhere"
    elsewhere.write_text("")
    path.symlink_to(elsewhere)
    auditor = Auditor(store.connection, store.pool, keep=1000, file=file)
    await add_available(store, "a")

    await use(store, "r1")
    await auditor.look()
    path.unlink()
    await auditor.look()

    assert told
    assert elsewhere.read_text() == ""
    assert len(lines(path)) == (await checked(store)).entries


async def test_a_file_that_is_not_there_is_an_error_of_its_reader(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        verify_file(tmp_path / "none")


# Accesses


@pytest.fixture
async def journal(connection: Connection, clock: Clock) -> AsyncIterator[AccessJournal]:
    yield AccessJournal(connection)
    async with connection.plain() as redis:
        await redis.delete(f"cp:{{{ACCESS}}}:audit")


async def test_accesses_of_many_at_once_are_one_chain(connection: Connection, journal: AccessJournal) -> None:
    names = [uuid.uuid4().hex for _ in range(12)]

    await asyncio.gather(*(journal.record("access.denied", who=name, what="GET /v1/pools") for name in names))

    verdict = await verify_chain(connection, ACCESS)
    assert verdict.fault is None
    assert {entry["who"] for entry in await Reader(connection, [ACCESS]).read()} >= set(names)
    assert verdict.entries < _ACCESS_KEPT
