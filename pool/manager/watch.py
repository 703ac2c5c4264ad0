"""The watch over health: all containers side by side, and at once when the engine reports something."""

from __future__ import annotations

import asyncio

import structlog

from pool.config import HealthOptions
from pool.health import HealthReport, Prober
from pool.manager.crew import Crew
from pool.models import ContainerRecord, ResetReason, State
from pool.store import PoolStore

log = structlog.get_logger()


class HealthWatch:
    """Checks the containers that are lent or ready to be, and takes unfit ones out of rotation."""

    def __init__(self, options: HealthOptions, store: PoolStore, prober: Prober, crew: Crew) -> None:
        self._options = options
        self._store = store
        self._prober = prober
        self._crew = crew
        self._failures: dict[str, int] = {}
        self._log = log.bind(pool=store.pool)

    async def check_all(self) -> None:
        """Check all containers at the same time."""
        status = await self._store.status()
        due = [record for record in status.containers if record.state in (State.AVAILABLE, State.ALLOCATED)]
        await asyncio.gather(*(self.check(record) for record in due))

    async def check_now(self, container_id: str) -> None:
        """Check one container because something happened to it."""
        record = await self._store.container(container_id)
        if record is not None and record.state in (State.AVAILABLE, State.ALLOCATED):
            await self.check(record)

    async def check(self, record: ContainerRecord) -> None:
        """Probe a container and judge it by what is found."""
        container = self._crew.containers.get(record.id)
        if container is not None:
            await self.judge(record, await self._prober.check(container.ref, record.info))

    async def judge(self, record: ContainerRecord, report: HealthReport) -> None:
        """Take a container out of rotation if it is dead, or idle and failing for too long.

        What is leased belongs to its holder: a busy server may well not answer us. Only death ends a lease.
        """
        if report.healthy:
            self._failures.pop(record.id, None)
            return
        failures = self._failures[record.id] = self._failures.get(record.id, 0) + 1
        failing = record.state is State.AVAILABLE and failures >= self._options.failures
        if not report.dead and not failing:
            return
        self._failures.pop(record.id, None)
        facts = {"reason": ResetReason.ON_HEALTH_FAILURE.value, "note": str(report)}
        if await self._store.transition(record, State.UNHEALTHY, store=facts):
            self._log.warning(
                "container.unhealthy", container=record.id, probe=report.probe, detail=report.detail, owner=record.owner
            )
            self._crew.schedule(record.id)
