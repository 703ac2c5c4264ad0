"""Idle containers use no CPU: they are frozen after a while, and thawed for whoever asks before it sees them."""

from __future__ import annotations

import asyncio

import structlog

from pool.errors import ContainerGone, EngineError, StoreError
from pool.manager.crew import Crew
from pool.models import ContainerRecord, PoolStatus, State
from pool.ports import EngineState, Runtime
from pool.store import PoolStore

log = structlog.get_logger()


class Freezer:
    """Freezes and thaws the containers of one pool.

    Redis is told before a container is frozen and after it was thawed, so that nobody is ever granted a frozen one.

    Args:
        pause_after_s: How long a container stands idle before it is frozen; None: for ever.
        runtime: The engine.
        store: The pool in Redis.
        crew: Knows what the engine has for each container.
    """

    def __init__(self, pause_after_s: float | None, runtime: Runtime, store: PoolStore, crew: Crew) -> None:
        self._pause_after_s = pause_after_s
        self._runtime = runtime
        self._store = store
        self._crew = crew
        self._turns: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: dict[str, int] = {}
        self._log = log.bind(pool=store.pool)

    async def look(self, status: PoolStatus) -> None:
        """Thaw as many containers as requests wait, or freeze those that have been idle for long enough."""
        paused = [record for record in status.containers if record.state is State.PAUSED and not record.draining]
        due = paused if self._pause_after_s is None else paused[: len(status.queue)]
        work = [self.thaw(record.id) for record in due]
        if self._pause_after_s is not None and not status.queue:
            work += [self._freeze(record) for record in status.containers if self._is_idle(record, status.at)]
        work += [self._keep_frozen(record) for record in status.containers if self._is_held(record)]
        await asyncio.gather(*work)

    def hear(self, container_id: str) -> None:
        """Thaw a container, if it is frozen, because somebody waits for it; `look` tries again if that fails."""
        if self._pause_after_s is not None:
            task = asyncio.create_task(self._thaw_if_possible(container_id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop thawing; whoever manages the pool next goes on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _thaw_if_possible(self, container_id: str) -> None:
        try:
            await self.thaw(container_id)
        except (EngineError, StoreError) as error:
            self._log.warning("container.not_thawed", container=container_id, why=error.message)

    async def thaw(self, container_id: str) -> None:
        """Let a frozen container run on, and lend it. One that is not frozen stays as it is."""
        async with self._turn(container_id):
            record = await self._store.container(container_id)
            if record is None or record.state is not State.PAUSED or record.kept_frozen:
                return
            if problem := await self._unpause(record):
                note = {"note": problem}
                await self._store.transition(record, State.UNHEALTHY, store=note)
                self._crew.schedule(container_id)
            elif await self._store.transition(record, State.AVAILABLE):
                self._log.info("container.thawed", container=container_id)

    def _turn(self, container_id: str) -> asyncio.Lock:
        return self._turns.setdefault(container_id, asyncio.Lock())

    def _is_idle(self, record: ContainerRecord, now: float) -> bool:
        return (
            record.state is State.AVAILABLE
            and self._pause_after_s is not None
            and now - record.since >= self._pause_after_s
            and not self._crew.busy(record.id)
        )

    async def _freeze(self, record: ContainerRecord) -> None:
        container = self._crew.containers.get(record.id)
        if container is None:
            return
        async with self._turn(record.id):
            if not await self._store.transition(record, State.PAUSED):
                return
            try:
                await self._runtime.pause(container.ref)
            except EngineError as error:  # it runs on, which does no harm; thawing finds out how it is
                self._log.warning("container.not_frozen", container=record.id, why=error.message)
                return
            now = await self._store.container(record.id)
            if now is not None and now.state is not State.PAUSED:  # another manager has thawed it before we froze it
                await self._unpause(now)
                return
            self._log.info("container.frozen", container=record.id)

    def _is_held(self, record: ContainerRecord) -> bool:
        """Whether an operator wants a container frozen, and it was not seen to since."""
        return record.kept_frozen and self._held.get(record.id) != record.revision

    async def _keep_frozen(self, record: ContainerRecord) -> None:
        """Freeze what an operator wants frozen; Redis says so already."""
        container = self._crew.containers.get(record.id)
        if container is None:
            return
        async with self._turn(record.id):
            now = await self._store.container(record.id)
            if now is None or not self._is_held(now):
                return
            try:
                if (await self._runtime.inspect(container.ref)).state is EngineState.RUNNING:
                    await self._runtime.pause(container.ref)
                    self._log.info("container.frozen", container=record.id)
            except EngineError as error:  # the next look tries again
                self._log.warning("container.not_frozen", container=record.id, why=error.message)
                return
            self._held[record.id] = now.revision

    async def _unpause(self, record: ContainerRecord) -> str:
        """Thaw a container; returns why it cannot be lent, or nothing."""
        container = self._crew.containers.get(record.id)
        if container is None:
            return "the container is gone"
        try:
            found = await self._runtime.inspect(container.ref)
            if found.state is EngineState.PAUSED:
                await self._runtime.unpause(container.ref)
            elif not found.running:
                return f"the container is {found.state}"
        except ContainerGone:
            return "the container is gone"
        return ""
