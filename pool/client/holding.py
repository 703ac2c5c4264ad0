"""What one client process holds and does in the background, whoever keeps its leases: Redis, or a manager by HTTP."""

from __future__ import annotations

import asyncio
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from pool.client.lease import AsyncLease
from pool.errors import LeaseError, StoreError
from pool.models import LeaseData, LeaseRef, Outcome
from pool.store import LIVENESS_S

#: A pool and a request's id.
Key = tuple[str, str]

#: What a heartbeat says of a lease that holds no more.
LOST = "it expired, was revoked, or its container died"


class Holding(ABC):
    """Keeps alive what one client process holds, from when it is made until it is closed.

    Args:
        process: The client's name.
    """

    def __init__(self, process: str) -> None:
        self.process = process
        self.closed = False
        self.leases: dict[Key, AsyncLease] = {}
        self.background: set[asyncio.Task[Any]] = set()
        self._asks = 0
        self._quiet = asyncio.Event()
        self._changed = asyncio.Event()
        self._next_beat = math.inf
        self._tasks = [self._task(self._beat())]

    # What its two kinds do each in their way

    @abstractmethod
    async def release(self, ref: LeaseRef, outcome: Outcome) -> None:
        """Give a lease back. See `AsyncClient.release`."""

    @abstractmethod
    async def extend(self, ref: LeaseRef, extra_s: float, reason: str, used: int | None = None) -> LeaseData:
        """Move the deadline of a lease. See `AsyncClient.extend`."""

    @abstractmethod
    async def refresh(self, lease: AsyncLease) -> None:
        """Send a heartbeat now."""

    @abstractmethod
    async def _beat_all(self) -> None:
        """Send the heartbeats that are due."""

    @abstractmethod
    def _interval_s(self) -> float:
        """Return how long the next heartbeat may be away from the one before; infinite where there is none to send."""

    @abstractmethod
    def _end_waits(self, error: BaseException | None = None) -> None:
        """End what still waits, by which it withdraws itself; or tell it why nobody will wake it any more."""

    @abstractmethod
    async def _disconnect(self) -> None:
        """Close all connections."""

    # Life

    async def close(self) -> None:
        """Withdraw what still waits, give back what is still held, disconnect."""
        self.closed = True
        self._end_waits()
        if self._asks:  # each withdraws what it had asked for
            await self._quiet.wait()
        for lease in list(self.leases.values()):
            if not lease.released and not lease.lost:
                self.in_background(lease.release(Outcome.ERROR))
        while self.background:
            await asyncio.gather(*self.background, return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._disconnect()

    def in_background(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[Any]:
        """Have something done that the caller need not wait for; closing does."""
        task = asyncio.create_task(work)
        self.background.add(task)
        task.add_done_callback(self.background.discard)
        return task

    def begin_asking(self) -> None:
        """Have `close` wait until the caller has withdrawn what it asks for."""
        self._asks += 1

    def end_asking(self) -> None:
        """Let `close` go on; whoever called `begin_asking` calls this."""
        self._asks -= 1
        if self.closed and not self._asks:
            self._quiet.set()

    # Holding

    def hold(self, lease: AsyncLease) -> None:
        """Send heartbeats for a lease from now on."""
        self.leases[lease.data.pool, lease.request_id] = lease
        self._beat_within(lease.data.ttl_s / 3)

    def let_go(self, lease: AsyncLease) -> None:
        """Send no more heartbeats for a lease."""
        lease.silence()
        self._drop(lease)

    def _drop(self, lease: AsyncLease) -> None:
        key = lease.data.pool, lease.request_id
        if self.leases.get(key) is lease:
            del self.leases[key]

    async def give_back(self, lease: AsyncLease, outcome: Outcome) -> None:
        """Release a lease, even if the caller is cancelled meanwhile."""
        ref = lease.data.proof
        try:
            await self.release(ref, outcome)
        except asyncio.CancelledError:
            self.in_background(self._give_back_anyway(ref, outcome))
            raise
        finally:
            self.let_go(lease)

    async def _give_back_anyway(self, ref: LeaseRef, outcome: Outcome) -> None:
        with suppress(StoreError, LeaseError):  # it may have been given back before its caller left
            await self.release(ref, outcome)

    def alarm(self, lease: AsyncLease) -> asyncio.TimerHandle:
        """Have a holder warned when its deadline is near."""
        return asyncio.get_running_loop().call_at(lease.warn_at, self._warn, lease)

    def _warn(self, lease: AsyncLease) -> None:
        """Tell a holder that its deadline is near, and Redis, which makes an event of the heartbeat."""
        if self.closed or lease.lost or lease.released:
            return
        self.in_background(self.refresh(lease))
        lease.warn()

    # Heartbeats

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Fail loudly if a task ends by itself: without it no lease is kept and nobody is woken."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        for lease in self.leases.values():
            lease.lose(f"the client failed: {error!r}")
        self._end_waits(error)

    def _beat_within(self, seconds: float) -> None:
        """Have the next heartbeat no later than this; most often it is due before anyway."""
        if time.monotonic() + min(seconds, LIVENESS_S / 3) < self._next_beat:
            self._changed.set()

    @property
    def _ttl_s(self) -> float:
        return min((lease.data.ttl_s for lease in self.leases.values()), default=LIVENESS_S)

    async def _beat(self) -> None:
        clock = asyncio.get_running_loop().time
        beaten_at = clock()
        while True:
            self._changed.clear()
            self._next_beat = beaten_at + self._interval_s()
            idle = math.isinf(self._next_beat)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(None if idle else self._next_beat):
                    await self._changed.wait()
                if idle:  # what is new now was kept alive by its own request
                    beaten_at = clock()
                continue  # a new lease may need its heartbeat earlier than what there was
            beaten_at = clock()
            await self._beat_all()

    def _beaten(self, leases: list[AsyncLease]) -> None:
        """Send no more heartbeats for those of the leases that have ended."""
        for lease in leases:
            if lease.lost or lease.released:
                self._drop(lease)
