"""The work on containers: at most one task for each, taken up from Redis, so that any manager can go on with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import structlog

from pool.config import Config, Slot
from pool.errors import ContainerGone, EngineError, ImageMissing, NameTaken, PortTaken, StoreError
from pool.evidence import EvidenceKeeper
from pool.models import ContainerRecord, PoolStatus, ResetLevel, ResetReason, State
from pool.ports import ContainerSpec, EngineContainer, Runtime, newest
from pool.recycling import Recycler
from pool.reset import Attempt, Place, Resetter, first_level, next_level, stale_container
from pool.states import WORK_STATES
from pool.store import PoolStore

#: Delay before a container whose recreation failed is recreated again; doubles each time.
_RETRY_S = 0.5
_LONGEST_RETRY_S = 10.0

#: Faults that somebody has to mend outside: trying again at once would not help.
CONFLICTS = (PortTaken, NameTaken, ImageMissing)

#: What an event says of a hand-over, by `reset.verify`.
_VERIFIED = {"full": "yes", "fast": "fast", "off": "off"}

log = structlog.get_logger()


class Crew:
    """Brings every container of a pool that needs work back to `available`, or to quarantine.

    Attributes:
        containers: What the engine has for each slot, as last seen.
        specs: Fingerprint of what the container of each slot is to be.
        holders: What keeps the network of each slot, where something does.
        idle: Set while there is nothing to do.
        conflict: Fails when the pool cannot be started as configured.

    Args:
        config: The whole configuration.
        pool: The pool's name.
        runtime: The engine.
        store: The pool in Redis.
        resetter: Does the resets.
        evidence: Keeps what a reset destroys.
        leading: Whether this manager may still touch the containers.
    """

    def __init__(
        self,
        config: Config,
        pool: str,
        runtime: Runtime,
        store: PoolStore,
        resetter: Resetter,
        evidence: EvidenceKeeper,
        leading: Callable[[], bool],
    ) -> None:
        self.containers: dict[str, EngineContainer] = {}
        self.idle = asyncio.Event()
        self.idle.set()
        self.conflict: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._config = config
        self._options = config.pools[pool].reset
        self._swaps = config.pools[pool].spares > 0
        self._slots = {slot.id: slot for slot in config.slots(pool)}
        self.specs = {name: ContainerSpec.of(config, slot, generation=1).spec for name, slot in self._slots.items()}
        self._runtime = runtime
        self._store = store
        self.holders = resetter.holders
        self._resetter = resetter
        self._evidence = evidence
        self._recycler = Recycler(config.pools[pool].recycle, store, runtime)
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

    async def take_up(self, status: PoolStatus) -> None:
        """See to all containers that need it, and to one that has stood idle for too long."""
        for record in status.containers:
            self.schedule_if_due(record)
        if stale := stale_container(status, self._options):
            facts: dict[str, str | int] = {"reason": ResetReason.ON_ALLOCATION.value, "level": 0, "note": ""}
            if await self._store.transition(stale, State.RESETTING, store=facts):
                self.schedule(stale.id)

    def _finished(self, container_id: str, task: asyncio.Task[None]) -> None:
        del self._tasks[container_id]
        self._recycler.done(container_id)
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
            except CONFLICTS:
                raise
            except (StoreError, EngineError) as error:  # no container's fault, nor does another level help
                self._log.warning("container.work_delayed", container=slot.id, why=error.message)
                await asyncio.sleep(_RETRY_S)

    async def _step(self, slot: Slot, record: ContainerRecord) -> None:
        if record.state is State.UNHEALTHY:
            facts: dict[str, str | int] = {"reason": ResetReason.ON_HEALTH_FAILURE.value, "level": 0}
            await self._store.transition(record, State.RESETTING, store=facts | {"note": record.note})
            return
        level = ResetLevel.RECREATE if await self._recycler.served(record) else first_level(record, self._options)
        if await self._gave_up_place(record, level):
            return
        place = self._as_last_seen(slot, record) if ResetLevel.NONE < level <= ResetLevel.MEDIUM else None
        place = place or await self._place(slot, record)
        if place.container is None or place.container.spec != self.specs[slot.id]:
            level = ResetLevel.RECREATE
            if await self._gave_up_place(record, level):
                return
        await self._evidence.before_reset(record, place.container)
        if level is ResetLevel.NONE:
            if not await self._grown(record, place.container):
                await self._store.transition(record, State.AVAILABLE, facts={"verified": "off"})
            return
        attempt = await self._resetter.attempt(place, level)
        if attempt.place.container is not None:
            self.containers[slot.id] = attempt.place.container
        if not attempt.clean:
            await self._fail(record, attempt)
        elif level is ResetLevel.RECREATE or not await self._grown(record, attempt.place.container):
            await self._succeed(record, attempt)

    async def _gave_up_place(self, record: ContainerRecord, level: ResetLevel) -> bool:
        """Let a spare take a container's place before slow work on it begins, where the pool has any."""
        if not self._swaps or record.state is not State.CLEANING or level < ResetLevel.HARD:
            return False
        await self._store.transition(record, State.RESETTING)  # at no level yet: the evidence is still to be kept
        return True

    async def _grown(self, record: ContainerRecord, container: EngineContainer | None) -> bool:
        """Whether a container that is ready to be lent uses so much memory that it is to be recreated instead."""
        why = await self._recycler.grown(record, container.ref) if container is not None else ""
        return bool(why) and await self._store.transition(
            record, State.RESETTING, store={"level": int(ResetLevel.RECREATE), "note": why}
        )

    def _as_last_seen(self, slot: Slot, record: ContainerRecord) -> Place | None:
        """Return a container that ran when it was last seen, for resets that it survives: they notice if not."""
        container = self.containers.get(slot.id)
        if container is None or not container.running or container.generation != record.info.generation:
            return None
        return Place(slot, container, container.generation)

    async def _place(self, slot: Slot, record: ContainerRecord) -> Place:
        container = self.containers.get(slot.id)
        if container is not None:
            try:
                container = await self._runtime.inspect(container.ref)
            except ContainerGone:
                container = None
        if container is None:  # or made by an attempt that failed half-way: it has the name that the next one needs
            container = newest(await self._runtime.list(self._config.deployment), slot.id)
        generation = record.info.generation
        return Place(slot, container, max(generation, container.generation) if container else generation)

    async def _succeed(self, record: ContainerRecord, attempt: Attempt) -> None:
        milliseconds = round(attempt.seconds * 1000)
        facts: dict[str, str | int] = {"verified": _VERIFIED[self._options.verify]}
        if record.state is State.STARTING:
            facts["start_ms"] = milliseconds
        else:
            facts["reset_level"] = attempt.level.label
            facts["reset_reason"] = (record.reason or ResetReason.MANUAL).value
            facts["reset_ms"] = milliseconds
        facts |= self._recycler.facts(record.id)
        told = facts | _stages(attempt)  # the event has them; in the log they would be in the way of the rest
        if await self._store.transition(record, State.AVAILABLE, store={"failures": 0, "level": 0}, facts=told):
            self._log.info("container.ready", container=record.id, **facts)

    async def _fail(self, record: ContainerRecord, attempt: Attempt) -> None:
        if record.state is State.STARTING and isinstance(attempt.error, CONFLICTS):
            raise attempt.error
        exhausted = attempt.level is ResetLevel.RECREATE
        # What a recreation made before it failed is not in the attempt's place: it is looked for.
        await self._evidence.not_clean(record, None if exhausted else attempt.place.container, attempt.problem)
        failures = record.failures + int(exhausted)
        store: dict[str, str | int] = {
            "note": attempt.problem,
            "failures": failures,
            "level": int(next_level(attempt.level, self._options)),
            "reason": (record.reason or ResetReason.MANUAL).value,
        }
        facts: dict[str, str | int] = {"reset_level": attempt.level.label, "reset_ms": round(attempt.seconds * 1000)}
        facts |= _stages(attempt)
        to = State.QUARANTINED if failures >= self._options.quarantine_after else State.RESETTING
        await self._store.transition(record, to, store=store, facts=facts)
        self._log.warning(
            "container.quarantined" if to is State.QUARANTINED else "container.not_clean",
            container=record.id,
            reset_level=attempt.level.label,
            problem=attempt.problem,
            **_stages(attempt),
        )
        if exhausted and to is State.RESETTING:
            await asyncio.sleep(min(_RETRY_S * 2**failures, _LONGEST_RETRY_S))


def _stages(attempt: Attempt) -> dict[str, str]:
    """Return how the stages went as a fact for events: name → exit code and milliseconds, as JSON."""
    if not attempt.stages:
        return {}
    return {"stages": json.dumps({stage.name: [stage.exit_code, round(stage.ms, 1)] for stage in attempt.stages})}
