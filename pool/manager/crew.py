"""The work on containers: at most one task for each, taken up from Redis, so that any manager can go on with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from pool.config import Config, Slot
from pool.errors import ContainerGone, EngineUnavailable, ImageMissing, NameTaken, PortTaken, StoreError
from pool.models import WORK_STATES, ContainerRecord, ResetLevel, ResetReason, State
from pool.ports import ContainerSpec, EngineContainer, Runtime
from pool.reset import Attempt, Place, Resetter, first_level, next_level
from pool.store import PoolStore

#: Delay before a container whose recreation failed is recreated again; doubles each time.
_RETRY_S = 0.5
_LONGEST_RETRY_S = 10.0

#: Faults that somebody has to mend outside: trying again at once would not help.
CONFLICTS = (PortTaken, NameTaken, ImageMissing)

log = structlog.get_logger()


class Crew:
    """Brings every container of a pool that needs work back to `available`, or to quarantine.

    Attributes:
        containers: What the engine has for each slot, as last seen.
        idle: Set while there is nothing to do.
        conflict: Fails when the pool cannot be started as configured.

    Args:
        config: The whole configuration.
        pool: The pool's name.
        runtime: The engine.
        store: The pool in Redis.
        resetter: Does the resets.
        leading: Whether this manager may still touch the containers.
    """

    def __init__(
        self,
        config: Config,
        pool: str,
        runtime: Runtime,
        store: PoolStore,
        resetter: Resetter,
        leading: Callable[[], bool],
    ) -> None:
        self.containers: dict[str, EngineContainer] = {}
        self.idle = asyncio.Event()
        self.idle.set()
        self.conflict: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._config = config
        self._options = config.pools[pool].reset
        self._slots = {slot.id: slot for slot in config.slots(pool)}
        self._runtime = runtime
        self._store = store
        self._resetter = resetter
        self._leading = leading
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._log = log.bind(pool=pool)

    def busy(self, container_id: str) -> bool:
        """Whether somebody works on the container right now."""
        return container_id in self._tasks

    def schedule(self, container_id: str) -> None:
        """See to a container, now or after what is being done to it."""
        if container_id in self._tasks:
            self._again.add(container_id)
        elif container_id in self._slots:
            task = asyncio.create_task(self._work(self._slots[container_id]))
            self._tasks[container_id] = task
            self.idle.clear()
            task.add_done_callback(lambda done: self._finished(container_id, done))

    def schedule_if_due(self, record: ContainerRecord) -> None:
        """See to a container if its state asks for it and nobody does."""
        if record.state in WORK_STATES and not self.busy(record.id):
            self.schedule(record.id)

    def _finished(self, container_id: str, task: asyncio.Task[None]) -> None:
        del self._tasks[container_id]
        if not self._tasks:
            self.idle.set()
        if task.cancelled():
            return
        if error := task.exception():
            if not self.conflict.done():
                self.conflict.set_exception(error)
        elif container_id in self._again:
            self._again.discard(container_id)
            self.schedule(container_id)

    async def finish(self, *, grace_s: float) -> None:
        """Wait for the work in progress, then cancel what is left; another manager takes it up from Redis."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=grace_s)
        for task in (remaining := list(self._tasks.values())):
            task.cancel()
        await asyncio.gather(*remaining, return_exceptions=True)
        if not self.conflict.done():
            self.conflict.cancel()

    async def _work(self, slot: Slot) -> None:
        """Take a container from state to state until it needs no more work."""
        while self._leading():
            try:
                record = await self._store.container(slot.id)
                if record is None or record.state not in WORK_STATES:
                    return
                await self._step(slot, record)
            except (StoreError, EngineUnavailable) as error:
                self._log.warning("container.work_delayed", container=slot.id, why=error.message)
                await asyncio.sleep(_RETRY_S)

    async def _step(self, slot: Slot, record: ContainerRecord) -> None:
        if record.state is State.UNHEALTHY:
            facts: dict[str, str | int] = {"reason": ResetReason.ON_HEALTH_FAILURE.value, "level": 0}
            await self._store.transition(record, State.RESETTING, store=facts | {"note": record.note})
            return
        place = await self._place(slot, record)
        level = self._level(place, record)
        if level is ResetLevel.NONE:
            await self._store.transition(record, State.AVAILABLE, facts={"verified": "off"})
            return
        attempt = await self._resetter.attempt(place, level)
        if attempt.place.container is not None:
            self.containers[slot.id] = attempt.place.container
        if attempt.clean:
            await self._succeed(record, attempt)
        else:
            await self._fail(record, attempt)

    async def _place(self, slot: Slot, record: ContainerRecord) -> Place:
        container = self.containers.get(slot.id)
        if container is not None:
            try:
                container = await self._runtime.inspect(container.ref)
            except ContainerGone:
                container = None
        if container is None:  # or made by an attempt that failed half-way: it has the name that the next one needs
            made = [found for found in await self._runtime.list(self._config.deployment) if found.id == slot.id]
            container = max(made, key=lambda found: found.generation, default=None)
        generation = record.info.generation
        return Place(slot, container, max(generation, container.generation) if container else generation)

    def _level(self, place: Place, record: ContainerRecord) -> ResetLevel:
        wanted = ContainerSpec.of(self._config, place.slot, generation=place.generation).spec
        if place.container is None or place.container.spec != wanted:
            return ResetLevel.RECREATE
        return first_level(record, self._options)

    async def _succeed(self, record: ContainerRecord, attempt: Attempt) -> None:
        verified = "yes" if self._options.verify else "off"
        milliseconds = round(attempt.seconds * 1000)
        facts: dict[str, str | int] = {"verified": verified}
        if record.state is State.STARTING:
            facts["start_ms"] = milliseconds
        else:
            facts["reset_level"] = attempt.level.label
            facts["reset_reason"] = (record.reason or ResetReason.MANUAL).value
            facts["reset_ms"] = milliseconds
        if await self._store.transition(record, State.AVAILABLE, store={"failures": 0, "level": 0}, facts=facts):
            self._log.info("container.ready", container=record.id, **facts)

    async def _fail(self, record: ContainerRecord, attempt: Attempt) -> None:
        if record.state is State.STARTING and isinstance(attempt.error, CONFLICTS):
            raise attempt.error
        exhausted = attempt.level is ResetLevel.RECREATE
        failures = record.failures + int(exhausted)
        store: dict[str, str | int] = {
            "note": attempt.problem,
            "failures": failures,
            "level": int(next_level(attempt.level)),
            "reason": (record.reason or ResetReason.MANUAL).value,
        }
        facts: dict[str, str | int] = {"reset_level": attempt.level.label, "reset_ms": round(attempt.seconds * 1000)}
        to = State.QUARANTINED if failures >= self._options.quarantine_after else State.RESETTING
        await self._store.transition(record, to, store=store, facts=facts)
        self._log.warning(
            "container.quarantined" if to is State.QUARANTINED else "container.not_clean",
            container=record.id,
            level=attempt.level.label,
            problem=attempt.problem,
        )
        if exhausted and to is State.RESETTING:
            await asyncio.sleep(min(_RETRY_S * 2**failures, _LONGEST_RETRY_S))
