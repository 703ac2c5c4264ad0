from __future__ import annotations

import pytest

from pool.errors import AcquireTimeout, InvalidRequest, PoolDraining, QueueFull, RequestConflict, UnknownPool
from pool.models import LeaseRef, Outcome, Priority, RequestState, State
from pool.store import Connection, Grant, PoolStore, Waiting
from tests.support import Clock, add_available, settings, wish


async def test_a_free_container_is_granted_in_one_round_trip(store: PoolStore) -> None:
    await add_available(store, "a")

    answer = await store.acquire(wish("r1"))

    assert isinstance(answer, Grant)
    assert answer.lease.container.id == "a"
    assert answer.lease.token == "token-r1"
    assert answer.lease.expires_at == pytest.approx(answer.lease.granted_at + 15)
    assert answer.lease.deadline_at == pytest.approx(answer.lease.granted_at + 120)


async def test_the_container_that_was_idle_longest_is_granted_first(store: PoolStore) -> None:
    await add_available(store, "b", "a")

    answer = await store.acquire(wish("r1"))

    assert isinstance(answer, Grant)
    assert answer.lease.container.id == "b"


async def test_a_request_sent_twice_gets_the_same_lease(store: PoolStore) -> None:
    await add_available(store, "a", "b")

    first = await store.acquire(wish("r1"))
    second = await store.acquire(wish("r1"))

    assert isinstance(first, Grant)
    assert isinstance(second, Grant)
    assert first.lease == second.lease
    assert (await store.status()).count(State.AVAILABLE) == 1


async def test_a_waiting_request_sent_twice_keeps_its_one_place(store: PoolStore) -> None:
    await store.acquire(wish("r1"))
    await store.acquire(wish("r2"))

    assert await store.acquire(wish("r1")) == Waiting(1)
    assert [waiting.request_id for waiting in (await store.status()).queue] == ["r1", "r2"]


async def test_a_request_id_of_another_owner_is_refused(store: PoolStore) -> None:
    await store.acquire(wish("r1"))

    with pytest.raises(RequestConflict, match="r1"):
        await store.acquire(wish("r1", owner="somebody else"))


async def test_requests_are_served_by_priority_and_in_order_within_one(store: PoolStore, clock: Clock) -> None:
    arrivals = [Priority.LOW, Priority.NORMAL, Priority.CRITICAL, Priority.HIGH] * 2
    for number, priority in enumerate(arrivals):
        await store.acquire(wish(f"{priority.label}-{number}", priority=priority))
        clock.advance(0.001)

    waiting = [waiting.request_id for waiting in (await store.status()).queue]

    assert waiting == ["critical-2", "critical-6", "high-3", "high-7", "normal-1", "normal-5", "low-0", "low-4"]


async def test_with_aging_a_long_wait_makes_up_for_a_lower_class(store: PoolStore, clock: Clock) -> None:
    await store.open(settings(aging_s=10), "x")
    await store.acquire(wish("old-low", priority=Priority.LOW))
    clock.advance(31)
    await store.acquire(wish("new-critical", priority=Priority.CRITICAL))

    assert [waiting.request_id for waiting in (await store.status()).queue] == ["old-low", "new-critical"]


async def test_whoever_releases_and_asks_again_does_not_overtake_a_waiter(store: PoolStore) -> None:
    await store.open(settings(on_release="none"), "x")
    await add_available(store, "a")
    first = await store.acquire(wish("greedy-1"))
    await store.acquire(wish("patient"))
    assert isinstance(first, Grant)

    await store.release(LeaseRef.parse(first.lease.ref), Outcome.PASSED)
    again = await store.acquire(wish("greedy-2"))

    assert again == Waiting(1)
    [granted] = await store.collect("process", ["patient"], liveness_s=10)
    assert isinstance(granted, Grant)


async def test_nothing_free_and_no_wait_is_an_error_that_leaves_nothing_behind(store: PoolStore) -> None:
    with pytest.raises(AcquireTimeout, match="is free"):
        await store.acquire(wish("r1", wait_s=0.0))

    assert (await store.status()).queue == ()
    assert await store.collect("process", ["r1"], liveness_s=10) == [None]


async def test_an_unknown_pool_is_an_error_that_names_it(connection: Connection, store: PoolStore) -> None:
    with pytest.raises(UnknownPool, match="'nowhere'"):
        await PoolStore(connection, "nowhere").acquire(wish("r1"))


@pytest.mark.parametrize(("field", "value"), [("wait_s", 301.0), ("timeout_s", 3601.0)])
async def test_more_than_the_limits_allow_is_refused_naming_the_field(
    store: PoolStore, field: str, value: float
) -> None:
    with pytest.raises(InvalidRequest, match=f"{field}: {value} is not allowed.*at most"):
        await store.acquire(wish("r1", **{field: value}))


async def test_a_full_queue_takes_no_more(store: PoolStore) -> None:
    await store.open(settings(max_queued=2), "x")
    await store.acquire(wish("r1"))
    await store.acquire(wish("r2"))

    with pytest.raises(QueueFull, match="2 requests wait"):
        await store.acquire(wish("r3"))


async def test_a_draining_pool_ends_its_waits_and_takes_no_new_request(store: PoolStore) -> None:
    await store.acquire(wish("r1"))

    assert await store.drain() == 0

    assert await store.collect("process", ["r1"], liveness_s=10) == [RequestState.CANCELLED]
    with pytest.raises(PoolDraining):
        await store.acquire(wish("r2"))
    await store.open(settings(), "x")
    assert await store.acquire(wish("r3")) == Waiting(1)


async def test_the_clock_of_the_pool_rises_when_that_of_the_server_steps_back(store: PoolStore, clock: Clock) -> None:
    await add_available(store, "a")
    before = (await store.status()).at

    clock.advance(-3600)
    answer = await store.acquire(wish("r1"))
    clock.advance(16)

    assert isinstance(answer, Grant)
    assert answer.lease.granted_at > before
    assert await store.reap() == (0, 0, 1), "the ttl goes on at the usual pace"
