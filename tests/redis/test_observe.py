"""What is seen of containers is kept beside their state, and told once when it begins and once when it ends."""

from __future__ import annotations

from pool.models import ContainerRecord
from pool.observed import Condition, Sample
from pool.store import Observation, PoolStore, read_events
from tests.support import Clock, add_available, info, wish

HIGH = frozenset({Condition.MEMORY_HIGH})
BUSY = frozenset({Condition.CPU_HIGH})
SAMPLE = Sample(900, 1000, cpu_percent=12.3, pids=4, full_in_s=60.0)


async def seen(store: PoolStore, container_id: str = "a") -> ContainerRecord:
    return next(record for record in (await store.status()).containers if record.id == container_id)


async def told(store: PoolStore) -> list[str]:
    kinds = [event.type for event in await read_events(store.connection, store.pool)]
    conditions = tuple(f"container.{condition}" for condition in Condition)
    return [kind for kind in kinds if kind.startswith(conditions)]


async def test_the_last_sample_is_shown_and_nothing_is_told_of_it(store: PoolStore) -> None:
    await add_available(store, "a", "b")

    await store.observe([Observation("a", sample=Sample(1)), Observation("b", sample=Sample(2))])
    await store.observe([Observation("a", sample=SAMPLE)])

    assert (await seen(store)).sample == SAMPLE
    assert (await seen(store, "b")).sample == Sample(2)
    assert await told(store) == []


async def test_an_observation_without_a_sample_leaves_the_one_there_is(store: PoolStore) -> None:
    await add_available(store, "a")
    await store.observe([Observation("a", sample=SAMPLE)])

    await store.observe([Observation("a", hold=HIGH)])

    assert (await seen(store)).sample == SAMPLE


async def test_a_condition_is_told_once_when_it_begins_and_once_when_it_ends(store: PoolStore) -> None:
    await add_available(store, "a")

    for _ in range(3):
        await store.observe([Observation("a", sample=SAMPLE, hold=HIGH, note="much")])
    during = await seen(store)
    for _ in range(3):
        await store.observe([Observation("a", over=HIGH)])

    assert during.conditions == HIGH
    assert (await seen(store)).conditions == frozenset()
    assert await told(store) == ["container.memory_high", "container.memory_high_over"]


async def test_conditions_that_an_observation_does_not_name_stay_as_they_are(store: PoolStore) -> None:
    await add_available(store, "a")
    await store.observe([Observation("a", hold=HIGH)])

    await store.observe([Observation("a", hold=BUSY)])
    await store.observe([Observation("a", over=frozenset({Condition.PAUSED}))])

    assert (await seen(store)).conditions == HIGH | BUSY


async def test_what_held_for_a_moment_is_told_and_over(store: PoolStore) -> None:
    await add_available(store, "a")

    await store.observe([Observation("a", hold=HIGH, over=HIGH)])

    assert (await seen(store)).conditions == frozenset()
    assert await told(store) == ["container.memory_high", "container.memory_high_over"]


async def test_the_event_names_holder_note_and_sample(store: PoolStore) -> None:
    await add_available(store, "a")
    await store.acquire(wish("r", owner="tester"))

    await store.observe([Observation("a", sample=SAMPLE, hold=HIGH, note="much")])

    event = (await read_events(store.connection, store.pool))[-1]
    facts = {"container": "a", "owner": "tester", "request": "r", "note": "much", "sample": SAMPLE.to_json()}
    assert (event.type, dict(event.fields)) == ("container.memory_high", facts)


async def test_observing_changes_no_state_and_loses_nobody_a_race(store: PoolStore) -> None:
    await add_available(store, "a")
    before = await seen(store)

    await store.observe([Observation("a", sample=SAMPLE, hold=HIGH)])

    after = await seen(store)
    assert (after.state, after.revision, after.since) == (before.state, before.revision, before.since)


async def test_a_generation_is_as_old_as_its_first_observation(store: PoolStore, clock: Clock) -> None:
    await add_available(store, "a")
    assert (await seen(store)).born_at is None
    await store.observe([Observation("a")])
    first = (await seen(store)).born_at
    clock.advance(60)
    await store.observe([Observation("a")])

    assert first is not None
    assert (await seen(store)).born_at == first
    await store.register(info("a", generation=2), spec="s")
    assert (await seen(store)).born_at is None, "the next generation was not seen yet"
    await store.observe([Observation("a")])
    second = (await seen(store)).born_at
    assert second is not None
    assert second > first + 59


async def test_a_container_or_pool_that_is_not_known_is_not_made_known(store: PoolStore) -> None:
    await store.observe([Observation("nobody", sample=SAMPLE, hold=HIGH)])
    await store.observe([])

    assert (await store.status()).containers == ()
    unknown = PoolStore(store.connection, f"{store.pool}-none")
    await unknown.observe([Observation("a", sample=SAMPLE, hold=HIGH)])
    async with store.connection.plain() as redis:
        assert await redis.keys(f"cp:{{{unknown.pool}}}:*") == []
