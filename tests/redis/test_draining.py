"""A draining container keeps its lease and gets no new one; a quarantined one is left as it is."""

from __future__ import annotations

import pytest

from pool.allocator import request_quarantine, request_restore
from pool.errors import AcquireTimeout, InvalidRequest, PoolDraining, UnknownContainer, UnknownPool, WrongState
from pool.models import ContainerRecord, LeaseRef, Outcome, RequestState, ResetLevel, State
from pool.store import Connection, Grant, PoolStore, Waiting, read_events
from tests.support import Clock, add_available, info, settings, wish


async def record(store: PoolStore, container_id: str = "a") -> ContainerRecord:
    found = await store.container(container_id)
    assert found is not None
    return found


async def lease(store: PoolStore, request_id: str = "r1") -> LeaseRef:
    answer = await store.acquire(wish(request_id))
    assert isinstance(answer, Grant)
    return LeaseRef(store.pool, request_id, answer.lease.fence, answer.lease.token)


async def clean(store: PoolStore, container_id: str = "a") -> None:
    assert await store.transition(await record(store, container_id), State.AVAILABLE)


# Draining


async def test_a_draining_container_is_lent_to_nobody_and_the_others_are(store: PoolStore) -> None:
    await add_available(store, "a", "b")

    await store.drain_container("a")

    assert (await record(store)).draining
    answer = await store.acquire(wish("r1"))
    assert isinstance(answer, Grant)
    assert answer.lease.container.id == "b"
    with pytest.raises(AcquireTimeout):
        await store.acquire(wish("r2", wait_s=0.0))


async def test_a_lease_of_a_draining_container_goes_on_until_it_is_given_back(store: PoolStore, clock: Clock) -> None:
    await add_available(store, "a")
    ref = await lease(store)

    await store.drain_container("a")
    clock.advance(10)
    [expiry] = await store.heartbeat("process", [(ref.request_id, ref.fence, ref.token)], liveness_s=60)
    assert expiry is not None
    assert await store.extend(ref, extra_s=30, reason="more to do")
    await store.release(ref, Outcome.PASSED)

    assert (await record(store)).state is State.CLEANING


@pytest.mark.parametrize("end", ["released", "lapsed", "cancelled", "unhealthy"])
async def test_a_draining_container_that_is_clean_again_passes_the_queue_by(
    store: PoolStore, clock: Clock, end: str
) -> None:
    await add_available(store, "a")
    ref = await lease(store)
    assert await store.acquire(wish("r2", process="other", liveness_s=600.0, wait_s=300.0)) == Waiting(1)
    await store.drain_container("a")

    match end:
        case "released":
            await store.release(ref, Outcome.PASSED)
        case "lapsed":
            clock.advance(20)
            assert await store.reap() == (0, 0, 1)
        case "cancelled":
            await store.cancel(ref.request_id, ref.token)
        case "unhealthy":
            assert await store.transition(await record(store), State.UNHEALTHY)
            assert await store.transition(await record(store), State.RESETTING)
    await clean(store)

    assert (await record(store)).state is State.AVAILABLE
    assert [waiting.request_id for waiting in (await store.status()).queue] == ["r2"]


async def test_a_grant_of_a_draining_container_that_nobody_confirms_goes_to_nobody_else(
    store: PoolStore, clock: Clock
) -> None:
    await add_available(store, "a")
    ref = await lease(store)
    for request_id in ("r2", "r3"):
        await store.acquire(wish(request_id, liveness_s=600.0))
    await store.release(ref, Outcome.PASSED)
    await clean(store)  # granted to r2, which does not confirm
    await store.drain_container("a")

    clock.advance(6)
    assert await store.reap() == (0, 1, 0)

    assert (await record(store)).state is State.AVAILABLE
    assert [waiting.request_id for waiting in (await store.status()).queue] == ["r3"]


async def test_resuming_a_free_container_serves_the_best_waiter_in_the_same_step(store: PoolStore) -> None:
    await add_available(store, "a")
    await store.drain_container("a")
    for request_id in ("r1", "r2"):
        assert isinstance(await store.acquire(wish(request_id)), Waiting)

    await store.resume("a")

    now = await record(store)
    assert (now.state, now.request_id, now.draining) == (State.ALLOCATED, "r1", False)
    [answer] = await store.collect("process", ["r1"], liveness_s=10)
    assert isinstance(answer, Grant)


async def test_resuming_a_leased_container_changes_nothing_for_its_holder(store: PoolStore) -> None:
    await add_available(store, "a")
    ref = await lease(store)
    await store.drain_container("a")

    await store.resume("a")
    await store.release(ref, Outcome.PASSED)
    await clean(store)

    assert isinstance(await store.acquire(wish("r2")), Grant)


async def test_draining_and_resuming_may_be_sent_twice_and_are_told_once(
    store: PoolStore, connection: Connection
) -> None:
    await add_available(store, "a")

    for _ in range(2):
        await store.drain_container("a")
    for _ in range(2):
        await store.resume("a")

    types = [event.type for event in await read_events(connection, store.pool)]
    assert [types.count(kind) for kind in ("container.draining", "container.resumed")] == [1, 1]
    assert isinstance(await store.acquire(wish("r1")), Grant)


async def test_reconciling_keeps_a_draining_container_out_of_the_rotation(store: PoolStore) -> None:
    await add_available(store, "a")
    await store.drain_container("a")
    assert isinstance(await store.acquire(wish("r1")), Waiting)

    await store.reconcile(["a"])

    assert (await record(store)).state is State.AVAILABLE


async def test_registering_a_new_generation_keeps_the_flag(store: PoolStore) -> None:
    await add_available(store, "a")
    await store.drain_container("a")

    await store.register(info("a", generation=2), spec="s")

    assert (await record(store)).draining


async def test_a_container_that_is_not_there_cannot_be_drained_or_resumed(store: PoolStore) -> None:
    await add_available(store, "a")

    with pytest.raises(UnknownContainer, match="'b'"):
        await store.drain_container("b")
    with pytest.raises(UnknownContainer, match="'b'"):
        await store.resume("b")
    with pytest.raises(UnknownPool):
        await PoolStore(store.connection, f"{store.pool}x").resume()


async def test_an_operators_drain_of_a_pool_lasts_until_it_is_resumed_whatever_managers_do(store: PoolStore) -> None:
    await add_available(store, "a")
    await store.drain(by="operator")

    await store.open(settings(), "first")

    with pytest.raises(PoolDraining):
        await store.acquire(wish("r1"))
    await store.resume()
    assert isinstance(await store.acquire(wish("r1")), Grant)


async def test_a_managers_drain_ends_when_the_pool_is_opened_again(store: PoolStore) -> None:
    await add_available(store, "a")
    await store.drain()

    await store.open(settings(), "first")

    assert isinstance(await store.acquire(wish("r1")), Grant)


async def test_a_managers_drain_does_not_take_the_operators_away(store: PoolStore) -> None:
    await add_available(store, "a")
    await store.drain(by="operator")
    await store.drain()

    await store.open(settings(), "first")

    assert (await store.status()).draining


# Quarantine


async def test_a_quarantined_container_is_lent_to_nobody_and_says_why(store: PoolStore) -> None:
    await add_available(store, "a")

    await request_quarantine(store, "a", "a look at the leak")

    now = await record(store)
    assert (now.state, now.note) == (State.QUARANTINED, "a look at the leak")
    assert isinstance(await store.acquire(wish("r1")), Waiting)


async def test_a_leased_container_is_quarantined_only_by_force_and_its_holder_is_told(
    store: PoolStore, connection: Connection
) -> None:
    await add_available(store, "a")
    ref = await lease(store)

    with pytest.raises(WrongState, match="leased by 'owner'") as caught:
        await request_quarantine(store, "a", "why")
    assert "force" in caught.value.hint
    assert (await record(store)).state is State.ALLOCATED
    await request_quarantine(store, "a", "why", force=True)

    assert await store.collect("process", ["r1"], liveness_s=10) == [RequestState.LOST]
    assert await store.heartbeat("process", [(ref.request_id, ref.fence, ref.token)], liveness_s=10) == [None]
    async with connection.plain() as redis:
        hints = await redis.lrange(f"cp:{{{store.pool}}}:in:process", 0, -1)
    assert "r1" in hints
    lost = [event.fields for event in await read_events(connection, store.pool) if event.type == "lease.lost"]
    assert [(fields["request"], fields["note"]) for fields in lost] == [("r1", "why")]


async def test_a_quarantined_container_cannot_be_quarantined_again(store: PoolStore) -> None:
    await add_available(store, "a")
    await request_quarantine(store, "a", "first")

    with pytest.raises(WrongState, match="first"):
        await request_quarantine(store, "a", "second")

    assert (await record(store)).note == "first"


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501, 7, None])
async def test_a_quarantine_needs_a_reason(store: PoolStore, reason: str) -> None:
    await add_available(store, "a")

    with pytest.raises(InvalidRequest, match="reason"):
        await request_quarantine(store, "a", reason)

    assert (await record(store)).state is State.AVAILABLE


async def test_restoring_asks_for_a_recreation(store: PoolStore) -> None:
    await add_available(store, "a")
    await request_quarantine(store, "a", "why")

    await request_restore(store, "a")

    now = await record(store)
    assert (now.state, now.level, now.failures, now.note) == (State.RESETTING, ResetLevel.RECREATE, 0, "")


async def test_only_a_quarantined_container_can_be_restored(store: PoolStore) -> None:
    await add_available(store, "a")

    with pytest.raises(WrongState, match="available, not quarantined"):
        await request_restore(store, "a")


async def test_a_quarantined_container_outlives_its_place_in_the_configuration(store: PoolStore) -> None:
    await add_available(store, "a", "b")
    await request_quarantine(store, "a", "why")

    assert await store.reconcile(["b"]) == ([], [])
    assert (await record(store)).state is State.QUARANTINED
    await request_restore(store, "a")
    assert await store.reconcile(["b"]) == ([], ["a"])


# Retiring a pool


async def test_a_pool_that_nobody_needs_is_retired_and_its_waiters_are_told(store: PoolStore, clock: Clock) -> None:
    await add_available(store, "a")
    await store.drain_container("a")
    await store.acquire(wish("r1"))

    assert await store.retire() == ""

    assert await store.collect("process", ["r1"], liveness_s=10) == [None]
    with pytest.raises(UnknownPool):
        await store.status()
    assert await store.retire() == "", "sent twice, it answers the same"


async def test_a_pool_that_is_managed_leased_or_has_something_quarantined_is_not_retired(store: PoolStore) -> None:
    await add_available(store, "a")
    await store.lead("m", ttl_s=30, info="host 1")
    assert "managed by host 1" in await store.retire()
    await store.resign("m")

    ref = await lease(store)
    assert "leased" in await store.retire()
    await store.release(ref, Outcome.PASSED)
    await clean(store)

    await request_quarantine(store, "a", "why")
    assert "quarantined" in await store.retire()

    assert len((await store.status()).containers) == 1
