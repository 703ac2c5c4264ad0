"""Containers that stand by outside the rotation: what the commands do. The manager is in test_spare_manager.py."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pool.errors import ForbiddenTransition, RequirementsUnmet
from pool.models import ContainerRecord, LeaseRef, Outcome, State
from pool.store import Connection, Grant, PoolStore, Waiting, read_events
from pool.waiting import queue
from tests.support import Clock, add_available, settings, wish


async def open_with(store: PoolStore, size: int, spares: int, **limits: object) -> None:
    await store.open(settings(size=size, spares=spares, **limits), "again")


async def states(store: PoolStore) -> dict[str, str]:
    return {record.id: record.state.value for record in (await store.status()).containers}


async def record(store: PoolStore, container_id: str) -> ContainerRecord:
    found = await store.container(container_id)
    assert found is not None
    return found


def ref_of(granted: Grant) -> LeaseRef:
    return LeaseRef.parse(granted.lease.ref)


async def swaps(connection: Connection, store: PoolStore) -> list[Mapping[str, str]]:
    return [event.fields for event in await read_events(connection, store.pool) if event.type == "container.swapped"]


async def test_whoever_is_ready_when_all_places_are_taken_stands_by(store: PoolStore, connection: Connection) -> None:
    await open_with(store, 2, 1)

    await add_available(store, "a", "b", "c")

    assert await states(store) == {"a": "available", "b": "available", "c": "spare"}
    events = await read_events(connection, store.pool)
    assert [event.fields["container"] for event in events if event.type == "container.spare"] == ["c"]


async def test_a_spare_is_lent_to_nobody(store: PoolStore) -> None:
    await open_with(store, 1, 1)
    await add_available(store, "a", "b")

    assert isinstance(await store.acquire(wish("r1")), Grant)
    assert isinstance(await store.acquire(wish("r2")), Waiting)

    assert await states(store) == {"a": "allocated", "b": "spare"}


async def test_a_spare_serves_who_waits_in_the_step_in_which_a_lease_expires(
    store: PoolStore, connection: Connection, clock: Clock
) -> None:
    await open_with(store, 1, 1)
    await add_available(store, "a", "b")
    await store.acquire(wish("r1", ttl_s=2.0))
    await store.acquire(wish("r2"))
    clock.advance(3)

    await store.reap()

    assert await states(store) == {"a": "resetting", "b": "allocated"}
    assert (await record(store, "b")).request_id == "r2"
    assert [(swap["in"], swap["out"]) for swap in await swaps(connection, store)] == [("b", "a")]
    assert await store.transition(await record(store, "a"), State.AVAILABLE)
    assert await states(store) == {"a": "spare", "b": "allocated"}


@pytest.mark.parametrize("to", [State.UNHEALTHY, State.RESETTING, State.QUARANTINED, State.STOPPED, State.STARTING])
async def test_a_spare_takes_the_place_of_whoever_leaves_the_rotation(store: PoolStore, to: State) -> None:
    await open_with(store, 1, 1)
    await add_available(store, "a", "b")

    assert await store.transition(await record(store, "a"), to)

    assert await states(store) == {"a": to.value, "b": "available"}


async def test_without_a_spare_the_place_waits_for_whoever_is_well_first(store: PoolStore) -> None:
    await open_with(store, 1, 1)
    await add_available(store, "a", "b")
    for name in "ba":
        assert await store.transition(await record(store, name), State.QUARANTINED)
    assert await states(store) == {"a": "quarantined", "b": "quarantined"}

    for name in "ab":
        assert await store.transition(await record(store, name), State.RESETTING)
        assert await store.transition(await record(store, name), State.AVAILABLE)

    assert await states(store) == {"a": "available", "b": "spare"}


async def test_a_spare_may_be_drained_quarantined_and_brought_back(store: PoolStore) -> None:
    await open_with(store, 1, 1)
    await add_available(store, "a", "b")
    await store.drain_container("b")
    assert await store.transition(await record(store, "a"), State.UNHEALTHY)
    assert await states(store) == {"a": "unhealthy", "b": "spare"}

    await store.resume("b")

    assert await states(store) == {"a": "unhealthy", "b": "available"}


async def test_a_drained_container_stands_aside_for_a_spare_and_comes_back_as_one(store: PoolStore) -> None:
    await open_with(store, 1, 1)
    await add_available(store, "a", "b")

    await store.drain_container("a")
    assert await states(store) == {"a": "spare", "b": "available"}
    await store.resume("a")

    assert await states(store) == {"a": "spare", "b": "available"}
    assert await store.transition(await record(store, "b"), State.UNHEALTHY)
    assert (await states(store))["a"] == "available"


async def test_a_lease_on_a_draining_container_ends_before_it_stands_aside(store: PoolStore) -> None:
    await open_with(store, 1, 1, on_release="none")
    await add_available(store, "a", "b")
    granted = await store.acquire(wish("r1"))
    assert isinstance(granted, Grant)
    await store.drain_container("a")
    assert await states(store) == {"a": "allocated", "b": "spare"}

    await store.release(ref_of(granted), Outcome.PASSED)

    assert await states(store) == {"a": "spare", "b": "available"}


async def test_a_smaller_pool_revokes_no_lease_and_lets_what_is_free_stand_by(store: PoolStore) -> None:
    await open_with(store, 3, 0)
    await add_available(store, "a", "b", "c")
    held = await store.acquire(wish("r1"))
    assert isinstance(held, Grant)
    other = await store.acquire(wish("r2"))
    assert isinstance(other, Grant)

    await open_with(store, 1, 2, on_release="none")
    await store.reconcile(["a", "b", "c"])

    assert await states(store) == {"a": "allocated", "b": "allocated", "c": "spare"}
    await store.release(ref_of(held), Outcome.PASSED)
    assert await states(store) == {"a": "spare", "b": "allocated", "c": "spare"}


async def test_a_larger_pool_takes_its_spares_in_at_once(store: PoolStore) -> None:
    await open_with(store, 1, 2)
    await add_available(store, "a", "b", "c")
    await store.acquire(wish("r1"))
    await store.acquire(wish("r2"))

    await open_with(store, 2, 1)
    await store.reconcile(["a", "b", "c"])
    assert await states(store) == {"a": "allocated", "b": "allocated", "c": "spare"}

    await open_with(store, 3, 0)
    await store.reconcile(["a", "b", "c"])
    assert await states(store) == {"a": "allocated", "b": "allocated", "c": "available"}


async def test_books_without_a_rotation_get_one(store: PoolStore, connection: Connection) -> None:
    await open_with(store, 3, 0)
    await add_available(store, "a", "b", "c")
    async with connection.plain() as redis:
        await redis.delete(f"cp:{{{store.pool}}}:rotation")

    await open_with(store, 2, 1)
    await store.reconcile(["a", "b", "c"])

    assert sorted((await states(store)).values()) == ["available", "available", "spare"]


async def test_no_bundle_counts_on_spares(store: PoolStore) -> None:
    await open_with(store, 2, 1)
    await add_available(store, "a", "b", "c")

    with pytest.raises(RequirementsUnmet, match="2 containers"):
        await store.acquire_many(wish("r1"), 3)

    assert (await store.status()).places == 2


async def test_nobody_moves_a_container_to_the_spares_by_hand(store: PoolStore) -> None:
    await open_with(store, 1, 1)
    await add_available(store, "a", "b")

    with pytest.raises(ForbiddenTransition, match="only the pool itself takes a container from available to spare"):
        await store.transition(await record(store, "a"), State.SPARE)
    with pytest.raises(ForbiddenTransition, match="only the pool itself takes a container from spare to available"):
        await store.transition(await record(store, "b"), State.AVAILABLE)


async def test_whoever_finds_its_container_unfit_gets_the_spare(store: PoolStore) -> None:
    await open_with(store, 1, 1)
    await add_available(store, "a", "b")
    granted = await store.acquire(wish("r1"))
    assert isinstance(granted, Grant)
    await store.acquire(wish("r2"))

    again = await store.reject(ref_of(granted), "no answer", again=True, liveness_s=10)

    assert isinstance(again, Grant)
    assert (again.lease.request_id, again.lease.container.id) == ("r1", "b")
    assert await states(store) == {"a": "unhealthy", "b": "allocated"}


async def test_an_estimate_counts_the_places_and_not_the_spares(store: PoolStore, clock: Clock) -> None:
    await open_with(store, 1, 2)
    await add_available(store, "a", "b", "c")
    await store.acquire(wish("r1"))
    await store.acquire(wish("r2"))
    await store.acquire(wish("r3"))

    first, second = queue(await store.status())

    assert first.estimated_wait_s is not None
    assert second.estimated_wait_s is not None
    assert second.estimated_wait_s - first.estimated_wait_s > 30
    assert "1 leased, 2 spare" in first.waits_for


async def test_a_forgotten_pool_leaves_no_rotation(store: PoolStore, connection: Connection) -> None:
    await open_with(store, 1, 1)
    await add_available(store, "a", "b")

    await store.forget()

    async with connection.plain() as redis:
        left = [str(key).rpartition(":")[2] for key in await redis.keys(f"cp:{{{store.pool}}}:*")]
    assert not {"rotation", "spares"} & set(left)
