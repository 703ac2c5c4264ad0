"""The commands over a manager's HTTP server: the same words, the same output, the same exit codes as on Redis."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pool.access import TokenKeeper
from pool.models import Outcome, State
from pool.store import Connection, PoolStore, TokenStore
from tests.clients import api_server
from tests.poolctl import Poolctl, hold, one_container, only, queued
from tests.support import wish
from tests.support_access import own_redis, redis_of_module

__all__ = ["redis_of_module"]

pytestmark = pytest.mark.long


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[PoolStore]:
    async with one_container(redis_url) as store:
        yield store


@pytest.fixture
async def poolctl(redis_url: str, tmp_path: Path) -> AsyncIterator[Poolctl]:
    async with api_server(redis_url) as server, Poolctl(server.url, tmp_path) as runner:
        yield runner


async def test_status_queue_and_top_show_the_same_as_on_redis(
    poolctl: Poolctl, redis_url: str, store: PoolStore
) -> None:
    await hold(store)
    await store.acquire(wish("waiter", owner="bob", liveness_s=60.0))

    for words in (("status", store.pool), ("queue", store.pool), ("queue", store.pool, "--explain", "waiter")):
        over_http, direct = await poolctl(*words), await poolctl(*words, "--url", redis_url)
        assert (over_http.code, over_http.err) == (0, "")
        assert [line.split()[:2] for line in over_http.out.splitlines()] == [
            line.split()[:2] for line in direct.out.splitlines()
        ]
    top = await poolctl("top", store.pool)
    assert "bob" in top.out


async def test_a_lease_is_taken_extended_and_released(poolctl: Poolctl, store: PoolStore) -> None:
    lease = json.loads((await poolctl("acquire", store.pool, "--owner", "me", "--json")).out)
    extended = await poolctl("extend", lease["ref"], "--by", "60", "--reason", "slow", "--json")
    released = await poolctl("release", "-", "--outcome", "failed", stdin=lease["ref"] + "\n")
    again = await poolctl("release", lease["ref"])

    assert (lease["owner"], json.loads(extended.out)["extensions_used"]) == ("me", 1)
    assert (released.code, (await only(store)).outcome) == (0, Outcome.FAILED)
    assert again.code == 4


async def test_a_command_runs_under_a_lease_and_under_several(poolctl: Poolctl, store: PoolStore) -> None:
    one = await poolctl("run", "-p", store.pool, "--shell", 'echo "$POOL_CONTAINER_ID $POOL_URL"; exit 3')
    assert await store.transition(await only(store), State.AVAILABLE)
    many = await poolctl("run", "--many", f"{store.pool}=1", "--shell", f"echo $POOL_{store.pool.upper()}_IDS")

    assert (one.code, one.out) == (3, f"a {poolctl.environment['POOL_URL']}\n")
    assert (many.code, many.out) == (0, "a\n")


async def test_a_signal_while_waiting_withdraws_the_request(poolctl: Poolctl, store: PoolStore) -> None:
    await hold(store)
    process = await poolctl.start("run", "--pool", store.pool, "--", "touch", "ran")
    await queued(store, 1)

    process.send_signal(signal.SIGTERM)
    ended = await poolctl.end(process)

    assert (ended.code, ended.out, ended.err) == (143, "", "")
    await queued(store, 0)


async def test_operators_drain_quarantine_and_restore(poolctl: Poolctl, store: PoolStore) -> None:
    drained = await poolctl("drain", store.pool, "a", "--json")
    resumed = await poolctl("resume", store.pool, "a", "--json")
    away = await poolctl("quarantine", "a", "-p", store.pool, "--reason", "a look", "--json")
    back = await poolctl("restore", "a", "-p", store.pool, "--json")
    wrong = await poolctl("restore", "a", "-p", store.pool)

    assert [json.loads(each.out)["draining"] for each in (drained, resumed)] == [True, False]
    assert json.loads(away.out) == {"pool": store.pool, "container": "a", "name": "n-a", "state": "quarantined"}
    assert json.loads(back.out)["asked"] == "to be recreated"
    assert (wrong.code, (await only(store)).state) == (2, State.RESETTING)


async def test_events_are_shown_and_followed(poolctl: Poolctl, store: PoolStore) -> None:
    await hold(store)

    kept = await poolctl("events", store.pool, "--json", "--type", "lease.*")
    process = await poolctl.start("events", store.pool, "-f", "--json", "--type", "container.draining")
    lines = process.stdout
    assert lines is not None
    await store.drain_container("a")
    news = json.loads(await lines.readline())
    process.send_signal(signal.SIGINT)
    ended = await poolctl.end(process)

    assert [json.loads(line)["type"] for line in kept.out.splitlines()] == ["lease.granted"]
    assert (news["pool"], news["facts"]["container"]) == (store.pool, "a")
    assert (ended.code, ended.err) == (130, "")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["status", "no-such-pool"], 2, "pool 'no-such-pool' does not exist"),
        (["events", "no-such-pool"], 2, "pool 'no-such-pool' does not exist"),
        (["acquire", "POOL", "--priority", "urgent"], 2, "priority: 'urgent' is not allowed"),
        (["acquire", "POOL", "--wait", "0"], 3, "no container of pool"),
        (["reset", "a", "-p", "POOL"], 2, "allocated by 'owner'"),
        (["logs", "a", "-p", "POOL"], 2, "has no engine"),
        (["status", "--url", "http://127.0.0.1:1"], 2, "no answer from the server at http://127.0.0.1:1"),
        (["events", "--url", "http://127.0.0.1:1"], 2, "no answer from the server at http://127.0.0.1:1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_mistakes_are_told_as_on_redis(
    poolctl: Poolctl, store: PoolStore, words: list[str], code: int, said: str
) -> None:
    await hold(store)

    ended = await poolctl(*(word.replace("POOL", store.pool) for word in words))

    assert (ended.code, "Traceback" in ended.err) == (code, False)
    assert said in ended.err.splitlines()[0]


async def test_a_token_is_asked_for_and_its_role_counts(tmp_path: Path) -> None:
    async with own_redis() as redis_url, one_container(redis_url) as store, api_server(redis_url) as server:
        connection = Connection(redis_url)
        _, token = await TokenKeeper(TokenStore(connection)).create("ci")
        await connection.close()
        async with Poolctl(server.url, tmp_path) as poolctl:
            without = await poolctl("status")
            poolctl.environment["POOL_TOKEN"] = token
            status = await poolctl("status")
            events = await poolctl("events")
            top = await poolctl("top")

    assert (without.code, status.code, events.code, top.code) == (6, 0, 6, 0)
    assert "POOL_TOKEN" in without.err
    assert token not in without.err + events.err + status.out
    assert store.pool in top.out


async def test_the_doctor_asks_the_api(poolctl: Poolctl, store: PoolStore) -> None:
    document = json.loads((await poolctl("doctor", "--json")).out)

    found = {check["check"]: check["verdict"] for check in document["checks"]}
    assert (found["api"], found["api.token"]) == ("ok", "ok")
    assert found[f"pool.{store.pool}"] == "warn"  # nobody manages it
