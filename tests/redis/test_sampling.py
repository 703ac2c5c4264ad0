"""What the sampler shows, tells and resets. The engine is in memory, and uses what a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from pool.config import ThresholdOptions
from pool.errors import EngineError
from pool.health.forecast import FEWEST
from pool.manager.crew import Crew
from pool.manager.sampling import Sampler
from pool.models import ContainerRecord, ResetReason, State
from pool.observed import Condition
from pool.ports import Stats
from pool.store import Connection, PoolStore, read_events
from pool.testing import MemoryRuntime
from tests.idle_crew import idle_crew
from tests.support import Clock, pool_config, wish

MIB = 1 << 20
LIMIT_MB = 100


class Metered(MemoryRuntime):
    """An engine whose containers use as many MiB, and have used as many CPU seconds, as a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.memory_mb: dict[str, float] = {}
        self.cpu_s: dict[str, float] = {}

    async def stats(self, ref: str) -> Stats:
        await super().stats(ref)
        container = self.containers[ref].spec.id
        used, cpu = self.memory_mb.get(container, 1.0), self.cpu_s.get(container, 0.0)
        return Stats(round(used * MIB), LIMIT_MB * MIB, round(cpu * 1e9), 2)


@dataclass
class Scene:
    """A pool of the containers a and b, sampled; the clock between two samples goes on by 30 seconds."""

    store: PoolStore
    runtime: Metered
    crew: Crew
    sampler: Sampler
    clock: Clock

    async def look(self, *, memory_mb: dict[str, float] | None = None) -> None:
        self.runtime.memory_mb |= memory_mb or {}
        self.clock.advance(30)
        await self.sampler.look()

    async def record(self, container_id: str = "a") -> ContainerRecord:
        record = await self.store.container(container_id)
        assert record is not None
        return record

    async def ready_again(self, container_id: str = "a") -> None:
        """Do what the crew does: the reset has succeeded."""
        assert await self.store.transition(await self.record(container_id), State.AVAILABLE)

    async def told(self, prefix: str) -> list[str]:
        events = await read_events(self.store.connection, self.store.pool)
        return [f"{event.type} {event.fields['container']}" for event in events if event.type.startswith(prefix)]


@pytest.fixture
async def scene(
    connection: Connection, store: PoolStore, clock: Clock, request: pytest.FixtureRequest
) -> AsyncIterator[Scene]:
    slots = [{"id": "a"}, {"id": "b"}]
    config = pool_config("d", store.pool, size=None, containers=slots)
    runtime = Metered()
    crew = await idle_crew(config, store, runtime)
    options = ThresholdOptions.model_validate(getattr(request, "param", {}))
    yield Scene(store, runtime, crew, Sampler(options, 0.5, store, runtime, crew, interval_s=0.01), clock)
    await crew.finish(grace_s=0)


async def test_status_shows_what_each_container_uses(scene: Scene) -> None:
    await scene.look(memory_mb={"a": 40, "b": 60})
    scene.runtime.cpu_s = {"a": 7.5}
    await scene.look()

    a, b = [record.sample for record in (await scene.store.status()).containers]
    assert a is not None
    assert b is not None
    assert (a.memory_mb, a.memory_percent) == (40, 40)
    assert (b.memory_mb, b.cpu_percent) == (60, 0)
    assert a.cpu_percent == pytest.approx(50, abs=1), "7.5 s in 30 s are a quarter of a CPU, and it may use half of one"


async def test_the_first_sample_of_a_start_says_nothing_about_cpu(scene: Scene) -> None:
    scene.runtime.cpu_s = {"a": 100}

    await scene.look()

    sample = (await scene.record()).sample
    assert sample is not None
    assert sample.cpu_percent is None


async def test_high_memory_is_told_once_and_resets_nothing_by_default(scene: Scene) -> None:
    for used in (50, 91, 95, 89, 91, 80):
        await scene.look(memory_mb={"a": used})

    assert await scene.told("container.memory") == ["container.memory_high a", "container.memory_high_over a"]
    assert (await scene.record()).state is State.AVAILABLE


@pytest.mark.parametrize("scene", [{"reset_above_percent": 95}], indirect=True)
async def test_above_the_second_threshold_an_idle_container_is_reset_with_the_reason(scene: Scene) -> None:
    await scene.look(memory_mb={"a": 96})

    record = await scene.record()
    assert (record.state, record.reason) == (State.RESETTING, ResetReason.ON_HEALTH_FAILURE)
    assert record.note == "memory 96.0 of 100 MiB"


@pytest.mark.parametrize("scene", [{"reset_above_percent": 95}], indirect=True)
async def test_a_reset_that_does_not_help_is_not_done_over_and_over(scene: Scene) -> None:
    await scene.look(memory_mb={"a": 96})
    await scene.ready_again()
    for _ in range(3):
        await scene.look()
    assert (await scene.record()).state is State.AVAILABLE

    await scene.look(memory_mb={"a": 20})
    await scene.look(memory_mb={"a": 97})

    assert (await scene.record()).state is State.RESETTING, "it had come down meanwhile"


@pytest.mark.parametrize("scene", [{"reset_above_percent": 95}], indirect=True)
async def test_one_container_is_reset_at_a_time(scene: Scene) -> None:
    await scene.look(memory_mb={"a": 96, "b": 96})
    assert (await scene.store.status()).count(State.RESETTING) == 1

    await scene.look()

    assert (await scene.store.status()).count(State.RESETTING) == 2


@pytest.mark.parametrize("scene", [{"reset_above_percent": 95}], indirect=True)
async def test_a_leased_container_is_told_of_and_reset_only_when_it_is_idle_again(scene: Scene) -> None:
    await scene.store.acquire(wish("r", ttl_s=120.0, timeout_s=120.0))
    leased = next(record.id for record in (await scene.store.status()).containers if record.owner)
    await scene.look(memory_mb={leased: 99})
    assert (await scene.record(leased)).state is State.ALLOCATED
    assert (await scene.record(leased)).conditions == {Condition.MEMORY_HIGH, Condition.MEMORY_EXCESSIVE}

    await scene.store.cancel("r", "token-r")
    await scene.ready_again(leased)
    await scene.look()

    assert (await scene.record(leased)).state is State.RESETTING


async def test_an_idle_container_that_fills_up_is_reset_before_it_is_full(scene: Scene) -> None:
    for index in range(FEWEST):
        await scene.look(memory_mb={"a": 10 + 8 * index})

    record = await scene.record()
    assert (record.state, record.reason) == (State.RESETTING, ResetReason.ON_HEALTH_FAILURE)
    assert record.note.startswith("memory would reach its limit in about 6")
    assert record.sample is not None
    assert record.sample.full_in_s == pytest.approx(67.5, rel=0.05)
    assert await scene.told("container.memory") == ["container.memory_filling a"]
    assert (await scene.record("b")).state is State.AVAILABLE


async def test_a_slow_leak_shows_when_memory_is_full_and_resets_nothing_yet(scene: Scene) -> None:
    for index in range(FEWEST):
        await scene.look(memory_mb={"a": 10 + index})

    record = await scene.record()
    assert record.state is State.AVAILABLE
    assert record.sample is not None
    assert record.sample.full_in_s == pytest.approx(81 * 30, rel=0.05)


async def test_what_a_holder_uses_is_no_trend_of_the_idle_container(scene: Scene) -> None:
    for index in range(FEWEST - 1):
        await scene.look(memory_mb={"a": 10 + 8 * index, "b": 10 + 8 * index})
    await scene.store.acquire(wish("r", ttl_s=120.0, timeout_s=120.0))
    leased = next(record.id for record in (await scene.store.status()).containers if record.owner)

    await scene.look(memory_mb={leased: 90})

    sample = (await scene.record(leased)).sample
    assert sample is not None
    assert sample.full_in_s is None, "its trend begins with the lease"


async def test_a_container_that_cannot_be_sampled_does_not_keep_the_others_from_it(scene: Scene) -> None:
    scene.runtime.fail_next("stats", EngineError("it does not run"))

    await scene.look()

    assert sum(record.sample is not None for record in (await scene.store.status()).containers) == 1
