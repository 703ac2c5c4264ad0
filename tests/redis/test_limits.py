"""Limits, extensions and what the store keeps for estimates."""

from __future__ import annotations

import pytest

from pool.errors import (
    ExtensionDenied,
    LeaseLimitReached,
    LeaseLost,
    OwnerLeaseLimitReached,
    OwnerQueueFull,
    Refused,
)
from pool.models import LeaseData, LeaseRef, Outcome, Priority, RequestState, State
from pool.store import Connection, Grant, PoolStore, Waiting, read_events
from tests.support import Clock, add_available, settings, wish


async def lease_of(store: PoolStore, request_id: str, **changes: object) -> LeaseData:
    answer = await store.acquire(wish(request_id, **changes))
    assert isinstance(answer, Grant)
    return answer.lease


async def make_available(store: PoolStore, container_id: str) -> None:
    record = await store.container(container_id)
    assert record is not None
    assert await store.transition(record, State.AVAILABLE)


@pytest.mark.parametrize(
    ("limit", "error"),
    [("max_leases", LeaseLimitReached), ("max_leases_per_owner", OwnerLeaseLimitReached)],
)
async def test_at_the_limit_of_leases_a_request_is_refused_and_below_it_served_again(
    store: PoolStore, limit: str, error: type[Refused]
) -> None:
    await store.open(settings(**{limit: 1}), "x")
    await add_available(store, "a", "b")
    lease = await lease_of(store, "r1")

    with pytest.raises(error) as caught:
        await store.acquire(wish("r2"))

    assert limit in caught.value.hint
    assert caught.value.retry_after_s > 0
    await store.release(LeaseRef.parse(lease.ref), Outcome.PASSED)
    await lease_of(store, "r3")


async def test_the_limit_of_one_owner_does_not_touch_another(store: PoolStore) -> None:
    await store.open(settings(max_leases_per_owner=1, max_queued_per_owner=1), "x")
    await add_available(store, "a", "b")
    await lease_of(store, "r1", owner="one")
    await lease_of(store, "r2", owner="two")

    assert await store.acquire(wish("r3", owner="three")) == Waiting(1)
    with pytest.raises(OwnerQueueFull, match="'three'"):
        await store.acquire(wish("r4", owner="three"))
    assert await store.acquire(wish("r5", owner="four")) == Waiting(2)


async def test_a_place_in_the_queue_is_given_up_by_whatever_ends_the_wait(store: PoolStore, clock: Clock) -> None:
    await store.open(settings(max_queued_per_owner=1), "x")

    await store.acquire(wish("cancelled"))
    await store.cancel("cancelled", "token-cancelled")
    await store.acquire(wish("overdue", wait_s=1.0, liveness_s=60.0))
    clock.advance(1.1)
    await store.reap()
    await store.acquire(wish("dead", liveness_s=1.0, process="dead"))
    clock.advance(1.1)
    await store.reap()

    assert await store.acquire(wish("r1")) == Waiting(1)


async def test_a_waiter_whose_owner_is_at_its_limit_is_refused_when_its_turn_comes(store: PoolStore) -> None:
    await store.open(settings(max_leases_per_owner=1), "x")
    await add_available(store, "a")
    lease = await lease_of(store, "r1", owner="other")
    await store.acquire(wish("r2", owner="greedy"))
    await store.acquire(wish("r3", owner="greedy"))
    await store.acquire(wish("r4", owner="patient"))
    await add_available(store, "b")  # to r2

    await store.release(LeaseRef.parse(lease.ref), Outcome.PASSED)
    await make_available(store, "a")

    answers = await store.collect("process", ["r2", "r3", "r4"], liveness_s=10)
    assert answers[1] is RequestState.OVER_LIMIT
    assert isinstance(answers[0], Grant)
    assert isinstance(answers[2], Grant)


async def test_an_extension_moves_the_deadline_is_counted_and_recorded(
    store: PoolStore, connection: Connection
) -> None:
    await add_available(store, "a")
    lease = await lease_of(store, "r1", timeout_s=20.0)

    extended = await store.extend(LeaseRef.parse(lease.ref), extra_s=30.0, reason="slow backend")

    assert extended.deadline_at == pytest.approx(lease.deadline_at + 30)
    assert extended.extensions_used == 1
    event = (await read_events(connection, store.pool))[-1]
    assert event.type == "lease.extended"
    assert event.fields["reason"] == "slow backend"


async def test_an_extension_sent_twice_counts_once(store: PoolStore) -> None:
    await add_available(store, "a")
    lease = await lease_of(store, "r1")

    first = await store.extend(LeaseRef.parse(lease.ref), extra_s=30.0, reason="slow", used=0)
    again = await store.extend(LeaseRef.parse(lease.ref), extra_s=30.0, reason="slow", used=0)

    assert (again.deadline_at, again.extensions_used) == (first.deadline_at, 1)


async def test_extensions_run_out_and_the_denial_is_recorded(store: PoolStore, connection: Connection) -> None:
    await store.open(settings(max_extensions=2), "x")
    await add_available(store, "a")
    ref = LeaseRef.parse((await lease_of(store, "r1")).ref)
    for _ in range(2):
        extended = await store.extend(ref, extra_s=1.0, reason="slow")

    with pytest.raises(ExtensionDenied, match="extended 2 times already"):
        await store.extend(ref, extra_s=1.0, reason="slower")

    event = (await read_events(connection, store.pool))[-1]
    assert (event.type, event.fields["why"]) == ("lease.extension_denied", "count")
    record = await store.container("a")
    assert record is not None
    assert record.deadline_at == pytest.approx(extended.deadline_at)


async def test_no_extension_leads_beyond_the_longest_lease(store: PoolStore) -> None:
    await add_available(store, "a")
    ref = LeaseRef.parse((await lease_of(store, "r1", timeout_s=3000.0)).ref)

    with pytest.raises(ExtensionDenied, match="not last longer than 3600 s"):
        await store.extend(ref, extra_s=601.0, reason="slow")

    assert (await store.extend(ref, extra_s=600.0, reason="slow")).extensions_used == 1


async def test_an_extended_lease_still_needs_heartbeats_and_a_lost_one_cannot_be_extended(
    store: PoolStore, clock: Clock
) -> None:
    await add_available(store, "a")
    ref = LeaseRef.parse((await lease_of(store, "r1")).ref)
    await store.extend(ref, extra_s=60.0, reason="slow")

    clock.advance(15.1)

    assert await store.reap() == (0, 0, 1)
    with pytest.raises(LeaseLost):
        await store.extend(ref, extra_s=1.0, reason="too late")


async def test_the_pool_remembers_how_long_leases_and_resets_take(store: PoolStore, clock: Clock) -> None:
    await add_available(store, "a")
    assert (await store.status()).mean_held_s is None
    lease = await lease_of(store, "r1")

    clock.advance(8)
    await store.release(LeaseRef.parse(lease.ref), Outcome.PASSED)
    clock.advance(2)
    await make_available(store, "a")

    status = await store.status()
    assert status.mean_held_s == pytest.approx(8, abs=0.1)
    assert status.mean_reset_s == pytest.approx(2, abs=0.1)


async def test_where_requests_age_the_queue_tells_what_class_a_wait_has_reached(store: PoolStore, clock: Clock) -> None:
    await store.open(settings(aging_s=10), "x")
    await store.acquire(wish("r1", priority=Priority.LOW, liveness_s=60.0))

    clock.advance(21)

    [waiting] = (await store.status()).queue
    assert (waiting.priority, waiting.effective) == (Priority.LOW, Priority.HIGH)
