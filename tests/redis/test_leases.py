from __future__ import annotations

import pytest

from pool.errors import AlreadyReleased, LeaseLost, RequestConflict
from pool.models import ContainerRecord, LeaseData, LeaseRef, Outcome, RequestState, ResetReason, State
from pool.store import Connection, Grant, PoolStore, Waiting, read_events
from tests.support import Clock, add_available, settings, wish


async def lease_of(store: PoolStore, request_id: str, **changes: object) -> LeaseData:
    answer = await store.acquire(wish(request_id, **changes))
    assert isinstance(answer, Grant)
    return answer.lease


async def container(store: PoolStore, container_id: str = "a") -> ContainerRecord:
    return next(record for record in (await store.status()).containers if record.id == container_id)


def triple(lease: LeaseData) -> tuple[str, int, str]:
    return lease.request_id, lease.fence, lease.token


async def test_a_released_container_is_cleaned_before_anybody_else_gets_it(store: PoolStore) -> None:
    await add_available(store, "a")
    lease = await lease_of(store, "r1")
    await store.acquire(wish("r2"))

    await store.release(LeaseRef.parse(lease.ref), Outcome.FAILED)

    record = await container(store)
    assert (record.state, record.reason, record.outcome) == (State.CLEANING, ResetReason.ON_RELEASE, Outcome.FAILED)
    assert record.owner == ""
    assert await store.collect("process", ["r2"], liveness_s=10) == [RequestState.WAITING]


async def test_a_container_that_becomes_available_goes_to_the_best_waiter_in_the_same_step(store: PoolStore) -> None:
    await add_available(store, "a")
    lease = await lease_of(store, "r1")
    await store.acquire(wish("r2"))
    await store.release(LeaseRef.parse(lease.ref), Outcome.PASSED)

    assert await store.transition(await container(store), State.AVAILABLE)

    record = await container(store)
    assert (record.state, record.request_id) == (State.ALLOCATED, "r2")
    [answer] = await store.collect("process", ["r2"], liveness_s=10)
    assert isinstance(answer, Grant)
    assert answer.lease.fence > lease.fence


async def test_a_second_release_says_so_and_harms_nobody(store: PoolStore) -> None:
    await store.open(settings(on_release="none"), "x")
    await add_available(store, "a")
    first = await lease_of(store, "r1")
    await store.release(LeaseRef.parse(first.ref), Outcome.PASSED)
    second = await lease_of(store, "r2")

    with pytest.raises(AlreadyReleased, match="r1"):
        await store.release(LeaseRef.parse(first.ref), Outcome.PASSED)

    assert (await container(store)).request_id == "r2"
    await store.release(LeaseRef.parse(second.ref), Outcome.PASSED)


@pytest.mark.parametrize("change", ["fence", "token", "request"])
async def test_a_stale_lease_can_neither_release_nor_extend(store: PoolStore, change: str) -> None:
    await add_available(store, "a")
    lease = await lease_of(store, "r1")
    stale = {
        "fence": LeaseRef(store.pool, "r1", lease.fence - 1, lease.token),
        "token": LeaseRef(store.pool, "r1", lease.fence, "guessed"),
        "request": LeaseRef(store.pool, "r9", lease.fence, lease.token),
    }[change]

    with pytest.raises(LeaseLost):
        await store.release(stale, Outcome.PASSED)
    beats = await store.heartbeat("process", [(stale.request_id, stale.fence, stale.token)], liveness_s=10)

    assert beats == [None]
    assert (await container(store)).state is State.ALLOCATED


async def test_heartbeats_keep_a_lease_alive_and_without_them_it_expires(store: PoolStore, clock: Clock) -> None:
    await add_available(store, "a")
    lease = await lease_of(store, "r1")

    for _ in range(3):
        clock.advance(14)
        [expiry] = await store.heartbeat("process", [triple(lease)], liveness_s=10)
        assert expiry is not None
        assert await store.reap() == (0, 0, 0)
    clock.advance(15.1)

    assert await store.reap() == (0, 0, 1)
    record = await container(store)
    assert (record.state, record.reason) == (State.RESETTING, ResetReason.ON_EXPIRY)
    assert record.note == "no heartbeat within the ttl"
    assert await store.heartbeat("process", [triple(lease)], liveness_s=10) == [None]
    with pytest.raises(LeaseLost):
        await store.release(LeaseRef.parse(lease.ref), Outcome.PASSED)


async def test_heartbeats_never_move_the_deadline(store: PoolStore, clock: Clock) -> None:
    await add_available(store, "a")
    lease = await lease_of(store, "r1", timeout_s=20.0)

    clock.advance(10)
    assert await store.heartbeat("process", [triple(lease)], liveness_s=10) == [pytest.approx(lease.deadline_at)]
    clock.advance(10.1)

    assert await store.heartbeat("process", [triple(lease)], liveness_s=10) == [None]
    assert await store.reap() == (0, 0, 1)
    assert (await container(store)).note == "deadline reached"


async def test_a_grant_nobody_confirms_goes_to_the_next_waiter(store: PoolStore, clock: Clock) -> None:
    await add_available(store, "a")
    lease = await lease_of(store, "r1")
    for request_id in ("r2", "r3"):
        await store.acquire(wish(request_id))
    await store.release(LeaseRef.parse(lease.ref), Outcome.PASSED)
    await store.transition(await container(store), State.AVAILABLE)

    clock.advance(5.1)
    assert await store.reap() == (0, 1, 0)

    assert (await container(store)).request_id == "r3"
    late, granted = await store.collect("process", ["r2", "r3"], liveness_s=10)
    assert late is RequestState.LOST
    assert isinstance(granted, Grant)


async def test_a_waiter_whose_process_is_dead_is_passed_over(store: PoolStore, clock: Clock) -> None:
    await add_available(store, "a")
    lease = await lease_of(store, "r1")
    await store.acquire(wish("r2", process="dead", liveness_s=3.0))
    await store.acquire(wish("r3", process="alive", liveness_s=30.0))
    clock.advance(4)

    await store.release(LeaseRef.parse(lease.ref), Outcome.PASSED)
    await store.transition(await container(store), State.AVAILABLE)

    assert (await container(store)).request_id == "r3"
    assert await store.collect("dead", ["r2"], liveness_s=3) == [RequestState.LOST]


async def test_the_reaper_clears_the_queue_of_dead_and_overdue_waiters(store: PoolStore, clock: Clock) -> None:
    await store.acquire(wish("dead", process="dead", liveness_s=1.0))
    await store.acquire(wish("overdue", wait_s=2.0, liveness_s=60.0))
    await store.acquire(wish("patient", liveness_s=60.0))
    clock.advance(2.1)

    assert await store.reap() == (2, 0, 0)

    assert [waiting.request_id for waiting in (await store.status()).queue] == ["patient"]
    answers = await store.collect("process", ["dead", "overdue"], liveness_s=10)
    assert answers == [RequestState.LOST, RequestState.TIMED_OUT]


async def test_cancelling_a_waiting_request_takes_it_out_of_the_queue(store: PoolStore) -> None:
    await store.acquire(wish("r1"))

    assert await store.cancel("r1", "token-r1") == "cancelled"

    assert (await store.status()).queue == ()
    with pytest.raises(RequestConflict, match="cancelled"):
        await store.acquire(wish("r1"))


async def test_cancelling_an_unconfirmed_grant_hands_the_unused_container_on(store: PoolStore) -> None:
    await add_available(store, "a")
    lease = await lease_of(store, "r1")
    for request_id in ("r2", "r3"):
        await store.acquire(wish(request_id))
    await store.release(LeaseRef.parse(lease.ref), Outcome.PASSED)
    await store.transition(await container(store), State.AVAILABLE)

    assert await store.cancel("r2", "token-r2") == "cancelled"

    assert (await container(store)).request_id == "r3"


async def test_cancelling_a_lease_cleans_its_container(store: PoolStore) -> None:
    await add_available(store, "a")
    await lease_of(store, "r1")

    assert await store.cancel("r1", "token-r1") == "released"

    assert (await container(store)).state is State.CLEANING


async def test_a_cancel_that_overtakes_its_acquire_wins(store: PoolStore) -> None:
    await add_available(store, "a")

    assert await store.cancel("r1", "token-r1") == "cancelled"

    with pytest.raises(RequestConflict, match="cancelled"):
        await store.acquire(wish("r1"))
    assert (await container(store)).state is State.AVAILABLE


async def test_a_request_is_cancelled_only_by_who_made_it(store: PoolStore) -> None:
    await store.acquire(wish("r1"))

    with pytest.raises(RequestConflict, match="not yours"):
        await store.cancel("r1", "guessed")

    assert await store.acquire(wish("r1")) == Waiting(1)


async def test_no_token_appears_in_status_or_events(store: PoolStore, connection: Connection) -> None:
    await add_available(store, "a")
    lease = await lease_of(store, "r1", token="a-very-secret-token")
    await store.acquire(wish("r2", token="a-very-secret-token"))
    await store.release(LeaseRef.parse(lease.ref), Outcome.PASSED)
    await store.transition(await container(store), State.AVAILABLE)

    shown = repr(await store.status()) + repr(await read_events(connection, store.pool)) + repr(lease)

    assert "a-very-secret-token" not in shown


async def test_data_loss_makes_the_pool_refuse_until_a_manager_opens_it_anew(
    store: PoolStore, connection: Connection
) -> None:
    await add_available(store, "a")
    lease = await lease_of(store, "r1")
    async with connection.plain() as redis:
        await redis.delete(*await redis.keys(f"cp:{{{store.pool}}}:*"))

    assert await store.heartbeat("process", [triple(lease)], liveness_s=10) == [None]
    assert await store.open(settings(), "second") == (True, "second")
    with pytest.raises(LeaseLost):
        await store.release(LeaseRef.parse(lease.ref), Outcome.PASSED)
