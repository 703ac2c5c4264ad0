"""Requests that wait over HTTP: many calls, one connection to Redis that listens for all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pool.client.keeping import Answer, Keeper
from pool.client.lease import AsyncLease
from pool.errors import (
    AcquireTimeout,
    AlreadyReleased,
    ClientClosed,
    LeaseLost,
    NoneFit,
    OwnerLeaseLimitReached,
    PoolDraining,
    PoolError,
    RequestConflict,
    ShuttingDown,
    StoreError,
)
from pool.models import PoolStatus, RequestState
from pool.store import LIVENESS_S, Grant, PoolStore, RequestRecord, RequestSpec
from pool.waiting import queue

#: How old a pool's status may be that says where in the queue a request stands, in seconds.
_STATUS_AGE_S = 0.25

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request stands that still waits; `estimated_wait_s` is None where no container is in rotation."""

    pool: str
    request_id: str
    position: int | None
    estimated_wait_s: float | None


@dataclass(slots=True, eq=False)
class _Entry:
    """A request at this server.

    Attributes:
        answered: Tells how the wait ended.
        calls: How many wait for that at this moment.
        queued: Redis said that it waits.
        until: When its wait is over, by the monotonic clock.
        lease: What it got while nobody asked; it is kept alive here until somebody does.
        timer: Until it is withdrawn because nobody asks.
    """

    store: PoolStore
    request: RequestSpec
    answered: asyncio.Future[Answer]
    calls: int = 0
    queued: bool = False
    until: float = 0.0
    lease: AsyncLease | None = None
    timer: asyncio.TimerHandle | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.store.pool, self.request.request_id


class Desk:
    """Where requests are asked for, once or again and again.

    Args:
        keeper: Listens in Redis for all of them.
        liveness_s: A request that waits, or a lease that nobody fetched, is withdrawn when nobody asks for so long.
    """

    def __init__(self, keeper: Keeper, *, liveness_s: float) -> None:
        self._keeper = keeper
        self._liveness_s = liveness_s
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._statuses: dict[str, tuple[float, PoolStatus]] = {}
        self._works: set[asyncio.Task[Any]] = set()
        self._closed = False

    @property
    def calls(self) -> int:
        """How many calls wait for a container at this moment."""
        return sum(entry.calls for entry in self._entries.values() if entry.queued)

    async def ask(
        self,
        store: PoolStore,
        request: RequestSpec,
        *,
        wait_s: float,
        stay: bool = False,
        turn: AbstractAsyncContextManager[None] | None = None,
    ) -> Grant | Place:
        """Return the lease of a request, or where it stands after a while.

        Args:
            store: Its pool.
            request: What is asked; where it is known already, it is the same request again.
            wait_s: How long this call waits.
            stay: Cancelled, the call leaves the request in the queue; else it withdraws it.
            turn: Entered while the request is put to Redis.

        Raises:
            AcquireTimeout: The request has waited for as long as it may.
            RequestConflict: It is somebody else's, or has ended.
            ShuttingDown: The server ends; the request keeps its place.
            PoolError: What `PoolStore.acquire` raises.
        """
        entry = self._enter(store, request)
        cancelled = False
        try:
            return await self._ask(entry, wait_s, turn or nullcontext())
        except asyncio.CancelledError:
            cancelled = True
            raise
        finally:
            self._leave(entry, withdraw=cancelled and not stay)

    async def withdraw(self, store: PoolStore, record: RequestRecord) -> str:
        """Take back a request, whatever became of it; returns that, as `PoolStore.cancel` does."""
        if (entry := self._entries.get((store.pool, record.spec.request_id))) and not entry.calls:
            self._forget(entry)
        return await store.cancel(record.spec.request_id, record.spec.token)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for what withdraws by itself what it asked for, when it is cancelled.

        Raises:
            ShuttingDown: The server ends.
        """
        if self._closed:
            work.close()
            raise _shutting_down()
        task = asyncio.create_task(work)
        self._works.add(task)
        task.add_done_callback(self._works.discard)
        try:
            return await task
        except asyncio.CancelledError:
            call = asyncio.current_task()
            if call is None or call.cancelling():  # it was the call that was cancelled, not the work
                raise
            raise _shutting_down() from None

    def close(self) -> None:
        """Have all calls end, and wait for nothing any more; in Redis what waits stays as it is."""
        self._closed = True
        for task in self._works:
            task.cancel()
        for entry in list(self._entries.values()):
            if entry.calls and not entry.answered.done():
                entry.answered.set_exception(_shutting_down())
            self._forget(entry)

    def _enter(self, store: PoolStore, request: RequestSpec) -> _Entry:
        if self._closed:
            raise _shutting_down()
        entry = self._entries.get((store.pool, request.request_id))
        if entry is None:
            answered = self._keeper.expect((store.pool, request.request_id))
            entry = self._entries[store.pool, request.request_id] = _Entry(store, request, answered)
        elif entry.request.owner != request.owner:
            raise RequestConflict(
                f"request id {request.request_id!r} belongs to another owner than {request.owner!r}",
                hint="choose an id that nobody else uses, or none",
            )
        entry.calls += 1
        if entry.timer is not None:
            entry.timer.cancel()
            entry.timer = None
        return entry

    def _leave(self, entry: _Entry, *, withdraw: bool) -> None:
        """End a call. The last one of a request leaves it to its next call, or nothing behind."""
        entry.calls -= 1
        if entry.calls or self._entries.get(entry.key) is not entry:
            return
        if withdraw:
            self._give_up(entry)
            return
        self._hold(entry)
        entry.timer = asyncio.get_running_loop().call_later(self._liveness_s, self._give_up, entry)

    async def _ask(self, entry: _Entry, wait_s: float, turn: AbstractAsyncContextManager[None]) -> Grant | Place:
        if entry.queued:
            return await self._wait(entry, wait_s)
        try:
            async with turn:
                answer = await entry.store.acquire(entry.request)
        except StoreError:  # it may have come through: the next call finds out, or else the timer
            raise
        except PoolError:
            self._forget(entry)
            raise
        if isinstance(answer, Grant):
            self._forget(entry)
            return answer
        if self._closed:
            raise _shutting_down()
        entry.queued = True
        entry.until = time.monotonic() + answer.wait_s
        entry.answered.add_done_callback(lambda _: self._hold(entry))
        await self._keeper.listen_for(entry.key)
        if entry.request.wait_s <= 0:  # a frozen container is being thawed for it, which takes no longer than this
            wait_s = answer.wait_s
        return await self._wait(entry, wait_s)

    async def _wait(self, entry: _Entry, wait_s: float) -> Grant | Place:
        now = time.monotonic()
        last = now + wait_s >= entry.until
        try:
            async with asyncio.timeout(max(min(wait_s, entry.until - now), 0)):
                await asyncio.shield(entry.answered)
        except TimeoutError:
            if last:
                self._give_up(entry)
                raise _timed_out(entry) from None
            return await self.place(entry.store, entry.request.request_id)
        except ClientClosed:
            raise _shutting_down() from None
        return await self._fetch(entry)

    async def _fetch(self, entry: _Entry) -> Grant:
        """Return the lease that the wait ended with; from now on it is its holder who keeps it alive."""
        outcome = entry.answered.result().outcome
        lease = entry.lease
        self._forget(entry)
        if not isinstance(outcome, Grant):
            raise await ended(entry.store, entry.request, outcome)
        if lease is None:
            return outcome
        ref = lease.data.proof
        proof = ref.request_id, ref.fence, ref.token
        [expires_at] = await entry.store.heartbeat(self._keeper.process, [proof], liveness_s=LIVENESS_S)
        if expires_at is None:
            raise await ended(entry.store, entry.request, RequestState.LOST)
        return Grant(replace(outcome.lease, expires_at=expires_at), expires_at - outcome.lease.ttl_s)

    def _hold(self, entry: _Entry) -> None:
        """Keep a lease alive that came while nobody asked."""
        done = entry.answered.done() and not entry.answered.cancelled() and entry.answered.exception() is None
        if entry.calls or entry.lease is not None or self._entries.get(entry.key) is not entry or not done:
            return
        answer = entry.answered.result()
        if isinstance(answer.outcome, Grant):
            grant = answer.outcome
            entry.lease = AsyncLease(grant.lease, self._keeper, asked_at=answer.asked_at, at=grant.at)
            self._keeper.hold(entry.lease)

    def _forget(self, entry: _Entry) -> None:
        if self._entries.get(entry.key) is entry:
            del self._entries[entry.key]
        if entry.timer is not None:
            entry.timer.cancel()
        if entry.lease is not None:
            self._keeper.let_go(entry.lease)
        self._keeper.forget(entry.key, entry.answered)

    def _give_up(self, entry: _Entry) -> None:
        """Withdraw a request for which nobody waits any more."""
        if self._entries.get(entry.key) is entry:
            self._forget(entry)
            self.in_background(self._take_back(entry))

    async def _take_back(self, entry: _Entry) -> None:
        with suppress(StoreError, RequestConflict):  # without us it ends by itself, a little later
            try:
                await entry.store.cancel(entry.request.request_id, entry.request.token)
            except RequestConflict:  # it was first asked for elsewhere, with a token of its own
                record = await entry.store.find(entry.request.request_id)
                if record is not None and record.spec.owner == entry.request.owner:
                    await entry.store.cancel(entry.request.request_id, record.spec.token)

    def in_background(self, work: Coroutine[Any, Any, object]) -> None:
        """Have something done that nobody waits for; the end of the server does."""
        self._keeper.in_background(work)

    async def place(self, store: PoolStore, request_id: str) -> Place:
        """Return where a request stands in the queue."""
        read_at, status = self._statuses.get(store.pool, (0.0, None))
        if status is None or time.monotonic() - read_at > _STATUS_AGE_S:
            status = await store.status()
            self._statuses[store.pool] = time.monotonic(), status
        for entry in queue(status):
            if entry.request.request_id == request_id:
                return Place(store.pool, request_id, entry.request.position, entry.estimated_wait_s)
        return Place(store.pool, request_id, None, None)


async def ended(store: PoolStore, request: RequestSpec, outcome: RequestState | None) -> PoolError:
    """Return what it amounts to that a request ended without a lease, or with one that has ended, too."""
    name = f"request {request.request_id!r} for pool {store.pool!r}"
    match outcome:
        case RequestState.TIMED_OUT:
            return AcquireTimeout(f"nothing became free for {name} in time", hint="ask again, and wait longer")
        case RequestState.OVER_LIMIT:
            return OwnerLeaseLimitReached(
                f"{request.owner!r} or pool {store.pool!r} reached a limit of leases while {name} waited",
                hint="limits.max_leases_per_owner and limits.max_leases of the pool; ask again later",
            )
        case RequestState.CANCELLED:
            if (await store.status()).draining:
                return PoolDraining(f"pool {store.pool!r} is draining; {name} was sent away", retry_after_s=30)
            return RequestConflict(f"{name} was withdrawn", hint="ask again under a new id")
        case RequestState.UNFIT:
            return NoneFit(f"no container was fit for {name}", hint="ask again later", retry_after_s=5)
        case RequestState.RELEASED:
            return AlreadyReleased(f"the lease of {name} was released before")
    return LeaseLost(f"{name} was lost, and so is what it was granted", hint="ask again under a new id")


def _timed_out(entry: _Entry) -> AcquireTimeout:
    return AcquireTimeout(
        f"no container of pool {entry.store.pool!r} became free in time",
        hint="`poolctl status` shows who holds them; wait longer with wait_s and max_wait_s, or raise the priority",
    )


def _shutting_down() -> ShuttingDown:
    return ShuttingDown(
        "this server ends; a request that waits keeps its place for a few seconds",
        hint="ask again under the same request_id, and another server or the next one goes on with it",
    )
