"""The levels of a reset, each one attempt: soft, medium, hard, recreate. What follows is the manager's business."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pool.config import Config, Slot
from pool.errors import EngineError, EngineUnavailable
from pool.models import ContainerInfo, ResetLevel
from pool.ports import ContainerSpec, EngineContainer, EngineState, Runtime
from pool.reset.holders import Holders
from pool.reset.inside import Inside
from pool.reset.recipe import stage_names
from pool.reset.report import Stage
from pool.reset.turns import Turns
from pool.reset.verification import Verifier
from pool.store import PoolStore

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
        stages: Those that were run inside, in their order.
    """

    level: ResetLevel
    place: Place
    seconds: float
    problem: str = ""
    error: EngineError | None = None
    stages: tuple[Stage, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether the container may be lent."""
        return not self.problem


#: Stages that take longer than this may have been sent to a container that does not run.
_USUAL_S = 0.5

_WAITING = "waiting until it answers its probes"


class _NotClean(Exception):
    """An attempt ends here, and why."""


@dataclass(slots=True)
class _Trial:
    """An attempt in progress: what is known of it even if it fails."""

    level: ResetLevel
    place: Place
    deadline_s: float
    doing: str = ""
    stages: tuple[Stage, ...] = ()


class Resetter:
    """Resets the containers of one pool.

    Attributes:
        holders: What keeps the network of its slots, where something does.

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
        self._inside = Inside(runtime, self._reset.recipe, self._options.container)
        self._verifier = Verifier(self._reset, runtime, self._inside, store)
        self.holders = Holders(config, pool, runtime)
        self._turns = Turns(config.docker.start_concurrency)

    async def close(self) -> None:
        """Close all shell sessions."""
        await self._inside.close()

    def info(self, slot: Slot, container: EngineContainer, generation: int) -> ContainerInfo:
        """Return what clients need to reach a container."""
        host, url = self._options.advertise_host, ""
        ports = dict(self.holders.ports(slot.id, container))
        if self._options.access == "gateway":
            host = self.holders.address(slot.id, container)
            ports = {port: port for port in slot.inside if host}
        elif (first := next(iter(slot.ports), None)) in ports:
            url = f"{self._options.scheme}://{host}:{ports[first]}"
        return ContainerInfo(
            id=slot.id,
            name=slot.name,
            host=host,
            ports=ports,
            url=url,
            labels=dict(self._options.container.labels),
            generation=generation,
            hand_out=self._options.health.check_at_hand_out(ports),
            gateway=self._options.gateway_rules(self._config.gateway_base),
        )

    async def attempt(self, place: Place, level: ResetLevel) -> Attempt:
        """Try one level, within its deadline.

        Raises:
            EngineUnavailable: The engine is away: nobody can say anything about the container.
        """
        match level:
            case ResetLevel.SOFT:
                return await self._timed(_Trial(level, place, self._reset.soft_timeout_s), self._clean)
            case ResetLevel.MEDIUM:
                return await self._timed(_Trial(level, place, self._reset.medium_timeout_s), self._clean)
        async with self._turns.take():  # waiting for one's turn does not count
            if level is ResetLevel.HARD:
                return await self._timed(_Trial(level, place, self._reset.hard_timeout_s), self._restart)
            return await self._timed(_Trial(level, place, self._reset.recreate_timeout_s), self._recreate)

    async def _timed(self, trial: _Trial, work: Callable[[_Trial], Awaitable[None]]) -> Attempt:
        started = time.monotonic()
        problem, error = "", None
        try:
            async with asyncio.timeout(trial.deadline_s):
                await work(trial)
        except EngineUnavailable:
            raise
        except _NotClean as reason:
            problem = str(reason)
        except TimeoutError:
            problem = f"not finished within {trial.deadline_s:g} s: {trial.doing}"
        except EngineError as failure:
            problem, error = failure.message, failure
        return Attempt(trial.level, trial.place, time.monotonic() - started, problem, error, trial.stages)

    # The levels

    async def _clean(self, trial: _Trial) -> None:
        """Soft and medium: the container runs on."""
        container = _present(trial.place)
        if not container.running:
            raise _NotClean(f"the container is {container.state}")
        stages = asyncio.ensure_future(self._run_stages(trial, container))
        try:
            await asyncio.wait((stages,), timeout=_USUAL_S)
            if not stages.done():  # a frozen container would keep us waiting until the deadline
                seen = await self._runtime.inspect(container.ref)
                if not seen.running:
                    raise _NotClean(f"the container is {seen.state}")
            files = await stages
        finally:
            stages.cancel()
        await self._verify(trial, container, files)

    async def _restart(self, trial: _Trial) -> None:
        container = _present(trial.place)
        await self._inside.drop(container.ref)
        if container.state is EngineState.PAUSED:
            await self._runtime.unpause(container.ref)
        if await self.holders.prepare(trial.place.slot) != container.joins:
            raise _NotClean("the holder of its network is another one than it joined")
        trial.doing = "restarting the container"
        container = await self._runtime.restart(container.ref, grace_s=self._options.container.stop_grace_s)
        trial.place = Place(trial.place.slot, container, trial.place.generation)
        await self._started(trial, container)
        await self._verify(trial, container, await self._run_stages(trial, container))

    async def _recreate(self, trial: _Trial) -> None:
        slot, trial.doing = trial.place.slot, "looking for the image"
        await self._runtime.ensure_image(self._options.container.image)  # without it, keep what there is
        trial.doing = "replacing the container"
        if trial.place.container is not None:
            await self._inside.drop(trial.place.container.ref)
            await self._runtime.remove(trial.place.container.ref)
        joins = await self.holders.prepare(slot)  # only now are the ports of what was here free
        spec = ContainerSpec.of(self._config, slot, generation=trial.place.generation + 1, joins=joins)
        created = await self._runtime.create(spec)
        try:
            container = await self._runtime.start(created.ref)
        except BaseException:
            await asyncio.shield(self._runtime.remove(created.ref))
            raise
        trial.place = Place(slot, container, spec.generation)
        await self._started(trial, container)
        files = await self._inside.list_files(container.ref, deadline_s=self._reset.soft_timeout_s)
        await self._verifier.remember(slot.id, container.ref, spec.generation, files)

    # Their parts

    async def _started(self, trial: _Trial, container: EngineContainer) -> None:
        """Publish where a started container is reached, and wait until it answers."""
        trial.doing = _WAITING
        slot = trial.place.slot
        info = self.info(slot, container, trial.place.generation)
        if container.running and slot.inside and not info.ports:
            self.holders.doubt(slot.id)
            raise _NotClean("it has no port any more: somebody has cut it off from its network")
        await self._store.register(info, spec=container.spec)
        if problem := await self._wait_healthy(container, info, self._options.health.start_timeout_s):
            self.holders.doubt(slot.id)
            raise _NotClean(problem)

    async def _run_stages(self, trial: _Trial, container: EngineContainer) -> frozenset[str]:
        """Run the stages of the level; returns what is left where they wiped."""
        if self._reset.recipe.shell is None:
            return frozenset()
        trial.doing = "running the stages inside"
        deadline_s = min(trial.deadline_s, self._reset.soft_timeout_s)
        if trial.level is ResetLevel.MEDIUM:
            deadline_s = trial.deadline_s
        report = await self._inside.run_stages(container.ref, trial.level, deadline_s=deadline_s)
        trial.stages = report.stages
        if problem := report.problem(stage_names(trial.level)):
            raise _NotClean(problem)
        return report.files

    async def _verify(self, trial: _Trial, container: EngineContainer, files: frozenset[str]) -> None:
        """Ask the container and its engine, both at once, whether it is as it was when it was new."""
        place, trial.doing = trial.place, _WAITING
        info = self.info(place.slot, container, place.generation)
        health = asyncio.ensure_future(self._wait_healthy(container, info, self._reset.soft_timeout_s))
        known = asyncio.ensure_future(self._verifier.baseline(place.slot.id, place.generation))
        changed = asyncio.ensure_future(self._verifier.changes(container.ref))
        try:
            problem, baseline, changes = await asyncio.gather(health, known, changed)
        finally:
            for question in (health, known, changed):
                question.cancel()  # where another one failed
        trial.doing = "verifying from outside"
        # What answered the probe may show among the processes: they are looked at last.
        problem = problem or await self._verifier.problem(container.ref, baseline, changes, files)
        if problem:
            raise _NotClean(problem)


def _present(place: Place) -> EngineContainer:
    if place.container is None:
        raise _NotClean("the container is gone")
    return place.container
