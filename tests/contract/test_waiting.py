"""Waiting in the queue, and leaving it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pool.errors import (
    AcquireTimeout,
    ClientClosed,
    InvalidRequest,
    LeaseLimitReached,
    OwnerQueueFull,
    PoolDraining,
    PoolError,
    QueueFull,
    RequestConflict,
    UnknownPool,
)
from pool.models import Outcome, State
from pool.store import PoolSettings, PoolStore
from tests.clients import open_client
from tests.contract.books import lose, queued, recover, state
from tests.support import eventually, open_pool, settings

# Waiting


async def test_a_waiter_is_served_as_soon_as_a_container_is_free(client: Any, store: PoolStore) -> None:
    first = await client.acquire(store.pool)
    waiting = asyncio.create_task(client.acquire(store.pool, wait_s=30))
    await eventually(lambda: queued(store, 1))

    await first.release()
    second = await waiting

    assert second.fence > first.fence
    assert second.waited_s > 0
    assert second.left_s > 100
    await second.release()


async def test_priority_then_arrival_decides_who_is_next(client: Any, store: PoolStore) -> None:
    served: list[str] = []

    async def use(name: str, priority: str) -> None:
        async with await client.acquire(store.pool, wait_s=60, request_id=name, priority=priority) as lease:
            served.append(lease.request_id)

    first = await client.acquire(store.pool)
    users = []
    wishes = [("low", "low"), ("first", "normal"), ("second", "normal"), ("high", "high"), ("critical", "critical")]
    for length, (name, priority) in enumerate(wishes, start=1):
        users.append(asyncio.create_task(use(name, priority)))
        await eventually(lambda length=length: queued(store, length))  # type: ignore[misc]  # of the loop's own turn
    await first.release()

    await asyncio.gather(*users)

    assert served == ["critical", "high", "first", "second", "low"]


async def test_nothing_free_in_time_is_an_error_that_says_so(client: Any, store: PoolStore) -> None:
    async with await client.acquire(store.pool):
        with pytest.raises(AcquireTimeout, match=r"within 0\.3 s") as waited:
            await client.acquire(store.pool, wait_s=0.3)
        with pytest.raises(AcquireTimeout) as at_once:
            await client.acquire(store.pool, wait_s=0)

    for caught in (waited, at_once):
        assert caught.value.code == "acquire_timeout"
        assert store.pool in caught.value.message
        assert caught.value.hint
        assert caught.value.retry_after_s > 0
    await eventually(lambda: queued(store, 0))


async def test_closing_a_client_ends_its_waits_and_gives_back_what_it_held(
    kind: str, url: str, store: PoolStore
) -> None:
    await store.open(settings(ttl_s=1), "x")
    async with open_client(kind, url) as client:
        await client.acquire(store.pool)
        waiting = asyncio.create_task(client.acquire(store.pool, wait_s=60))
        await eventually(lambda: queued(store, 1))

        await client.close()

        with pytest.raises(ClientClosed):
            await waiting
        await eventually(lambda: queued(store, 0))
        record = await store.container("a")
        assert record is not None
        assert (record.state, record.outcome) == (State.CLEANING, Outcome.ERROR)
        with pytest.raises(ClientClosed):
            await client.acquire(store.pool)


async def test_a_request_sent_again_gets_the_same_lease(client: Any, kind: str, url: str, store: PoolStore) -> None:
    lease = await client.acquire(store.pool, request_id="mine")

    async with open_client(kind, url, owner="tester") as other:
        again = await other.acquire(store.pool, request_id="mine")

        assert (again.fence, again.data.ref) == (lease.fence, lease.data.ref)
        await again.detach()
        with pytest.raises(RequestConflict):
            await other.acquire(store.pool, request_id="mine", owner="somebody else")
    await lease.release()
    with pytest.raises(RequestConflict, match="mine"):
        await client.acquire(store.pool, request_id="mine")


async def test_a_container_lost_before_its_waiter_has_it_costs_the_waiter_nothing(
    client: Any, store: PoolStore
) -> None:
    first = await client.acquire(store.pool)
    waiting = asyncio.create_task(client.acquire(store.pool, wait_s=30, request_id="patient"))
    await eventually(lambda: queued(store, 1))

    await lose(store)
    await recover(store)

    async with await waiting as lease:
        assert lease.fence > first.fence


@pytest.mark.parametrize("kind", ["async"], indirect=True)
async def test_a_cancelled_wait_leaves_the_queue(client: Any, store: PoolStore) -> None:
    async with await client.acquire(store.pool):
        waiting = asyncio.create_task(client.acquire(store.pool, wait_s=60))
        await eventually(lambda: queued(store, 1))

        waiting.cancel()

        with pytest.raises(asyncio.CancelledError):
            await waiting
        await eventually(lambda: queued(store, 0))


@pytest.mark.parametrize("kind", ["async"], indirect=True)
async def test_cancelling_at_any_moment_never_keeps_the_container(client: Any, store: PoolStore) -> None:
    """Cancel in a race with the grant, many times: each time the container comes back without its ttl lapsing."""
    await store.open(settings(ttl_s=600, claim_ttl_s=600, on_release="none"), "x")
    for number in range(40):
        acquiring = asyncio.create_task(client.acquire(store.pool))
        for _ in range(number % 20 * 3):
            await asyncio.sleep(0)
        acquiring.cancel()
        await asyncio.wait([acquiring])
        if not acquiring.cancelled():
            await acquiring.result().release()

        async def settled() -> bool:
            record = await store.container("a")
            assert record is not None
            if record.state is State.CLEANING:
                assert await store.transition(record, State.AVAILABLE)
            return record.state is State.AVAILABLE

        await eventually(settled)


async def test_many_waiters_of_one_client_are_all_served(client: Any, store: PoolStore) -> None:
    fences: list[int] = []

    async def use() -> None:
        async with await client.acquire(store.pool, wait_s=60) as lease:
            fences.append(lease.fence)

    await asyncio.gather(*(use() for _ in range(20)))

    assert len(set(fences)) == 20


# What is refused


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("priority", "urgent"),
        ("wait_s", -1),
        ("wait_s", "soon"),
        ("ttl_s", 0.0),
        ("timeout_s", -5.0),
        ("timeout_s", 80_000.0),
        ("wait_s", 80_000.0),
        ("owner", ""),
        ("request_id", "a b"),
        ("label", "a\nb"),
        ("metadata", "words"),
        ("max_retries", 11),
        ("requirements", "big"),
    ],
)
async def test_a_bad_field_is_refused_by_name(client: Any, store: PoolStore, field: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await client.acquire(store.pool, **{field: value})

    assert caught.value.field == field
    assert caught.value.allowed
    assert caught.value.code == "request_invalid"
    assert await state(store) is State.AVAILABLE


async def test_an_unknown_pool_and_a_bad_pool_name_are_told_apart(client: Any, store: PoolStore) -> None:
    for call in (client.acquire, client.status, client.queue, client.drain):
        with pytest.raises(UnknownPool, match="'no-such-pool'"):
            await call("no-such-pool")
        with pytest.raises(InvalidRequest, match="pool: 'No Such'"):
            await call("No Such")


async def test_the_only_pool_needs_no_name(client: Any, store: PoolStore, redis_url: str) -> None:
    async with await client.acquire() as lease:
        assert lease.data.pool == store.pool

    async with open_pool(redis_url) as other:
        with pytest.raises(InvalidRequest, match=other.pool):
            await client.acquire()


async def test_limits_refuse_each_with_an_error_of_its_own(client: Any, store: PoolStore) -> None:
    cases: list[tuple[dict[str, object], type[PoolError]]] = [
        ({"max_queued": 1}, QueueFull),
        ({"max_queued_per_owner": 1}, OwnerQueueFull),
        ({"max_leases": 1}, LeaseLimitReached),
    ]
    async with await client.acquire(store.pool):
        waiting = asyncio.create_task(client.acquire(store.pool, wait_s=60))
        await eventually(lambda: queued(store, 1))
        for limits, kind in cases:
            await store.open(PoolSettings(settings(on_release="none", **limits).fields), "x")
            with pytest.raises(kind) as caught:
                await client.acquire(store.pool, wait_s=5)
            assert type(caught.value) is kind
            assert caught.value.retry_after_s > 1  # type: ignore[attr-defined]  # a refusal has it
            assert "limits." in caught.value.hint
        await store.open(settings(on_release="none"), "x")
    await (await waiting).release()


async def test_a_drained_pool_sends_its_waiters_away(client: Any, store: PoolStore) -> None:
    async with await client.acquire(store.pool):
        waiting = asyncio.create_task(client.acquire(store.pool, wait_s=60))
        await eventually(lambda: queued(store, 1))

        await store.drain()

        with pytest.raises(PoolDraining) as caught:
            await waiting
        assert caught.value.retry_after_s > 1
        with pytest.raises(PoolDraining):
            await client.acquire(store.pool)
