"""What a client process waits for and holds in Redis, and the two tasks behind it: a listener, and heartbeats."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from typing import NamedTuple

from pool.allocator import check_extension
from pool.client.holding import LOST, Holding, Key
from pool.client.lease import AsyncLease
from pool.errors import ClientClosed, RequestConflict, StoreError, StoreUnavailable
from pool.models import LeaseData, LeaseRef, Outcome, RequestState
from pool.store import LIVENESS_S, Connection, Grant, PoolStore, WakeListener, retrying

#: How often a client asks for its waiting requests although no hint came.
COLLECT_INTERVAL_S = 1.0


class Answer(NamedTuple):
    """How a wait ended, None where Redis lost the request; and when that was asked for by the monotonic clock."""

    outcome: Grant | RequestState | None
    asked_at: float


class Keeper(Holding):
    """Keeps alive what one client process waits for and holds, from when it is made until it is closed.

    Whatever the number of requests and leases, that takes one blocking connection and one heartbeat for each pool.

    Args:
        connection: To Redis; it is closed with the keeper.
        process: The client's name in Redis.
    """

    def __init__(self, connection: Connection, process: str) -> None:
        super().__init__(process)
        self.connection = connection
        self.waiters: dict[Key, asyncio.Future[Answer]] = {}
        #: Those of which Redis has said that they wait: it knows nothing of the others only because it does not yet.
        self._waiting: set[Key] = set()
        self._listener = WakeListener(connection, process)
        self._tasks.append(self._task(self._listen()))

    def store(self, pool: str) -> PoolStore:
        """Return the commands of a pool, with the connection's patience."""
        return PoolStore(self.connection, pool)

    def _end_waits(self, error: BaseException | None = None) -> None:
        for waiter in self.waiters.values():
            if error is None:
                waiter.cancel()
            elif not waiter.done():
                waiter.set_exception(error)

    async def _disconnect(self) -> None:
        await self._listener.close()
        await self.connection.close()

    # Waiting

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
        super().hold(lease)
        if not self._listener.listens_to(key[0]):  # its loss is told there, at once
            self.in_background(self._listen_to(key[0]))

    async def _listen_to(self, pool: str) -> None:
        with suppress(StoreError):  # then the next heartbeat tells
            await self._listener.add(pool)

    async def release(self, ref: LeaseRef, outcome: Outcome) -> None:
        """Give a lease back. See `AsyncClient.release`."""
        await self.store(ref.pool).release(ref, outcome)

    async def extend(self, ref: LeaseRef, extra_s: float, reason: str, used: int | None = None) -> LeaseData:
        """Move the deadline of a lease. See `AsyncClient.extend`."""
        check_extension(extra_s, reason)
        return await self.store(ref.pool).extend(ref, extra_s=extra_s, reason=reason, used=used)

    async def refresh(self, lease: AsyncLease) -> None:
        """Send a heartbeat now."""
        await self._beat_once(self._quick(lease.data.pool), deadline_s=lease.data.ttl_s / 3)

    # The two tasks behind all of it

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

    def _quick(self, pool: str) -> PoolStore:
        return PoolStore(self.connection.without_patience(), pool)

    def _pools(self) -> set[str]:
        return {pool for pool, _ in [*self.waiters, *self.leases]}

    def _interval_s(self) -> float:
        if not self._pools():
            return math.inf
        return min(self._ttl_s / 3, LIVENESS_S / 3, COLLECT_INTERVAL_S if self.waiters else LIVENESS_S)

    async def _beat_all(self) -> None:
        """Say that we live, renew leases, ask for waiting requests: one call for each pool we have to do with."""
        deadline_s = self._ttl_s / 3
        await asyncio.gather(*(self._beat_once(self._quick(pool), deadline_s=deadline_s) for pool in self._pools()))

    async def _beat_once(self, store: PoolStore, *, deadline_s: float) -> None:
        leases = [lease for key, lease in self.leases.items() if key[0] == store.pool]
        waiting = [request_id for pool, request_id in self.waiters if pool == store.pool]
        asked_at = time.monotonic()
        with suppress(StoreError, TimeoutError):  # each lease's own clock says when that went on for too long
            async with asyncio.timeout(deadline_s):
                triples = [(lease.request_id, lease.fence, lease.data.token) for lease in leases]
                expiries = await store.heartbeat(self.process, triples, liveness_s=LIVENESS_S)
                for lease, expiry in zip(leases, expiries, strict=True):
                    if expiry is None:
                        lease.lose(LOST)
                    else:
                        lease.renew(asked_at)
                if waiting:
                    await self.collect(store.pool, waiting)
        self._beaten(leases)

    async def collect(self, pool: str, request_ids: list[str]) -> None:
        """Ask what became of requests and wake who waits for them."""
        store = self.store(pool)
        mine = [request_id for request_id in request_ids if (pool, request_id) in self.waiters]
        for request_id in set(request_ids) - set(mine):
            if lease := self.leases.get((pool, request_id)):
                await self._beat_once(store, deadline_s=lease.data.ttl_s / 3)
        if not mine:
            return
        known = {request_id for request_id in mine if (pool, request_id) in self._waiting}
        asked_at = time.monotonic()
        answers = await store.collect(self.process, mine, liveness_s=LIVENESS_S)
        for request_id, answer in zip(mine, answers, strict=True):
            if answer is RequestState.WAITING:
                continue
            key = pool, request_id
            waiter = self.waiters.get(key)
            if answer is None and request_id not in known:  # asked before Redis had it: it may have it by now
                continue
            if waiter is not None and not waiter.done():
                waiter.set_result(Answer(answer, asked_at))
            # Else it was answered before, or its caller left. Who leaves withdraws by himself; who has the lease, here
            # or where this process handed it on to, must not lose it to a late second answer.
