"""The watch over health: all containers side by side, and at once when the engine reports something."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum

import structlog

from pool.config import HealthOptions
from pool.errors import ContainerGone, EngineError, EngineTimeout, EngineUnavailable
from pool.health import STRATEGIES, Action, Fault, HealthReport, Prober, Streak
from pool.manager.crew import Crew
from pool.models import ContainerRecord, ResetReason, State
from pool.observed import Condition
from pool.ports import LABEL_HOLDS, EngineContainer, EngineEvent, EngineState, Runtime
from pool.store import Observation, PoolStore

#: Conditions that are over when a container answers its probes. How much it uses is the sampler's business.
_OVER_WHEN_HEALTHY = frozenset(condition for condition in Condition if not condition.measured)
#: Between the beginnings of two checks: fifty at once would take the CPU from those who want containers.
_PACE_S = 0.02
_WATCHED = (State.AVAILABLE, State.SPARE, State.ALLOCATED, State.PAUSED)
_RUNS = (EngineState.RUNNING, EngineState.PAUSED, EngineState.RESTARTING)

log = structlog.get_logger()


def pace(interval_s: float, containers: int) -> float:
    """Return the seconds between the beginnings of two checks of a round, which takes half its interval at most."""
    return min(_PACE_S, interval_s / 2 / max(1, containers))


class Sight(Enum):
    """What a look at a container has come to."""

    RUNS = "nothing to be done"
    HANDLED = "something was done"
    RACE_LOST = "it is not what it was any more"


class HealthWatch:
    """Finds out what is wrong with containers that are lent or ready to be, and does what the table of strategies says.

    Args:
        options: How patient to be.
        store: The pool in Redis.
        runtime: The engine.
        prober: Asks containers.
        crew: Recovers those that are taken out of rotation.
        heard: Called with what each regular check found.
    """

    def __init__(
        self,
        options: HealthOptions,
        store: PoolStore,
        runtime: Runtime,
        prober: Prober,
        crew: Crew,
        heard: Callable[[HealthReport], None] = lambda _: None,
    ) -> None:
        self._options = options
        self._store = store
        self._runtime = runtime
        self._prober = prober
        self._crew = crew
        self._heard = heard
        self._streaks: dict[str, tuple[int, Streak]] = {}
        self._checks: dict[str, asyncio.Task[None]] = {}
        self._log = log.bind(pool=store.pool)

    # At intervals

    async def check_all(self) -> None:
        """Check all containers side by side, each beginning a little after the one before.

        A check that takes longer than the interval goes on: that of another container does not wait for it.
        """
        status = await self._store.status()
        pace_s = pace(self._options.interval_s, len(status.containers))
        for n, record in enumerate(status.containers):
            if record.id not in self._checks:
                self._checks[record.id] = asyncio.create_task(self._visit(record, n * pace_s))
        if not self._checks:
            return
        ended, _ = await asyncio.wait(self._checks.values(), timeout=self._options.interval_s)
        self._checks = {name: check for name, check in self._checks.items() if check not in ended}
        if errors := [error for check in ended if (error := check.exception()) is not None]:
            raise errors[0]

    async def close(self) -> None:
        """Give up the checks that have not ended."""
        for check in self._checks.values():
            check.cancel()
        await asyncio.gather(*self._checks.values(), return_exceptions=True)

    async def _visit(self, record: ContainerRecord, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        if record.state in _WATCHED:
            await self.check(record)
        elif record.state is State.QUARANTINED and Condition.HOST_LOST in record.conditions:
            await self._ask_after(record)

    async def check_now(self, container_id: str) -> None:
        """Check one container because something happened to it."""
        record = await self._store.container(container_id)
        if record is not None and record.state in _WATCHED:
            await self.check(record)

    async def check(self, record: ContainerRecord) -> None:
        """Probe a container and judge it by what is found, or by what the engine says if it does not answer."""
        container = self._crew.containers.get(record.id)
        if container is None:
            return
        if record.state is State.PAUSED:  # frozen, it cannot answer and need not
            await self._look_at(record, container)
            return
        report = await self._prober.check(container.ref, record.info)
        self._heard(report)
        if report.healthy or await self._look_at(record, container) is Sight.RUNS:
            await self.judge(record, report)

    async def judge(self, record: ContainerRecord, report: HealthReport) -> None:
        """Do what follows from a report: death, or too many failures in a row, take a container out of rotation."""
        if report.dead:
            await self._handle(record, Fault.CRASH, str(report))
            return
        streak = self._streak(record)
        failing = streak.note(healthy=report.healthy)
        if streak.over and record.conditions & _OVER_WHEN_HEALTHY:
            await self._store.observe([Observation(record.id, over=record.conditions & _OVER_WHEN_HEALTHY)])
        elif failing and not report.healthy:
            lost = await self._lost_host(record)
            await self._handle(record, Fault.HOST_LOST if lost else Fault.HANG, lost or str(report))

    def _streak(self, record: ContainerRecord) -> Streak:
        """Return a container's failures in a row since it entered its state."""
        revision, streak = self._streaks.get(record.id, (0, None))
        if streak is None or revision != record.revision:
            streak = Streak(failures=self._options.failures, recoveries=self._options.recoveries)
            self._streaks[record.id] = (record.revision, streak)
        return streak

    async def _lost_host(self, record: ContainerRecord) -> str:
        """Return why a container's engine cannot be asked; empty if it can."""
        try:
            await self._runtime.inspect(self._crew.containers[record.id].ref)
        except (EngineUnavailable, EngineTimeout) as error:
            return f"host lost: {error.message}"
        except EngineError:
            return ""  # it answers, though not as we hoped
        return ""

    async def _ask_after(self, record: ContainerRecord) -> None:
        """Bring a container back whose host was lost, if its engine answers again."""
        try:
            await self._runtime.check()
        except EngineError:
            return
        await self._store.observe([Observation(record.id, over=frozenset({Condition.HOST_LOST}))])
        await plan_reset(self._store, self._crew, record, Fault.HOST_LOST, "its host was lost, and is back")

    # When the engine reports something

    async def hear(self, event: EngineEvent, container_id: str) -> None:
        """See to a container that something happened to.

        Most events are only the reason to look: what counts is what the engine says of the container now. A lost race
        means that the container has just been granted or given back; then it is looked at again.
        """
        while await self._see_to(event, container_id) is Sight.RACE_LOST:
            pass

    async def _see_to(self, event: EngineEvent, container_id: str) -> Sight:
        record = await self._store.container(container_id)
        container = self._crew.containers.get(container_id)
        if record is None or record.state not in _WATCHED or container is None:
            return Sight.RUNS
        if LABEL_HOLDS in event.labels:
            return await self._see_to_holder(event, record, container)
        if container.ref != event.ref:
            return Sight.RUNS
        if event.action == "oom":
            detail = "the kernel killed a process: the memory limit was reached"
            return await self._handle(record, Fault.OUT_OF_MEMORY, detail)
        if event.action == "health_status: unhealthy":
            return await self._handle(record, Fault.HANG, "the image's own health check fails")
        if event.action == "die" and event.at > container.started_s:
            # The engine says so right away, but holds back what it knows of the container until its network is undone.
            code = f" with code {event.exit_code}" if event.exit_code is not None else ""
            return await self._handle(record, Fault.CRASH, f"engine: the container ended{code}")
        return await self._look_at(record, container, anew=True)

    async def _see_to_holder(self, event: EngineEvent, record: ContainerRecord, container: EngineContainer) -> Sight:
        if event.action == "die" and self._crew.holders.is_news(record.id, event.ref, event.at):
            return await self._handle(record, Fault.CRASH, "engine: the holder of its network ended")
        return await self._look_at_holder(record, container)

    async def look_all(self) -> None:
        """Look at all containers: nobody has reported what happened while nobody listened."""
        status = await self._store.status()
        await asyncio.gather(
            *(
                self._look_at(record, container, anew=True)
                for record in status.containers
                if record.state in _WATCHED and (container := self._crew.containers.get(record.id)) is not None
            )
        )

    async def _look_at(self, record: ContainerRecord, known: EngineContainer, *, anew: bool = False) -> Sight:
        """Judge a container by what the engine says of it alone: that takes a millisecond, where a probe may hang.

        Args:
            record: The container as the pool knows it.
            known: The container as the engine showed it last.
            anew: Whether one that was started since then counts as dead: what its user had in it is gone.
        """
        try:
            now = await self._runtime.inspect(known.ref)
        except ContainerGone:
            return await self._handle(record, Fault.CRASH, "engine: the container is gone")
        except EngineError:
            return Sight.RUNS  # for all we know; the probes tell more
        if now.state not in _RUNS:
            code = f" with code {now.exit_code}" if now.exit_code is not None else ""
            return await self._handle(record, Fault.CRASH, f"engine: the container is {now.state}{code}")
        if anew and now.started_at != known.started_at and not self._crew.busy(record.id):
            return await self._handle(record, Fault.CRASH, "engine: the container was started anew by somebody else")
        if now.state is EngineState.PAUSED and record.state is not State.PAUSED:
            return await self._handle(record, Fault.PAUSED, "engine: the container was paused by somebody else")
        return await self._look_at_holder(record, now)

    async def _look_at_holder(self, record: ContainerRecord, container: EngineContainer) -> Sight:
        """Judge a container by what the engine says of the holder of its network, where it has one."""
        try:
            problem = "" if self._crew.busy(record.id) else await self._crew.holders.problem(container)
        except EngineError:
            return Sight.RUNS  # for all we know
        return await self._handle(record, Fault.CRASH, f"engine: {problem}") if problem else Sight.RUNS

    # What follows

    async def _handle(self, record: ContainerRecord, fault: Fault, detail: str) -> Sight:
        strategy = STRATEGIES[fault]
        match strategy.leased if record.state is State.ALLOCATED else strategy.idle:
            case Action.RECOVER:
                return await self._recover(record, fault, detail)
            case Action.QUARANTINE:
                return await self._quarantine(record, detail)
            case Action.THAW:
                await self._thaw(record, detail)
            case Action.TELL if strategy.condition is not None and strategy.condition not in record.conditions:
                await self._store.observe([Observation(record.id, hold=frozenset({strategy.condition}), note=detail)])
                self._log.warning(f"container.{strategy.condition}", container=record.id, detail=detail)
        return Sight.HANDLED

    async def _recover(self, record: ContainerRecord, fault: Fault, detail: str) -> Sight:
        """Take a container out of rotation; a lease on it ends, and its holder is told."""
        store = {"reason": ResetReason.ON_HEALTH_FAILURE.value, "note": detail}
        if not await self._store.transition(record, State.UNHEALTHY, store=store, facts={"fault": fault.value}):
            return Sight.RACE_LOST
        facts = {"container": record.id, "fault": fault.value, "detail": detail, "owner": record.owner}
        self._log.warning("container.unhealthy", **facts)
        self._crew.schedule(record.id)
        return Sight.HANDLED

    async def _quarantine(self, record: ContainerRecord, detail: str) -> Sight:
        facts, lost = {"fault": Fault.HOST_LOST.value}, frozenset({Condition.HOST_LOST})
        # In this order: without the condition, nobody would ask after it when its host is back.
        await self._store.observe([Observation(record.id, hold=lost, note=detail)])
        if not await self._store.transition(record, State.QUARANTINED, store={"note": detail}, facts=facts):
            return Sight.RACE_LOST
        self._log.warning("container.quarantined", container=record.id, problem=detail)
        return Sight.HANDLED

    async def _thaw(self, record: ContainerRecord, detail: str) -> None:
        paused = frozenset({Condition.PAUSED})
        try:
            await self._runtime.unpause(self._crew.containers[record.id].ref)
        except EngineError as error:
            await self._store.observe([Observation(record.id, hold=paused, note=f"{detail}; {error.message}")])
            self._log.warning("container.not_thawed", container=record.id, why=error.message)
            return
        await self._store.observe([Observation(record.id, hold=paused, over=paused, note=detail)])
        self._log.warning("container.paused", container=record.id, detail=detail, owner=record.owner)


async def plan_reset(store: PoolStore, crew: Crew, record: ContainerRecord, fault: Fault, note: str) -> bool:
    """Have a container that nobody holds reset, as after a failure; returns False if it is not what it was any more."""
    wish: dict[str, str | int] = {"reason": ResetReason.ON_HEALTH_FAILURE.value, "level": 0, "note": note}
    if not await store.transition(record, State.RESETTING, store=wish, facts={"fault": fault.value}):
        return False
    log.info("container.reset_planned", pool=store.pool, container=record.id, fault=fault.value, note=note)
    crew.schedule(record.id)
    return True
