"""The commands as their users run them, on a private server; `poolctl run` has a file of its own."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
from collections.abc import AsyncIterator

import pytest

from pool.client import AsyncClient, Client
from pool.errors import AlreadyReleased
from pool.models import Outcome, Priority, ResetLevel, ResetReason, State
from pool.store import PoolStore
from tests.poolctl import POOLCTL, Poolctl, hold, one_container, only, queued, shows
from tests.support import add_available, eventually, settings, wish


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[PoolStore]:
    async with one_container(redis_url) as store:
        yield store


async def test_nothing_free_in_time_is_exit_code_3(poolctl: Poolctl, store: PoolStore) -> None:
    await hold(store)

    at_once = await poolctl("acquire", store.pool, "--wait", "0")
    waited = await poolctl("run", "--pool", store.pool, "--wait", "0.1", "true")

    assert (at_once.code, waited.code) == (3, 3)
    assert at_once.err.startswith("error: no container of pool")
    assert "became free within 0.1 s" in waited.err


# acquire and release


async def test_an_acquired_lease_outlives_the_command_until_it_is_released(poolctl: Poolctl, store: PoolStore) -> None:
    taken = await poolctl("acquire", store.pool, "--priority", "high", "--owner", "me", "--json")
    lease = json.loads(taken.out)
    record = await only(store)

    assert (record.state, record.owner) == (State.ALLOCATED, "me")
    assert (lease["pool"], lease["priority"], lease["ttl_s"]) == (store.pool, "high", 120)
    assert "it lapses in 120 s" in taken.err

    given_back = await poolctl("release", lease["ref"], "--outcome", "failed")
    again = await poolctl("release", lease["ref"])

    record = await only(store)
    assert (given_back.code, record.state, record.outcome) == (0, State.CLEANING, Outcome.FAILED)
    assert again.code == 4
    assert again.err.startswith("error: the lease of request")


async def test_what_a_request_says_about_itself_is_shown_with_its_holder(poolctl: Poolctl, store: PoolStore) -> None:
    taken = await poolctl("acquire", store.pool, "--metadata", "job=17", "--metadata", "branch=a=b", "--json")
    status = await poolctl("status", store.pool, "--json")
    wrong = await poolctl("acquire", store.pool, "--metadata", "job")

    metadata = {"job": "17", "branch": "a=b"}
    assert json.loads(taken.out)["metadata"] == metadata
    assert json.loads(status.out)["pools"][0]["containers"][0]["metadata"] == metadata
    assert wrong.code == 2
    assert "'job' is no NAME=VALUE" in wrong.err


async def test_a_shell_evaluates_what_acquire_wrote_and_release_finds_it(poolctl: Poolctl, store: PoolStore) -> None:
    command = shlex.join(POOLCTL)
    script = f"""
        eval "$({command} acquire {store.pool} --shell --owner "it's me" --timeout 30)"
        echo "$POOL_CONTAINER_URL $POOL_CONTAINER_PORT_3000 $POOL_OWNER"
        {command} release
    """

    ended = await poolctl.end(await poolctl.start(script, program=("sh", "-c")))

    assert (ended.code, ended.out) == (0, "http://127.0.0.1:3001 3001 it's me\n")
    assert "give it back with `poolctl release`; it lapses in 30 s" in ended.err
    assert (await only(store)).state is State.CLEANING


async def test_lines_for_people_name_container_and_lease_and_release_reads_it_from_stdin(
    poolctl: Poolctl, store: PoolStore
) -> None:
    taken = await poolctl("acquire", store.pool, "--ttl", "5")
    lines = dict(line.split(maxsplit=1) for line in taken.out.splitlines())

    ended = await poolctl("release", "-", stdin=lines["lease"] + "\n")

    assert (lines["container"], lines["url"], lines["pool"]) == ("a", "http://127.0.0.1:3001", store.pool)
    assert "it lapses in 5 s" in taken.err
    assert (ended.code, (await only(store)).state) == (0, State.CLEANING)


async def test_the_same_request_id_gets_the_same_lease(poolctl: Poolctl, store: PoolStore) -> None:
    words = ("acquire", store.pool, "--owner", "me", "--request-id", f"r-{store.pool}", "--json")

    first, second = json.loads((await poolctl(*words)).out), json.loads((await poolctl(*words)).out)

    assert first["ref"] == second["ref"]


async def test_acquire_interrupted_while_waiting_withdraws_the_request(poolctl: Poolctl, store: PoolStore) -> None:
    await hold(store)
    process = await poolctl.start("acquire", store.pool)
    await queued(store, 1)

    process.send_signal(signal.SIGINT)
    ended = await poolctl.end(process)

    assert (ended.code, ended.out, ended.err) == (130, "", "")
    assert not (await store.status()).queue


async def test_a_detached_lease_outlives_its_client_and_is_no_longer_the_clients(
    redis_url: str, store: PoolStore
) -> None:
    async with AsyncClient(redis_url) as client:
        lease = await client.acquire(store.pool, ttl_s=60)
        await lease.detach()
        with pytest.raises(AlreadyReleased, match="detached"):
            await lease.release()
        assert lease.released

    assert (await only(store)).state is State.ALLOCATED
    async with AsyncClient(redis_url) as other:
        await other.release(lease.data.ref)
    assert (await only(store)).state is State.CLEANING


async def test_the_synchronous_client_detaches_too(redis_url: str, store: PoolStore) -> None:
    def use() -> None:
        with Client(redis_url) as client, client.acquire(store.pool, ttl_s=60) as lease:
            lease.detach()

    await asyncio.to_thread(use)

    assert (await only(store)).state is State.ALLOCATED


# Mistakes


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["acquire", "no-such-pool"], "pool 'no-such-pool' does not exist"),
        (["acquire", "No Such"], "pool: 'No Such' is not allowed"),
        (["acquire", "POOL", "--priority", "urgent"], "priority: 'urgent' is not allowed; use one of critical"),
        (["acquire", "POOL", "--wait", "-1"], "wait_s: -1.0 is not allowed; use seconds from 0"),
        (["acquire", "POOL", "--wait", "nan"], "wait_s: nan is not allowed"),
        (["acquire", "POOL", "--wait", "9000"], "allows at most 300"),
        (["acquire", "POOL", "--timeout", "0"], "timeout_s: 0.0 is not allowed"),
        (["acquire", "POOL", "--owner", ""], "owner: '' is not allowed"),
        (["acquire", "POOL", "--request-id", "a b"], "request_id: 'a b' is not allowed"),
        (["run", "--pool", "POOL", "--priority", "urgent", "true"], "priority: 'urgent' is not allowed"),
        (["release", "nonsense"], "lease: '…' is not allowed"),
        (["release", "POOL/r/1/t", "--outcome", "great"], "outcome: 'great' is not allowed"),
        (["reset", "nobody", "--pool", "POOL"], "there is no container 'nobody'"),
        (["reset", "a", "--pool", "POOL", "--level", "deep"], "level: 'deep' is not allowed; use one of soft"),
        (["status", "no-such-pool"], "pool 'no-such-pool' does not exist"),
        (["status", "--url", "redis://127.0.0.1:1"], "Redis at redis://127.0.0.1:1 does not answer"),
        (["--url", "redis://u:hush@127.0.0.1:1", "status"], "Redis at redis://•••@127.0.0.1:1 does not answer"),
        (["status", "--url", "gopher://x"], "redis url: 'gopher://x' is not allowed"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_a_mistake_is_told_in_one_line_without_a_traceback(
    poolctl: Poolctl, store: PoolStore, words: list[str], said: str
) -> None:
    ended = await poolctl(*(word.replace("POOL", store.pool) for word in words))

    assert ended.code == 2
    assert ended.err.splitlines()[0].startswith("error: ")
    assert said in ended.err.splitlines()[0]
    assert "Traceback" not in ended.err
    assert (await only(store)).state is State.AVAILABLE


async def test_without_a_url_and_a_private_server_nothing_is_started(poolctl: Poolctl) -> None:
    del poolctl.environment["POOL_URL"]

    ended = await poolctl("status")

    assert ended.code == 2
    assert ended.err == ("error: no pool runs here\nhint: start one with `poolctl serve CONFIG`, or give --url\n")
    assert not (poolctl.directory / "state").exists()


# status


async def test_status_counts_places_and_shows_spares_beside_them(poolctl: Poolctl, store: PoolStore) -> None:
    await store.open(settings(size=1, spares=1), "again")
    await add_available(store, "b")

    for_people, for_programs = await poolctl("status", store.pool), await poolctl("status", store.pool, "--json")

    assert f"{store.pool}: 1 of 1 available and 1 spare, 0 waiting" in for_people.out
    [pool] = json.loads(for_programs.out)["pools"]
    assert (pool["places"], [container["state"] for container in pool["containers"]]) == (1, ["available", "spare"])


async def test_status_shows_containers_queue_and_what_is_amiss(poolctl: Poolctl, store: PoolStore) -> None:
    lease = await hold(store)
    await store.acquire(wish("waiter", owner="bob", liveness_s=60.0))

    ended = await poolctl("status", store.pool)

    assert ended.code == 0
    assert f"{store.pool}: 0 of 1 available, 1 waiting" in ended.out
    assert "no active manager: start one with `poolctl serve CONFIG`" in ended.out
    assert "allocated" in ended.out
    assert "bob" in ended.out
    assert lease.token not in ended.out
    assert "\x1b" not in ended.out


async def test_status_as_json_is_plain_and_holds_no_token(poolctl: Poolctl, store: PoolStore) -> None:
    lease = await hold(store)
    await store.acquire(wish("waiter", liveness_s=60.0))
    await store.lead("m", ttl_s=60, info="host 1")

    ended = await poolctl("status", store.pool, "--json")

    [status] = json.loads(ended.out)["pools"]
    [container], [request] = status["containers"], status["queue"]
    assert lease.token not in ended.out
    assert (status["pool"], status["manager"], status["draining"]) == (store.pool, "host 1", False)
    assert (container["id"], container["state"], container["owner"]) == ("a", "allocated", "owner")
    assert container["expires_at"] > container["granted_at"]
    assert container["ports"] == {"3000": 3001}
    assert (request["request_id"], request["position"], request["priority"]) == ("waiter", 1, "normal")


async def test_status_of_all_pools_includes_each(poolctl: Poolctl, store: PoolStore) -> None:
    ended = await poolctl("status", "--json")

    assert store.pool in [status["pool"] for status in json.loads(ended.out)["pools"]]


async def test_queue_says_who_waits_how_long_and_why(poolctl: Poolctl, store: PoolStore) -> None:
    assert (await poolctl("queue", store.pool)).out == f"nobody waits for {store.pool}\n"
    await hold(store)
    await store.acquire(wish("mine", priority=Priority.HIGH, liveness_s=60.0))

    table = await poolctl("queue", store.pool)
    document = json.loads((await poolctl("queue", store.pool, "--json")).out)
    sentence = await poolctl("queue", store.pool, "--explain", "mine")

    assert all(word in table.out for word in ("mine", "high", "about", "Next in line"))
    [entry] = document["queue"]
    assert (entry["request_id"], entry["effective_priority"]) == ("mine", "high")
    assert entry["estimated_wait_s"] > 0
    assert sentence.out.startswith("Next in line, containers: 1 leased; its turn should come")
    unknown = await poolctl("queue", store.pool, "--explain", "nobody")
    assert unknown.code == 2
    assert "neither waits" in unknown.err


async def test_extend_moves_the_deadline_until_the_extensions_run_out(poolctl: Poolctl, store: PoolStore) -> None:
    acquired = await poolctl("acquire", store.pool, "--json")
    lease = json.loads(acquired.out)

    for number in (1, 2, 3):
        extended = await poolctl("extend", lease["ref"], "--by", "60", "--reason", "slow", "--json")
        assert json.loads(extended.out)["extensions_used"] == number
    denied = await poolctl("extend", lease["ref"], "--by", "60", "--reason", "slow")

    assert denied.code == 4
    assert "extended 3 times already" in denied.err
    assert (await poolctl("release", lease["ref"])).code == 0


async def test_watching_goes_on_until_it_is_interrupted(poolctl: Poolctl, store: PoolStore) -> None:
    process = await poolctl.start("status", store.pool, "--watch", "--json")
    assert process.stdout is not None
    async with asyncio.timeout(20):
        first = json.loads(await process.stdout.readline())["pools"][0]
        await store.transition(await only(store), State.QUARANTINED, store={"note": "broken"})
        later = first
        while later["containers"][0]["note"] != "broken":
            later = json.loads(await process.stdout.readline())["pools"][0]

    process.send_signal(signal.SIGINT)
    ended = await poolctl.end(process)

    assert (first["containers"][0]["state"], later["containers"][0]["state"]) == ("available", "quarantined")
    assert (ended.code, ended.err) == (130, "")


async def test_watching_at_a_terminal_refreshes_the_table(
    poolctl: Poolctl, store: PoolStore, terminal: tuple[int, int]
) -> None:
    person, slave = terminal
    process = await poolctl.start("status", store.pool, "--watch", stdout=slave)
    await eventually(shows(person, "available"), deadline_s=20)

    await store.transition(await only(store), State.QUARANTINED)
    await eventually(shows(person, "quarantined"), deadline_s=20)
    process.send_signal(signal.SIGINT)
    ended = await poolctl.end(process)

    assert (ended.code, ended.err) == (130, "")


# reset


async def test_reset_finds_the_container_and_says_that_nobody_manages_it(poolctl: Poolctl, store: PoolStore) -> None:
    await add_available(store, f"b-{store.pool}")

    ended = await poolctl("reset", f"b-{store.pool}", "--level", "hard")

    record = (await store.status()).containers[1]
    assert (ended.code, ended.out) == (0, f"b-{store.pool}: hard reset asked for\n")
    assert "no active manager" in ended.err
    assert (record.state, record.level, record.reason) == (State.RESETTING, ResetLevel.HARD, ResetReason.MANUAL)


@pytest.mark.parametrize(
    ("end", "code", "told"),
    [(State.AVAILABLE, 0, "a: available"), (State.QUARANTINED, 1, "a: quarantined: broken")],
)
async def test_reset_waits_for_the_end_and_tells_what_it_sees(
    poolctl: Poolctl, store: PoolStore, end: State, code: int, told: str
) -> None:
    process = await poolctl.start("reset", "a", "--pool", store.pool, "--wait")

    async def begun() -> bool:
        return (await only(store)).state is State.RESETTING

    await eventually(begun, deadline_s=20)
    await store.transition(await only(store), end, store={"note": "broken"})
    ended = await poolctl.end(process)

    assert (ended.code, ended.out.splitlines()[-1]) == (code, told)


async def test_a_held_container_is_not_reset(poolctl: Poolctl, store: PoolStore) -> None:
    await hold(store)

    ended = await poolctl("reset", "a", "--pool", store.pool)

    assert ended.code == 2
    assert "allocated by 'owner'" in ended.err
