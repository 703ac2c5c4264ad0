"""A degraded pool: what it refuses and shortens, who finds out, and how it ends."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest

from pool.client import AsyncClient
from pool.config.options import DegradationOptions
from pool.degradation import Degradation
from pool.errors import AcquireTimeout, Degraded, InvalidRequest
from pool.manager import Ending, PoolManager
from pool.models import Event, LeaseRef, Outcome, Priority, State
from pool.store import Connection, Grant, Measured, PoolStore, Waiting, read_events
from pool.testing import MemoryRuntime
from tests.support import Clock, add_available, eventually, obedient_shell, pool_config, settings, wish

#: For requests of a process that need not say that it lives.
ALIVE = {"liveness_s": 3600.0}


async def events_of(store: PoolStore, *kinds: str) -> list[Event]:
    return [event for event in await read_events(store.connection, store.pool) if event.type in kinds]


async def lease_once(store: PoolStore, outcome: Outcome) -> None:
    """Take the container, and bring it back into rotation."""
    answer = await store.acquire(wish(uuid.uuid4().hex))
    assert isinstance(answer, Grant)
    await store.release(LeaseRef.parse(answer.lease.ref), outcome)
    await add_available(store, "a")


async def queue_up(store: PoolStore, number: int) -> list[str]:
    names = [f"w{index}" for index in range(number)]
    for name in names:
        assert isinstance(await store.acquire(wish(name, wait_s=300.0, **ALIVE)), Waiting)
    return names


async def test_a_degraded_pool_refuses_new_requests_of_low_priority_and_no_others(store: PoolStore) -> None:
    await add_available(store, "a")
    assert await store.degrade("", "too much", facts={})

    with pytest.raises(Degraded, match="too much") as caught:
        await store.acquire(wish("r1", priority=Priority.LOW))

    assert caught.value.retry_after_s == 10
    assert isinstance(await store.acquire(wish("r2", priority=Priority.NORMAL)), Grant)
    assert (await store.status()).degraded == "too much"


async def test_a_low_request_that_waits_already_keeps_its_place(store: PoolStore) -> None:
    low = wish("r1", priority=Priority.LOW, **ALIVE)
    await store.acquire(low)
    await store.degrade("", "too much", facts={})

    assert await store.acquire(low) == Waiting(1)
    await add_available(store, "a")

    [answer] = await store.collect("process", ["r1"], liveness_s=10)
    assert isinstance(answer, Grant)


async def test_a_degraded_pool_cuts_waits_down_to_half_of_the_longest(store: PoolStore, clock: Clock) -> None:
    await store.acquire(wish("before", wait_s=300.0, **ALIVE))
    await store.degrade("", "too much", facts={})

    long = await store.acquire(wish("long", wait_s=300.0, **ALIVE))
    short = await store.acquire(wish("short", wait_s=140.0, **ALIVE))

    assert isinstance(long, Waiting)
    assert isinstance(short, Waiting)
    assert (long.wait_s, short.wait_s) == (150.0, 140.0)
    clock.advance(151)
    assert await store.reap() == (2, 0, 0)
    assert [waiting.request_id for waiting in (await store.status()).queue] == ["before"]


async def test_a_wait_beyond_the_pools_longest_is_refused_degraded_or_not(store: PoolStore) -> None:
    await store.degrade("", "too much", facts={})

    with pytest.raises(InvalidRequest, match="wait_s"):
        await store.acquire(wish("r1", wait_s=301.0))


async def test_only_one_of_two_that_saw_the_same_changes_the_mode(store: PoolStore) -> None:
    assert await store.degrade("", "first", facts={"measure": "queue", "value": "11", "threshold": "10"})
    assert not await store.degrade("", "second", facts={})
    assert not await store.degrade("first", "first", facts={})

    assert await store.degrade("first", "", facts={})
    assert not await store.degrade("first", "", facts={})

    degraded, recovered = await events_of(store, "pool.degraded", "pool.recovered")
    assert dict(degraded.fields) == {"why": "first", "measure": "queue", "value": "11", "threshold": "10"}
    assert dict(recovered.fields) == {"from": "first"}
    assert (await store.status()).degraded == ""


async def test_a_pool_that_nobody_opened_is_neither_measured_nor_degraded(connection: Connection) -> None:
    store = PoolStore(connection, f"t{uuid.uuid4().hex[:8]}")

    assert await store.measure(after="") is None
    assert not await store.degrade("", "why", facts={})


async def test_a_measurement_has_waits_and_ends_from_the_events_and_each_of_them_once(
    store: PoolStore, clock: Clock
) -> None:
    await store.acquire(wish("r1", **ALIVE))
    clock.advance(7)
    await add_available(store, "a")
    [answer] = await store.collect("process", ["r1"], liveness_s=10)
    assert isinstance(answer, Grant)
    await store.release(LeaseRef.parse(answer.lease.ref), Outcome.PASSED)
    await add_available(store, "a")
    await lease_once(store, Outcome.FAILED)
    await store.acquire(wish("r2", timeout_s=5.0))
    clock.advance(6)
    await store.reap()
    await store.acquire(wish("r3"))

    first = await store.measure(after="")
    assert first is not None
    again = await store.measure(after=first.last_event)
    assert again is not None

    assert (first.queued, first.degraded) == (1, "")
    assert [wait_s for _, wait_s in first.waits] == pytest.approx([7, 0, 0], abs=0.01)
    assert [failed for _, failed in first.ends] == [False, True, True]
    assert (again.waits, again.ends, again.last_event) == ((), (), first.last_event)


async def look_for(store: PoolStore, clock: Clock, degradation: Degradation, seconds: int) -> None:
    for _ in range(seconds):
        clock.advance(1)
        await degradation.look()


async def test_a_long_queue_degrades_a_pool_and_a_short_one_ends_it_after_the_hold_time(
    store: PoolStore, clock: Clock
) -> None:
    degradation = Degradation(DegradationOptions(), store)
    names = await queue_up(store, 11)

    await degradation.look()
    assert (await store.status()).degraded == "11 requests wait, more than 10"
    for name in names[:6]:
        await store.cancel(name, f"token-{name}")
    await look_for(store, clock, degradation, 10)
    assert (await store.status()).degraded
    await look_for(store, clock, degradation, 2)

    assert (await store.status()).degraded == ""
    degraded, recovered = await events_of(store, "pool.degraded", "pool.recovered")
    assert {name: degraded.fields[name] for name in ("measure", "value", "threshold")} == {
        "measure": "queue",
        "value": "11",
        "threshold": "10",
    }
    assert recovered.fields["from"] == degraded.fields["why"]
    assert isinstance(await store.acquire(wish("low", priority=Priority.LOW)), Waiting)


async def test_failing_leases_degrade_a_pool_which_recovers_though_it_sees_no_more_of_them(
    store: PoolStore, clock: Clock
) -> None:
    degradation = Degradation(DegradationOptions(), store)
    await add_available(store, "a")
    for index in range(10):
        await lease_once(store, Outcome.FAILED if index < 3 else Outcome.PASSED)

    await degradation.look()
    assert (await store.status()).degraded == "30% of the leases fail, more than 20%"
    await look_for(store, clock, degradation, 299)
    assert (await store.status()).degraded
    await look_for(store, clock, degradation, 12)

    assert (await store.status()).degraded == ""


async def test_long_waits_degrade_a_pool(store: PoolStore, clock: Clock) -> None:
    degradation = Degradation(DegradationOptions(), store)
    await queue_up(store, 5)
    clock.advance(61)

    for index in range(4):
        await add_available(store, f"c{index}")
    await degradation.look()
    assert (await store.status()).degraded == ""
    await add_available(store, "c4")
    await degradation.look()

    assert (await store.status()).degraded == "the mean wait is 61 s, more than 60 s"


async def test_a_new_manager_knows_what_the_old_one_saw(store: PoolStore) -> None:
    await add_available(store, "a")
    old = Degradation(DegradationOptions(), store)
    for _ in range(9):
        await lease_once(store, Outcome.ERROR)
    await old.look()
    assert (await store.status()).degraded == ""

    await lease_once(store, Outcome.PASSED)
    await Degradation(DegradationOptions(), store).look()

    assert (await store.status()).degraded == "90% of the leases fail, more than 20%"


async def test_a_measurement_looks_at_the_newest_events_only(store: PoolStore) -> None:
    await add_available(store, "a")
    for _ in range(150):
        await lease_once(store, Outcome.PASSED)

    measured = await store.measure(after="")

    assert isinstance(measured, Measured)
    assert 50 <= len(measured.ends) < 150


# With a manager and clients on a real server


@pytest.fixture
async def managed(redis_url: str) -> AsyncIterator[PoolStore]:
    """A pool of two containers under a manager that calls three waiting requests too many."""
    connection = Connection(redis_url)
    name = uuid.uuid4().hex[:8]
    config = pool_config(
        f"d{name}", f"p{name}", degradation={"queue": 2, "hold_s": 0.1}, limits={"max_wait_s": 1.0, "ttl_s": 2.0}
    )
    manager = PoolManager(config, f"p{name}", MemoryRuntime(shell_handler=obedient_shell), connection)
    ending = Ending()
    task = asyncio.create_task(manager.run(ending))
    await asyncio.wait_for(manager.ready.wait(), 10)
    store = PoolStore(connection, f"p{name}")
    yield store
    ending.request()
    await task
    await store.forget()
    await connection.close()


async def test_a_manager_degrades_its_pool_and_lets_it_recover(managed: PoolStore, redis_url: str) -> None:
    async def degraded() -> bool:
        return bool((await managed.status()).degraded)

    async def normal() -> bool:
        return not await degraded()

    async def ask_until_degraded(client: AsyncClient) -> None:
        while not await degraded():
            try:
                async with await client.acquire(managed.pool, wait_s=1.0):
                    await eventually(degraded)
            except AcquireTimeout:
                continue

    async with AsyncClient(redis_url, owner="tester") as client:
        await asyncio.gather(*[ask_until_degraded(client) for _ in range(5)])
        with pytest.raises(Degraded):
            await client.acquire(managed.pool, priority="low", wait_s=0)
        await eventually(normal)
        async with await client.acquire(managed.pool, priority="low", wait_s=1.0) as lease:
            assert not lease.lost


async def test_a_client_whose_wait_is_cut_down_learns_how_long_it_was(redis_url: str) -> None:
    connection = Connection(redis_url)
    store = PoolStore(connection, f"t{uuid.uuid4().hex[:8]}")
    await store.open(settings(max_wait_s=0.8), "first")
    await add_available(store, "a")
    async with AsyncClient(redis_url, owner="tester") as client, await client.acquire(store.pool, wait_s=0):
        await store.degrade("", "too much", facts={})

        with pytest.raises(AcquireTimeout, match=r"within 0\.4 s"):
            await client.acquire(store.pool, wait_s=0.7)

        assert (await store.container("a")).state is State.ALLOCATED  # type: ignore[union-attr]  # it is known
    await store.forget()
    await connection.close()
