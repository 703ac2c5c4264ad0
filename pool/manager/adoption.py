"""Adoption: bring configuration, engine and Redis into agreement, without harming what runs."""

from __future__ import annotations

import structlog

from pool.config import Config, Slot
from pool.health import HealthReport
from pool.manager.crew import Crew
from pool.manager.watch import HealthWatch
from pool.models import ContainerRecord, PoolStatus, ResetLevel, ResetReason, State
from pool.ports import EngineContainer, EngineState, Runtime
from pool.reset import Resetter
from pool.states import IDLE_STATES, WORK_STATES
from pool.store import PoolStore

log = structlog.get_logger()


class Adoption:
    """Compares what should be, what the engine has, and what Redis knows; repairs the difference."""

    def __init__(
        self, config: Config, pool: str, runtime: Runtime, store: PoolStore, resetter: Resetter, crew: Crew,
        watch: HealthWatch,
    ) -> None:  # fmt: skip
        self._config = config
        self._pool = pool
        self._slots = {slot.id: slot for slot in config.slots(pool)}
        self._runtime = runtime
        self._store = store
        self._resetter = resetter
        self._crew = crew
        self._watch = watch
        self._log = log.bind(pool=pool)

    async def run(self) -> None:
        """Adopt what is there, schedule what is missing, remove what no longer belongs. May run at any time.

        Redis is read before the engine is: whatever the crew does in between changes a container's revision, so
        that no decision here can rest on what it saw too early.
        """
        await self._store.reconcile(list(self._slots))
        records = {record.id: record for record in (await self._store.status()).containers}
        found, holders = await self._find()
        joined = {container.joins for containers in found.values() for container in containers}
        for holder in holders:
            await self._adopt_holder(holder, joined=holder.ref in joined)
        for container_id, containers in found.items():
            belongs = container_id in self._slots or container_id in records
            for stray in containers[1:] if belongs else containers:
                if not self._crew.busy(container_id):
                    await self._runtime.remove(stray.ref)
                    self._log.info("container.removed", container=container_id, name=stray.name)
        for slot in self._spares_first(records):
            if not self._crew.busy(slot.id):
                await self._adopt(slot, next(iter(found.get(slot.id, [])), None), records.get(slot.id))

    def overdue(self, status: PoolStatus) -> bool:
        """Whether a container that left the configuration while it was leased came back: it is to give up its place."""
        kept = (State.ALLOCATED, State.QUARANTINED)
        return any(record.id not in self._slots and record.state not in kept for record in status.containers)

    def _spares_first(self, records: dict[str, ContainerRecord]) -> list[Slot]:
        """Return the slots in the order of adoption: an outdated spare must not take the place of another one."""
        spares = {name for name, record in records.items() if record.state is State.SPARE}
        return sorted(self._slots.values(), key=lambda slot: slot.id not in spares)

    async def _find(self) -> tuple[dict[str, list[EngineContainer]], list[EngineContainer]]:
        """Return the pool's containers by id, newest generation first, and the holders of their networks."""
        found: dict[str, list[EngineContainer]] = {}
        holders = []
        for container in await self._runtime.list(self._config.deployment):
            if container.pool == self._pool and container.holds:
                holders.append(container)
            elif container.pool == self._pool:
                found.setdefault(container.id, []).append(container)
        for containers in found.values():
            containers.sort(key=lambda container: container.generation, reverse=True)
        return found, holders

    async def _adopt_holder(self, holder: EngineContainer, *, joined: bool) -> None:
        """Go on with a holder, or remove one that keeps nothing for nobody; a container may still be lent behind it."""
        belongs = holder.holds in self._slots
        if joined or (belongs and self._crew.holders.wanted) or self._crew.busy(holder.holds):
            self._crew.holders.note(holder)
            return
        await self._runtime.remove(holder.ref)
        self._log.info("holder.removed", container=holder.holds, name=holder.name)

    async def _adopt(self, slot: Slot, container: EngineContainer | None, record: ContainerRecord | None) -> None:
        if container is not None:
            self._crew.containers[slot.id] = container
        if record is None:
            await self._introduce(slot, container)
        elif record.state in WORK_STATES:
            self._crew.schedule(slot.id)
        elif record.state in (*IDLE_STATES, State.ALLOCATED, State.PAUSED):
            await self._keep(slot, container, record)

    async def _introduce(self, slot: Slot, container: EngineContainer | None) -> None:
        """Make a container known that Redis does not know. Nobody knows what is in it, so it is recreated."""
        generation = container.generation if container else 0
        seen = container or EngineContainer("", slot.name, EngineState.CREATED, labels={})
        info = self._resetter.info(slot, seen, generation)
        await self._store.register(info, spec=seen.spec)
        self._crew.schedule(slot.id)
        if container is not None:
            self._log.warning("container.adopted_unknown", container=slot.id, name=container.name)

    async def _keep(self, slot: Slot, container: EngineContainer | None, record: ContainerRecord) -> None:
        """Go on with a container that Redis knows and that is lent, ready to be, or frozen until somebody asks."""
        if container is None:
            await self._watch.judge(record, HealthReport("engine", "the container is gone", dead=True))
            return
        if not container.running:
            await self._watch.check(record)
            return
        if problem := await self._crew.holders.problem(container):
            await self._watch.judge(record, HealthReport("engine", problem, dead=True))
            return
        if container.spec != self._crew.specs[slot.id]:
            if record.state in IDLE_STATES:
                note = "the configuration changed"
                facts: dict[str, str | int] = {"reason": ResetReason.MANUAL.value, "level": int(ResetLevel.RECREATE)}
                await self._store.transition(record, State.RESETTING, store=facts | {"note": note})
            return
        info = self._resetter.info(slot, container, record.info.generation)
        if info != record.info:
            await self._store.register(info, spec=container.spec)
