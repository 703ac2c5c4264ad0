"""What a client process waits for and holds, and the two tasks behind it: one listens, one sends heartbeats."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, NamedTuple

from pool.allocator import LIVENESS_S, check_extension
from pool.client.lease import AsyncLease
from pool.errors import ClientClosed, LeaseError, RequestConflict, StoreError, StoreUnavailable
from pool.models import LeaseData, LeaseRef, Outcome, RequestState
from pool.store import Connection, Grant, PoolStore, WakeListener, retrying

#: How often a client asks for its waiting requests although no hint came.
COLLECT_INTERVAL_S = 1.0

#: A pool and a request's id.
Key = tuple[str, str]


class Answer(NamedTuple):
    """How a wait ended, None where Redis lost the request; and when that was asked for by the monotonic clock."""

    outcome: Grant | RequestState | None
    asked_at: float


class Keeper:
    """Keeps alive what one client process waits for and holds, from when it is made until it is closed.

    Whatever the number of requests and leases, that takes one blocking connection and one heartbeat for each pool.

    Args:
        connection: To Redis; it is closed with the keeper.
        process: The client's name in Redis.
    """

    def __init__(self, connection: Connection, process: str) -> None:
        self.connection = connection
        self.process = process
        self.closed = False
        self.waiters: dict[Key, asyncio.Future[Answer]] = {}
        #: Those of which Redis has said that they wait: it knows nothing of the others only because it does not yet.
        self._waiting: set[Key] = set()
        self.leases: dict[Key, AsyncLease] = {}
        self.background: set[asyncio.Task[Any]] = set()
        self._asks = 0
        self._quiet = asyncio.Event()
        self._listener = WakeListener(connection, process)
        self._changed = asyncio.Event()
        self._next_beat = math.inf
        self._tasks = [self._task(self._listen()), self._task(self._beat())]

    async def close(self) -> None:
        """Withdraw what still waits, give back what is still held, disconnect."""
        self.closed = True
        for waiter in self.waiters.values():
            waiter.cancel()
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
        await self._listener.close()
        await self.connection.close()

    def store(self, pool: str) -> PoolStore:
        """Return the commands of a pool, with the connection's patience."""
        return PoolStore(self.connection, pool)

    def in_background(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[Any]:
        """Have something done that the caller need not wait for; closing does."""
        task = asyncio.create_task(work)
        self.background.add(task)
        task.add_done_callback(self.background.discard)
        return task

    # Waiting

    def begin_asking(self) -> None:
        """Have `close` wait until the caller has withdrawn what it asks for."""
        self._asks += 1

    def end_asking(self) -> None:
        """Let `close` go on; whoever called `begin_asking` calls this."""
        self._asks -= 1
        if self.closed and not self._asks:
            self._quiet.set()

    def expect(self, key: Key) -> asyncio.Future[Answer]:
        """Return where the answer to a request will arrive, once it is more than that it waits.

        Raises:
            RequestConflict: Somebody in this process waits for it already.
            ClientClosed: Nobody listens any more.
        """
        if self.closed:
            raise ClientClosed("the client is closed", hint="connect again")
        if (other := self.waiters.get(key)) is not None and not other.done():
            raise RequestConflict(f"this client already waits for request {key[1]!r}")
        self.waiters[key] = asyncio.get_running_loop().create_future()
        return self.waiters[key]

    def forget(self, key: Key, waiter: asyncio.Future[Answer]) -> None:
        """Await this answer no longer."""
        if self.waiters.get(key) is waiter:
            del self.waiters[key]
            self._waiting.discard(key)

    async def listen_for(self, key: Key) -> None:
        """Hear at once what happens to a waiting request, and ask now and then in case a hint was lost."""
        self._waiting.add(key)
        await self._listener.add(key[0])
        self._beat_within(COLLECT_INTERVAL_S)

    async def withdraw(self, store: PoolStore, request_id: str, token: str) -> None:
        """Take back a request, whatever became of it."""
        with suppress(StoreError, RequestConflict):  # unconfirmed, or without heartbeats, it ends by itself
            await store.cancel(request_id, token)

    # Holding

    def hold(self, lease: AsyncLease) -> None:
        """Send heartbeats for a lease from now on."""
        key = lease.data.pool, lease.request_id
        self.waiters.pop(key, None)
        self._waiting.discard(key)
        self.leases[key] = lease
        if not self._listener.listens_to(key[0]):  # its loss is told there, at once
            self.in_background(self._listen_to(key[0]))
        self._beat_within(lease.data.ttl_s / 3)

    async def _listen_to(self, pool: str) -> None:
        with suppress(StoreError):  # then the next heartbeat tells
            await self._listener.add(pool)

    def let_go(self, lease: AsyncLease) -> None:
        """Send no more heartbeats for a lease."""
        lease.silence()
        key = lease.data.pool, lease.request_id
        if self.leases.get(key) is lease:
            del self.leases[key]

    async def give_back(self, lease: AsyncLease, outcome: Outcome) -> None:
        """Release a lease, even if the caller is cancelled meanwhile."""
        ref = LeaseRef.parse(lease.data.ref)
        store = self.store(ref.pool)
        try:
            await store.release(ref, outcome)
        except asyncio.CancelledError:
            self.in_background(self._give_back_anyway(store, ref, outcome))
            raise
        finally:
            self.let_go(lease)

    async def _give_back_anyway(self, store: PoolStore, ref: LeaseRef, outcome: Outcome) -> None:
        with suppress(StoreError, LeaseError):  # it may have been given back before its caller left
            await store.release(ref, outcome)

    async def extend(self, ref: LeaseRef, extra_s: float, reason: str, used: int | None = None) -> LeaseData:
        """Move the deadline of a lease. See `AsyncClient.extend`."""
        check_extension(extra_s, reason)
        return await self.store(ref.pool).extend(ref, extra_s=extra_s, reason=reason, used=used)

    def alarm(self, lease: AsyncLease) -> asyncio.TimerHandle:
        """Have a holder warned when its deadline is near."""
        return asyncio.get_running_loop().call_at(lease.warn_at, self._warn, lease)

    def _warn(self, lease: AsyncLease) -> None:
        """Tell a holder that its deadline is near, and Redis, which makes an event of the heartbeat."""
        if self.closed or lease.lost or lease.released:
            return
        self.in_background(self.refresh(lease))
        lease.warn()

    async def refresh(self, lease: AsyncLease) -> None:
        """Send a heartbeat now."""
        await self._beat_once(self._quick(lease.data.pool), deadline_s=lease.data.ttl_s / 3)

    # The two tasks behind all of it

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Fail loudly if one of the two ends by itself: without them no lease is kept and nobody is woken."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        for lease in self.leases.values():
            lease.lose(f"the client failed: {error!r}")
        for waiter in self.waiters.values():
            if not waiter.done():
                waiter.set_exception(error)

    async def _listen(self) -> None:
        await retrying()(self._listen_until_broken)

    async def _listen_until_broken(self) -> None:
        try:
            async for pool, request_id in self._listener.hints():
                await self.collect(pool, [request_id])
        except StoreUnavailable:
            raise
        except StoreError as error:  # whatever Redis refused, hints are worth another try
            raise StoreUnavailable(error.message, hint=error.hint) from error

    def _beat_within(self, seconds: float) -> None:
        """Have the next heartbeat no later than this; most often it is due before anyway."""
        if time.monotonic() + min(seconds, LIVENESS_S / 3) < self._next_beat:
            self._changed.set()

    def _quick(self, pool: str) -> PoolStore:
        return PoolStore(self.connection.without_patience(), pool)

    async def _beat(self) -> None:
        """Say that we live, renew leases, ask for waiting requests: one call for each pool we have to do with."""
        clock = asyncio.get_running_loop().time
        beaten_at = clock()
        while True:
            self._changed.clear()
            pools = {pool for pool, _ in [*self.waiters, *self.leases]}
            ttl = min((lease.data.ttl_s for lease in self.leases.values()), default=LIVENESS_S)
            interval = min(ttl / 3, LIVENESS_S / 3, COLLECT_INTERVAL_S if self.waiters else LIVENESS_S)
            self._next_beat = beaten_at + interval if pools else math.inf
            with suppress(TimeoutError):
                async with asyncio.timeout_at(beaten_at + interval if pools else None):
                    await self._changed.wait()
                continue  # a new lease may need its heartbeat earlier than what there was
            beaten_at = clock()
            await asyncio.gather(*(self._beat_once(self._quick(pool), deadline_s=ttl / 3) for pool in pools))

    async def _beat_once(self, store: PoolStore, *, deadline_s: float) -> None:
        leases = {key: lease for key, lease in self.leases.items() if key[0] == store.pool}
        waiting = [request_id for pool, request_id in self.waiters if pool == store.pool]
        asked_at = time.monotonic()
        with suppress(StoreError, TimeoutError):  # each lease's own clock says when that went on for too long
            async with asyncio.timeout(deadline_s):
                triples = [(lease.request_id, lease.fence, lease.data.token) for lease in leases.values()]
                expiries = await store.heartbeat(self.process, triples, liveness_s=LIVENESS_S)
                for lease, expiry in zip(leases.values(), expiries, strict=True):
                    if expiry is None:
                        lease.lose("it expired, was revoked, or its container died")
                    else:
                        lease.renew(asked_at)
                if waiting:
                    await self.collect(store.pool, waiting)
        for key, lease in leases.items():
            if (lease.lost or lease.released) and self.leases.get(key) is lease:
                del self.leases[key]

    async def collect(self, pool: str, request_ids: list[str]) -> None:
        """Ask what became of requests and wake who waits for them."""
        store = self.store(pool)
        mine = [request_id for request_id in request_ids if (pool, request_id) in self.waiters]
        for request_id in set(request_ids) - set(mine):
            if lease := self.leases.get((pool, request_id)):
                await self._beat_once(store, deadline_s=lease.data.ttl_s / 3)
        if not mine:
            return
        asked_at = time.monotonic()
        answers = await store.collect(self.process, mine, liveness_s=LIVENESS_S)
        for request_id, answer in zip(mine, answers, strict=True):
            if answer is RequestState.WAITING:
                continue
            key = pool, request_id
            waiter = self.waiters.get(key)
            if answer is None and key not in self._waiting:
                continue
            if waiter is not None and not waiter.done():
                waiter.set_result(Answer(answer, asked_at))
            elif isinstance(answer, Grant) and waiter is None and key not in self.leases:  # its caller left meanwhile
                self.in_background(self.withdraw(store, request_id, answer.lease.token))
