"""What containers use: sampled side by side, told where it is too much, reset where it would soon be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

from pool.config import ThresholdOptions
from pool.errors import EngineError
from pool.health import Fault, Forecaster, too_high
from pool.manager.crew import Crew
from pool.manager.watch import pace, plan_reset
from pool.models import ContainerRecord, State
from pool.observed import Condition, Sample
from pool.ports import EngineContainer, Runtime, Stats
from pool.states import IDLE_STATES
from pool.store import Observation, PoolStore

#: Samples taken at the same time. Where each takes the engine a second, a round of many must not keep it from resets.
_AT_ONCE = 8
_RESETS = (Condition.MEMORY_FILLING, Condition.MEMORY_EXCESSIVE)
_MEASURED = frozenset(condition for condition in Condition if condition.measured)


class Sampler:
    """Samples the containers of one pool at intervals.

    Args:
        options: What is too much.
        cpus: CPUs that a container may use; None where there is no limit, and then one counts as all.
        store: The pool in Redis.
        runtime: The engine.
        crew: Knows the containers, and resets them.
        interval_s: Seconds between two rounds.
    """

    def __init__(
        self,
        options: ThresholdOptions,
        cpus: float | None,
        store: PoolStore,
        runtime: Runtime,
        crew: Crew,
        *,
        interval_s: float,
    ) -> None:
        self._options = options
        self._interval_s = interval_s
        self._cpus = cpus or 1.0
        self._store = store
        self._runtime = runtime
        self._crew = crew
        self._forecaster = Forecaster()
        self._last: dict[str, tuple[str, float, int]] = {}
        self._dealt_with: set[tuple[str, Condition]] = set()
        self._few = asyncio.Semaphore(_AT_ONCE)

    async def look(self) -> None:
        """Sample all containers that are lent or ready to be, and do what follows.

        Raises:
            StoreError: Redis is away.
            UnknownPool: It lost the pool.
        """
        status = await self._store.status()
        ahead_s = status.at - time.monotonic()  # the pool's clock goes on while the engine is asked
        due = [record for record in status.containers if record.state in (*IDLE_STATES, State.ALLOCATED)]
        pace_s = pace(self._interval_s, len(due))
        samples = await asyncio.gather(*(self._sample(each, ahead_s, n * pace_s) for n, each in enumerate(due)))
        seen = [found for found in samples if found is not None]
        observations = [self._judge(record, sample) for record, sample in seen]
        await self._store.observe(observations)
        await self._act(seen, observations)

    async def _sample(
        self, record: ContainerRecord, ahead_s: float, delay_s: float
    ) -> tuple[ContainerRecord, Sample] | None:
        await asyncio.sleep(delay_s)
        container = self._crew.containers.get(record.id)
        if container is None:
            return None
        try:
            async with self._few:
                stats, at_s = await self._runtime.stats(container.ref), time.monotonic() + ahead_s
        except EngineError:
            return None  # it has just ended, or its engine is away: the watch's business
        sample = Sample(
            stats.memory_bytes,
            stats.memory_limit_bytes,
            cpu_percent=self._cpu_percent(record.id, container, stats, at_s),
            pids=stats.pids,
        )
        return record, replace(sample, full_in_s=self._forecast(record, container, sample, at_s))

    def _cpu_percent(self, container_id: str, container: EngineContainer, stats: Stats, at_s: float) -> float | None:
        """Return the mean since the sample before; None for the first of a start."""
        start, then_s, before_ns = self._last.get(container_id, ("", 0.0, 0))
        self._last[container_id] = (container.started_at, at_s, stats.cpu_ns)
        used_ns, passed_s = stats.cpu_ns - before_ns, at_s - then_s
        if start != container.started_at or used_ns < 0 or passed_s <= 0:
            return None
        return 100 * used_ns / 1e9 / passed_s / self._cpus

    def _forecast(
        self, record: ContainerRecord, container: EngineContainer, sample: Sample, at_s: float
    ) -> float | None:
        """Return when memory is full. Idle containers have a trend over leases; in each lease it is the holder's."""
        leased = record.state is State.ALLOCATED
        return self._forecaster.add(
            (record.id, leased),
            (container.ref, container.started_at, record.fence if leased else 0),
            at_s=at_s,
            used_bytes=sample.memory_bytes,
            limit_bytes=sample.memory_limit_bytes,
        )

    def _judge(self, record: ContainerRecord, sample: Sample) -> Observation:
        hold = frozenset(too_high(sample, record.conditions, self._options))
        return Observation(record.id, sample=sample, hold=hold, over=_MEASURED - hold, note=_in_words(sample))

    async def _act(self, seen: Sequence[tuple[ContainerRecord, Sample]], observations: Sequence[Observation]) -> None:
        """Reset the idle container that needs it most; others follow one by one, so that the pool is never emptied."""
        urgent: list[tuple[float, ContainerRecord, Condition, Sample]] = []
        for (record, sample), observation in zip(seen, observations, strict=True):
            for condition in _RESETS:
                key = (record.id, condition)
                if condition not in observation.hold:
                    self._dealt_with.discard(key)
                elif record.state in IDLE_STATES and key not in self._dealt_with:
                    urgent.append((sample.full_in_s or 0.0, record, condition, sample))
        if urgent:
            _, record, condition, sample = min(urgent, key=lambda candidate: candidate[0])
            if await plan_reset(self._store, self._crew, record, Fault.LEAK, _why(condition, sample)):
                self._dealt_with.add((record.id, condition))


def _why(condition: Condition, sample: Sample) -> str:
    if condition is Condition.MEMORY_FILLING:
        return f"memory would reach its limit in about {sample.full_in_s:.0f} s"
    return _in_words(sample)


def _in_words(sample: Sample) -> str:
    limit = f" of {sample.memory_limit_bytes / 2**20:.0f} MiB" if sample.memory_limit_bytes else " MiB"
    cpu = f", CPU {sample.cpu_percent:.0f} %" if sample.cpu_percent is not None else ""
    full = f", full in about {sample.full_in_s:.0f} s" if sample.full_in_s is not None else ""
    return f"memory {sample.memory_mb:.1f}{limit}{cpu}{full}"
