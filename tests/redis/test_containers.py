from __future__ import annotations

import pytest

from pool.errors import ForbiddenTransition
from pool.models import RequestState, ResetReason, State
from pool.store import Connection, Grant, PoolStore, read_events
from tests.support import Clock, add_available, info, settings, wish


async def test_a_transition_that_lost_the_race_is_false_and_changes_nothing(store: PoolStore) -> None:
    await add_available(store, "a")
    [record] = (await store.status()).containers
    assert await store.transition(record, State.UNHEALTHY, store={"note": "first"})

    assert not await store.transition(record, State.QUARANTINED, store={"note": "second"})

    [record] = (await store.status()).containers
    assert (record.state, record.note) == (State.UNHEALTHY, "first")


async def test_the_same_state_in_a_later_revision_is_a_lost_race_too(store: PoolStore) -> None:
    await add_available(store, "a")
    [stale] = (await store.status()).containers
    await store.transition(stale, State.UNHEALTHY)
    [record] = (await store.status()).containers
    await store.transition(record, State.RESETTING)
    [record] = (await store.status()).containers
    await store.transition(record, State.AVAILABLE)

    assert not await store.transition(stale, State.UNHEALTHY)


async def test_a_forbidden_transition_is_an_error_that_says_what_is_allowed(store: PoolStore) -> None:
    await add_available(store, "a")
    [record] = (await store.status()).containers

    with pytest.raises(ForbiddenTransition, match="from available to cleaning") as caught:
        await store.transition(record, State.CLEANING)

    assert "resetting" in caught.value.hint


@pytest.mark.parametrize(
    ("old", "new", "command"),
    [
        (State.AVAILABLE, State.ALLOCATED, "acquire"),
        (State.ALLOCATED, State.CLEANING, "release"),
        (State.ALLOCATED, State.AVAILABLE, "release"),
    ],
)
async def test_a_move_that_is_a_commands_own_is_refused_naming_the_command(
    store: PoolStore, old: State, new: State, command: str
) -> None:
    await add_available(store, "a")
    if old is State.ALLOCATED:
        await store.acquire(wish("r1"))
    [record] = (await store.status()).containers

    with pytest.raises(ForbiddenTransition, match=f"only {command} takes"):
        await store.transition(record, new)


async def test_a_leased_container_that_turns_out_dead_ends_its_lease(store: PoolStore) -> None:
    await add_available(store, "a")
    answer = await store.acquire(wish("r1"))
    assert isinstance(answer, Grant)
    [record] = (await store.status()).containers

    assert await store.transition(
        record, State.UNHEALTHY, store={"reason": ResetReason.ON_HEALTH_FAILURE.value, "note": "exited"}
    )

    assert await store.collect("process", ["r1"], liveness_s=10) == [RequestState.LOST]
    [record] = (await store.status()).containers
    assert (record.state, record.reason, record.owner) == (State.UNHEALTHY, ResetReason.ON_HEALTH_FAILURE, "")


async def test_registering_a_known_container_keeps_its_state_and_lease(store: PoolStore) -> None:
    await add_available(store, "a")
    answer = await store.acquire(wish("r1"))
    assert isinstance(answer, Grant)

    record = await store.register(info("a"), spec="changed")

    assert (record.state, record.request_id, record.spec) == (State.ALLOCATED, "r1", "changed")
    assert record.fence == answer.lease.fence


async def test_reconcile_names_the_unknown_and_forgets_who_left_but_not_while_leased(store: PoolStore) -> None:
    await add_available(store, "a", "b")
    await store.acquire(wish("r1"))

    assert await store.reconcile(["c"]) == (["c"], ["b"])

    assert [record.id for record in (await store.status()).containers] == ["a"]


async def test_reconcile_repairs_indexes_and_serves_the_queue(store: PoolStore, connection: Connection) -> None:
    await add_available(store, "a")
    async with connection.plain() as redis:
        await redis.zrem(f"cp:{{{store.pool}}}:ready", "a")
    await store.acquire(wish("r1"))

    await store.reconcile(["a"])

    [record] = (await store.status()).containers
    assert (record.state, record.request_id) == (State.ALLOCATED, "r1")


async def test_one_manager_leads_and_another_learns_who(store: PoolStore) -> None:
    assert (await store.lead("m1", ttl_s=30, info="host 1")).leading

    assert (await store.lead("m2", ttl_s=30, info="host 2")).leader == "host 1"
    await store.resign("m2")
    assert (await store.lead("m1", ttl_s=30, info="host 1")).leading
    await store.resign("m1")
    assert (await store.lead("m2", ttl_s=30, info="host 2")).leading


async def test_opening_a_known_pool_keeps_its_incarnation_and_changes_its_settings(
    store: PoolStore, clock: Clock
) -> None:
    await add_available(store, "a")

    assert await store.open(settings(ttl_s=7), "second") == (False, "first")

    answer = await store.acquire(wish("r1"))
    assert isinstance(answer, Grant)
    assert answer.lease.ttl_s == 7


async def test_a_forgotten_pool_leaves_nothing_but_its_expiring_story(store: PoolStore, connection: Connection) -> None:
    await add_available(store, "a")

    await store.forget()

    async with connection.plain() as redis:
        keys = [str(key).rsplit(":", 1)[1] for key in await redis.keys(f"cp:{{{store.pool}}}:*")]
        assert set(keys) <= {"events", "manager"}
        assert all([await redis.ttl(f"cp:{{{store.pool}}}:events") > 0])


async def test_events_tell_the_story_in_order(store: PoolStore, connection: Connection) -> None:
    await add_available(store, "a")
    await store.acquire(wish("r1"))

    types = [event.type for event in await read_events(connection, store.pool)]

    assert types == [
        "pool.created",
        "container.registered",
        "container.moved",
        "container.available",
        "lease.granted",
    ]
