"""What containers use right now, where their engine runs on this host."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from pool.errors import EngineError
from pool.models import ContainerRecord, PoolStatus
from pool.observed import Sample
from pool.ports import EngineContainer, Stats
from pool.runtimes import DockerRuntime

#: Whoever looks every second does not wait longer than this for a look.
_PATIENCE_S = 0.8


class LiveUse:
    """Samples containers through the local engine; without one, what managers last sampled has to do.

    Args:
        runtime: The engine; None where there is none.
    """

    def __init__(self, runtime: DockerRuntime | None) -> None:
        self._runtime = runtime
        self._before: dict[tuple[str, str], tuple[float, int]] = {}

    @property
    def here(self) -> bool:
        """Whether there is an engine to ask."""
        return self._runtime is not None

    async def of(self, status: PoolStatus) -> PoolStatus:
        """Return a pool's status with what its containers use now, as far as that is to be had."""
        if self._runtime is None or not status.deployment:
            return status
        try:
            async with asyncio.timeout(_PATIENCE_S):
                samples = await self._samples(self._runtime, status)
        except (EngineError, TimeoutError):
            return status
        return replace(status, containers=tuple(_with(record, samples) for record in status.containers))

    async def _samples(self, runtime: DockerRuntime, status: PoolStatus) -> dict[str, Sample]:
        here = {(made.name, made.generation): made for made in await runtime.list(status.deployment) if made.running}
        wanted = [(record.info.name, record.info.generation) for record in status.containers]
        running = [here[name] for name in wanted if name in here]  # another engine may have others of the same names
        stats = await asyncio.gather(*(runtime.stats(made.ref) for made in running), return_exceptions=True)
        cpus = status.facts.cpus or 1.0
        return {
            made.id: self._sample(made, seen, cpus)
            for made, seen in zip(running, stats, strict=True)
            if isinstance(seen, Stats)  # others have just ended
        }

    def _sample(self, container: EngineContainer, stats: Stats, cpus: float) -> Sample:
        key, now = (container.ref, container.started_at), time.monotonic()
        then, used_ns = self._before.get(key, (now, 0))
        self._before[key] = now, stats.cpu_ns
        cpu = 100 * (stats.cpu_ns - used_ns) / 1e9 / (now - then) / cpus if now > then else None
        return Sample(stats.memory_bytes, stats.memory_limit_bytes, cpu, stats.pids)


@asynccontextmanager
async def live_use(*, wanted: bool) -> AsyncIterator[LiveUse]:
    """Look for an engine on this host, if that is wanted."""
    runtime = DockerRuntime()
    try:
        try:
            here = wanted and (await runtime.facts()).local
        except EngineError:
            here = False
        yield LiveUse(runtime if here else None)
    finally:
        await runtime.close()


def _with(record: ContainerRecord, samples: Mapping[str, Sample]) -> ContainerRecord:
    sample = samples.get(record.id)
    if sample is None:
        return record
    known = record.sample
    if known is not None:
        cpu = known.cpu_percent if sample.cpu_percent is None else sample.cpu_percent
        sample = replace(sample, cpu_percent=cpu, full_in_s=known.full_in_s)
    return replace(record, sample=sample)
