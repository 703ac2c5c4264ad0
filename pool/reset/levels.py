"""The levels of a reset, each one attempt: soft, hard, recreate. What follows an attempt is the manager's business."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pool.config import Config, Slot
from pool.errors import EngineError, EngineUnavailable, ShellBroken
from pool.models import ContainerInfo, ResetLevel
from pool.ports import ContainerSpec, EngineContainer, EngineState, Runtime, ShellSession
from pool.reset.baseline import Baseline
from pool.reset.recipe import StageReport, build_listing, build_script, read_report
from pool.store import PoolStore

#: A killed process may show for a moment until its parent has reaped it.
_SETTLE_S = 0.5
_SETTLE_POLL_S = 0.01

#: Waits until a started container is healthy; returns what is wrong, or nothing.
WaitHealthy = Callable[[EngineContainer, ContainerInfo, float], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Place:
    """A slot, and what fills it now.

    Attributes:
        container: None where the engine has none.
        generation: Of the container that is there, or was last.
    """

    slot: Slot
    container: EngineContainer | None
    generation: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one attempt at one level went.

    Attributes:
        problem: What was left or what failed, in words; empty means verified clean.
        error: The engine's error where it was one.
        place: The slot afterwards.
    """

    level: ResetLevel
    place: Place
    seconds: float
    problem: str = ""
    error: EngineError | None = None

    @property
    def clean(self) -> bool:
        """Whether the container may be lent."""
        return not self.problem


class _NotClean(Exception):
    """An attempt ends here, and why."""


class Resetter:
    """Resets the containers of one pool.

    Args:
        config: The whole configuration.
        pool: The pool's name.
        runtime: The engine.
        store: Where containers are registered and baselines kept.
        wait_healthy: How to find out that a started container answers.
    """

    def __init__(
        self, config: Config, pool: str, runtime: Runtime, store: PoolStore, wait_healthy: WaitHealthy
    ) -> None:
        self._config = config
        self._options = config.pools[pool]
        self._reset = self._options.reset
        self._runtime = runtime
        self._store = store
        self._wait_healthy = wait_healthy
        self._shells: dict[str, ShellSession] = {}
        self._starts = asyncio.Semaphore(config.docker.start_concurrency)

    async def close(self) -> None:
        """Close all shell sessions."""
        for shell in self._shells.values():
            await shell.close()
        self._shells.clear()

    def info(self, slot: Slot, container: EngineContainer, generation: int) -> ContainerInfo:
        """Return what clients need to reach a container."""
        ports = dict(container.ports)
        first = next(iter(slot.ports), None)
        host = self._options.advertise_host
        url = f"{self._options.scheme}://{host}:{ports[first]}" if first in ports else ""
        return ContainerInfo(
            id=slot.id,
            name=slot.name,
            host=host,
            ports=ports,
            url=url,
            labels=dict(self._options.container.labels),
            generation=generation,
        )

    async def attempt(self, place: Place, level: ResetLevel) -> Attempt:
        """Try one level, within its deadline.

        Raises:
            EngineUnavailable: The engine is away: nobody can say anything about the container.
        """
        if level is ResetLevel.SOFT:
            return await self._timed(place, level, self._soft, self._reset.soft_timeout_s)
        async with self._starts:
            if level is ResetLevel.HARD:
                return await self._timed(place, level, self._hard, self._reset.hard_timeout_s)
            return await self._timed(place, level, self._recreate, self._reset.recreate_timeout_s)

    async def _timed(
        self, place: Place, level: ResetLevel, work: Callable[[Place], Awaitable[Place]], timeout_s: float
    ) -> Attempt:
        started = time.monotonic()
        problem, error = "", None
        try:
            async with asyncio.timeout(timeout_s):
                place = await work(place)
        except EngineUnavailable:
            raise
        except _NotClean as reason:
            problem = str(reason)
        except TimeoutError:
            problem = f"not finished within {timeout_s:g} s"
        except EngineError as failure:
            problem, error = failure.message, failure
        return Attempt(level, place, time.monotonic() - started, problem, error)

    # The levels

    async def _soft(self, place: Place) -> Place:
        container = _present(place)
        if not container.running:
            raise _NotClean(f"the container is {container.state}")
        files = await self._run_stages(container)
        await self._verify(place, container, files)
        return place

    async def _hard(self, place: Place) -> Place:
        container = _present(place)
        await self._drop_shell(container.ref)
        if container.state is EngineState.PAUSED:
            await self._runtime.unpause(container.ref)
        container = await self._runtime.restart(container.ref, grace_s=self._options.container.stop_grace_s)
        place = Place(place.slot, container, place.generation)
        await self._started(place, container)
        files = await self._run_stages(container) if self._reset.recipe.shell is not None else frozenset[str]()
        await self._verify(place, container, files)
        return place

    async def _recreate(self, place: Place) -> Place:
        if place.container is not None:
            await self._drop_shell(place.container.ref)
            await self._runtime.remove(place.container.ref)
        spec = ContainerSpec.of(self._config, place.slot, generation=place.generation + 1)
        created = await self._runtime.create(spec)
        try:
            container = await self._runtime.start(created.ref)
        except BaseException:
            await asyncio.shield(self._runtime.remove(created.ref))
            raise
        place = Place(place.slot, container, spec.generation)
        await self._started(place, container)
        files = await self._list_files(container)
        baseline = await self._look(place, container, files)
        await self._store.save_baseline(place.slot.id, baseline.to_json())
        return place

    async def _started(self, place: Place, container: EngineContainer) -> None:
        """Publish where a started container is reached, and wait until it answers."""
        info = self.info(place.slot, container, place.generation)
        await self._store.register(info, spec=container.spec)
        if problem := await self._wait_healthy(container, info, self._options.health.start_timeout_s):
            raise _NotClean(problem)

    # The inside: stages through the open shell, or one exec where there is none

    async def _run_stages(self, container: EngineContainer) -> frozenset[str]:
        report = await self._run_script(container, build_script)
        if report.problem:
            raise _NotClean(report.problem)
        return report.files

    async def _list_files(self, container: EngineContainer) -> frozenset[str]:
        if self._reset.recipe.shell is None:
            return frozenset()
        return (await self._run_script(container, build_listing)).files

    async def _run_script(self, container: EngineContainer, build: Callable[..., str]) -> StageReport:
        marker = secrets.token_hex(8)
        recipe = self._reset.recipe
        script = build(recipe, self._options.container.tmpfs, marker=marker)
        try:
            shell = await self._shell(container.ref)
            result = await shell.run(script, deadline_s=self._reset.soft_timeout_s)
        except ShellBroken:
            await self._drop_shell(container.ref)
            result = await self._runtime.exec(
                container.ref,
                [recipe.shell or "/bin/sh", "-c", script],
                user=recipe.user,
                deadline_s=self._reset.soft_timeout_s,
            )
        return read_report(result.output, marker=marker)

    async def _shell(self, ref: str) -> ShellSession:
        shell = self._shells.get(ref)
        if shell is None or not shell.alive:
            recipe = self._reset.recipe
            shell = await self._runtime.open_shell(ref, shell=recipe.shell or "/bin/sh", user=recipe.user)
            self._shells[ref] = shell
        return shell

    async def _drop_shell(self, ref: str) -> None:
        if shell := self._shells.pop(ref, None):
            await shell.close()

    # The outside: what the engine sees

    async def _look(self, place: Place, container: EngineContainer, files: frozenset[str]) -> Baseline:
        changes, processes = await asyncio.gather(
            self._runtime.changes(container.ref), self._runtime.processes(container.ref)
        )
        shell = self._shells.get(container.ref)
        ours = shell.pid if shell is not None and shell.alive else None
        return Baseline.of(place.generation, [process for process in processes if process.pid != ours], changes, files)

    async def _verify(self, place: Place, container: EngineContainer, files: frozenset[str]) -> None:
        info = self.info(place.slot, container, place.generation)
        if problem := await self._wait_healthy(container, info, self._reset.soft_timeout_s):
            raise _NotClean(problem)
        if not self._reset.verify:
            return
        text = await self._store.load_baseline(place.slot.id)
        baseline = Baseline.from_json(text) if text else None
        if baseline is None or baseline.generation != place.generation:
            raise _NotClean("it is not known what the container looked like when it was new")
        until = time.monotonic() + _SETTLE_S
        while left := baseline.differences(await self._look(place, container, files), self._reset):
            settling = all("process " in difference for difference in left)
            if not settling or time.monotonic() > until:
                raise _NotClean("left behind: " + "; ".join(left[:8]) + ("; …" if len(left) > 8 else ""))
            await asyncio.sleep(_SETTLE_POLL_S)


def _present(place: Place) -> EngineContainer:
    if place.container is None:
        raise _NotClean("the container is gone")
    return place.container
