"""What the engine reports, heard at once: one container that hangs does not keep others from being seen to."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import structlog

from pool.errors import EngineError, StoreError, UnknownPool
from pool.manager.watch import HealthWatch
from pool.ports import LABEL_HOLDS, LABEL_ID, LABEL_POOL, EngineEvent, Runtime

#: What tells that a container may not be what it was. `kill` does not: only what comes of it counts, and `die` follows
#: at once, while a look at a container that is just ending would wait for the engine.
_TELLING = frozenset({"die", "oom", "stop", "pause", "unpause", "destroy", "start", "health_status: unhealthy"})
#: Delay before listening again after the stream broke, in seconds.
_RETRY_S = 1.0

log = structlog.get_logger()


class EngineListener:
    """Passes events of a pool's containers to the watch, those of each container in their order.

    Args:
        runtime: The engine.
        deployment: Whose containers.
        pool: The pool whose events count.
        watch: Sees to the containers.
        tell: How to say that events cannot be heard, and with an empty text that they can again.
    """

    def __init__(
        self, runtime: Runtime, deployment: str, pool: str, watch: HealthWatch, tell: Callable[[str, str], None]
    ) -> None:
        self._runtime = runtime
        self._deployment = deployment
        self._pool = pool
        self._watch = watch
        self._tell = tell
        self._pending: dict[str, deque[EngineEvent]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Listen until cancelled; after a gap, look at all containers."""
        try:
            while True:
                try:
                    await self._listen()
                except (EngineError, StoreError, UnknownPool) as error:
                    self._tell("engine.events_broken", error.message)
                await asyncio.sleep(_RETRY_S)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self) -> None:
        """Hear the stream to its end. It counts from here on, so what happens during the look is not missed."""
        stream = self._runtime.events(self._deployment)
        try:
            await self._watch.look_all()
            self._tell("engine.events_broken", "")
            async for event in stream:
                self._take(event)
        finally:
            await stream.aclose()

    def _take(self, event: EngineEvent) -> None:
        container_id = event.labels.get(LABEL_ID) or event.labels.get(LABEL_HOLDS, "")
        if event.action not in _TELLING or event.labels.get(LABEL_POOL) != self._pool or not container_id:
            return
        waiting = self._pending.get(container_id)
        if waiting is not None:
            waiting.append(event)
            return
        self._pending[container_id] = deque([event])
        task = asyncio.create_task(self._work_off(container_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work_off(self, container_id: str) -> None:
        waiting = self._pending[container_id]
        try:
            while waiting:
                await self._watch.hear(waiting.popleft(), container_id)
        except (EngineError, StoreError) as error:
            log.warning("container.not_seen_to", pool=self._pool, container=container_id, why=error.message)
        finally:
            del self._pending[container_id]
