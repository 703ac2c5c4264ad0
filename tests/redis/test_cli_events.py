"""`poolctl events` and `poolctl top`, run as their users do, on a private server."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator

import pytest

from pool.models import LeaseRef, Outcome, Priority, State
from pool.store import PoolStore
from tests.poolctl import Poolctl, hold, one_container, only, shows
from tests.support import eventually, wish


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[PoolStore]:
    async with one_container(redis_url) as store:
        yield store


async def reset_by_hand(store: PoolStore) -> None:
    """Have the container reset as a manager would."""
    facts: dict[str, str | int] = {"reset_level": "soft", "reset_ms": 14, "stages": "{}"}
    record = await only(store)
    assert await store.transition(record, State.RESETTING, store={"level": 1, "reason": "manual"})
    assert await store.transition(await only(store), State.AVAILABLE, store={"level": 0}, facts=facts)


# events


async def test_events_are_shown_oldest_first_without_the_token(poolctl: Poolctl, store: PoolStore) -> None:
    lease = await hold(store)
    await store.release(LeaseRef.parse(lease.ref), Outcome.PASSED)

    shown = await poolctl("events", store.pool)

    assert shown.code == 0
    assert shown.out.index("lease.granted") < shown.out.index("lease.released")
    assert "outcome=passed" in shown.out
    assert lease.token not in shown.out


async def test_events_for_programs_are_one_line_each(poolctl: Poolctl, store: PoolStore) -> None:
    await hold(store)

    shown = await poolctl("events", store.pool, "--json", "--type", "lease.*")

    [granted] = map(json.loads, shown.out.splitlines())
    assert (granted["pool"], granted["type"], granted["facts"]["container"]) == (store.pool, "lease.granted", "a")
    assert granted["at"].endswith("Z")


async def test_events_can_be_cut_to_a_number_a_container_and_a_time(poolctl: Poolctl, store: PoolStore) -> None:
    await hold(store)

    last = await poolctl("events", store.pool, "-n", "1", "--json")
    other = await poolctl("events", store.pool, "--container", "z")
    later = await poolctl("events", store.pool, "--since", "2100-01-01T00:00Z")
    all_of_it = await poolctl("events", store.pool, "--since", "1h", "--json")

    assert [json.loads(line)["type"] for line in last.out.splitlines()] == ["lease.granted"]
    assert (other.out, later.out) == ("", "")
    assert len(all_of_it.out.splitlines()) > 2


async def test_following_goes_on_with_what_happens(poolctl: Poolctl, store: PoolStore) -> None:
    process = await poolctl.start("events", store.pool, "-f", "--json", "--type", "container.draining")
    lines = process.stdout
    assert lines is not None
    await store.drain_container("a")  # before or after it began: the end of what is kept is where news begin

    line = json.loads(await lines.readline())
    await store.resume("a")
    await store.drain_container("a")
    again = json.loads(await lines.readline())
    process.send_signal(signal.SIGINT)
    ended = await poolctl.end(process)

    assert (line["type"], again["type"]) == ("container.draining", "container.draining")
    assert line["id"] < again["id"]
    assert (ended.code, ended.err) == (130, "")


async def test_mistakes_about_events_are_told(poolctl: Poolctl, store: PoolStore) -> None:
    unknown = await poolctl("events", "no-such-pool")
    when = await poolctl("events", store.pool, "--since", "yesterday")

    assert (unknown.code, when.code) == (2, 2)
    assert "pool 'no-such-pool' does not exist" in unknown.err
    assert "since: 'yesterday' is not allowed; say how long ago" in when.err


# top


async def test_top_shows_one_picture_into_a_pipe(poolctl: Poolctl, store: PoolStore) -> None:
    await reset_by_hand(store)
    await hold(store)
    await store.acquire(wish("one", priority=Priority.CRITICAL, owner="bob", liveness_s=60.0))
    await store.acquire(wish("two", owner="eve", liveness_s=60.0))

    shown = await poolctl("top", store.pool)

    assert shown.code == 0
    assert "soft 14ms" in shown.out
    assert "owner, normal" in shown.out
    rows = [line.split()[:2] for line in shown.out.splitlines() if line.startswith(("critical", "normal"))]
    assert rows == [["critical", "1"], ["normal", "1"]]
    assert "\x1b" not in shown.out


async def test_top_for_programs_has_resets_and_the_queue_by_priority(poolctl: Poolctl, store: PoolStore) -> None:
    await reset_by_hand(store)
    await hold(store)
    await store.acquire(wish("one", priority=Priority.HIGH, liveness_s=60.0))

    [pool] = json.loads((await poolctl("top", store.pool, "--json")).out)["pools"]

    assert pool["containers"][0]["last_reset"]["level"] == "soft"
    assert pool["waiting"]["high"]["requests"] == 1


async def test_top_at_a_terminal_is_live_and_ends_at_q(
    poolctl: Poolctl, store: PoolStore, terminal: tuple[int, int]
) -> None:
    person, slave = terminal
    process = await poolctl.start("top", store.pool, stdin=slave, stdout=slave, session=("setsid", "--ctty"))
    await eventually(shows(person, "available"), deadline_s=20)

    await store.transition(await only(store), State.QUARANTINED)
    await eventually(shows(person, "quarantined"), deadline_s=20)
    os.write(person, b"q")
    ended = await poolctl.end(process)

    assert (ended.code, ended.err) == (0, "")


async def test_the_queue_is_watched_like_the_status(poolctl: Poolctl, store: PoolStore) -> None:
    await hold(store)
    process = await poolctl.start("queue", store.pool, "--watch", "--json")
    lines = process.stdout
    assert lines is not None
    first = json.loads(await lines.readline())["queue"]
    await store.acquire(wish("one", liveness_s=60.0))
    later = first
    while not later:
        later = json.loads(await lines.readline())["queue"]

    process.send_signal(signal.SIGINT)
    ended = await poolctl.end(process)

    assert (first, later[0]["request_id"]) == ([], "one")
    assert (ended.code, ended.err) == (130, "")
