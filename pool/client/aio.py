"""The asynchronous client on Redis: any number of requests over one blocking connection and one heartbeat."""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import socket
import time
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from pool.allocator import LIVENESS_S, build_request, check_extension, request_reset
from pool.client.lease import AsyncLease, OnLost
from pool.embedded import resolve_url
from pool.errors import (
    AcquireTimeout,
    ClientClosed,
    InvalidRequest,
    LeaseError,
    OwnerLeaseLimitReached,
    PoolDraining,
    RequestConflict,
    StoreError,
    StoreUnavailable,
)
from pool.models import (
    LeaseData,
    LeaseRef,
    Outcome,
    PoolStatus,
    Priority,
    RequestState,
    ResetLevel,
    TimeoutRecommendation,
)
from pool.requirements import Requirements, route
from pool.store import Connection, Grant, PoolStore, RequestSpec, WakeListener, pool_names, retrying
from pool.waiting import QueueEntry, explain, queue

#: How often a client asks for its waiting requests although no hint came.
_COLLECT_INTERVAL_S = 1.0

#: How a wait ended, and when that was asked for by the monotonic clock.
_Answer = tuple[Grant | RequestState | None, float]


def default_owner() -> str:
    """Return who asks when nobody says: user and host."""
    return f"{os.environ.get('USER') or os.getuid()}@{socket.gethostname()}"


class AsyncClient:
    """Asks a pool for containers. Make one for each process; any number of tasks may use it at once.

    Args:
        url: `redis://`, `rediss://`, `unix://` or one of docs/redis.md; by default `POOL_URL`, else the private server
            of this user.
        owner: Who asks, where a request does not say.
        patience_s: How long a call may wait for a Redis that is away, in seconds.

    Example:
        >>> async def example() -> None:
        ...     async with AsyncClient() as client:
        ...         async with await client.acquire("browsers", priority="high") as lease:
        ...             print(lease.url)
    """

    def __init__(self, url: str | None = None, *, owner: str | None = None, patience_s: float = 10.0) -> None:
        self.process = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._url = url or os.environ.get("POOL_URL") or None
        self._owner = owner or default_owner()
        self._patience_s = patience_s
        self._pid = os.getpid()
        self._closed = False
        self._connection: Connection | None = None
        self._listener: WakeListener | None = None
        self._waiters: dict[tuple[str, str], asyncio.Future[_Answer]] = {}
        self._leases: dict[tuple[str, str], AsyncLease] = {}
        self._changed = asyncio.Event()
        self._next_beat = math.inf
        self._tasks: list[asyncio.Task[None]] = []
        self._background: set[asyncio.Task[Any]] = set()

    # Life

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def connect(self) -> None:
        """Connect, and start a private server where no URL is given.

        Raises:
            StoreUnavailable: Nobody answers.
            StoreUnsupported: The server cannot run the pool's commands.
        """
        if self._connection is not None:
            return
        url = await asyncio.to_thread(resolve_url, self._url)
        connection = Connection(url, patience_s=self._patience_s)
        try:
            await connection.check()
        except BaseException:
            await connection.close()
            raise
        self._connection = connection
        self._listener = WakeListener(connection, self.process)
        self._tasks = [self._task(self._listen()), self._task(self._beat())]

    async def close(self) -> None:
        """Give back what is still held, withdraw what still waits, disconnect."""
        if self._closed:
            return
        self._closed = True
        for lease in list(self._leases.values()):
            if not lease.released and not lease.lost:
                self._in_background(lease.release(Outcome.ERROR))
        for waiter in self._waiters.values():
            waiter.cancel()
        while self._background:
            await asyncio.gather(*self._background, return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._connection is not None and self._listener is not None:
            await self._listener.close()
            await self._connection.close()

    def _open(self) -> tuple[Connection, WakeListener]:
        if self._connection is None or self._listener is None:
            raise ClientClosed("the client is not connected", hint="use it as a context manager, or call connect first")
        return self._connection, self._listener

    def _store(self, pool: str) -> PoolStore:
        if self._closed:
            raise ClientClosed("the client is closed", hint="connect again")
        if os.getpid() != self._pid:
            raise ClientClosed("the process forked after the client connected", hint="connect again in the new process")
        return PoolStore(self._open()[0], pool)

    def _in_background(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    # Requests

    async def acquire(
        self,
        pool: str | None = None,
        *,
        priority: str | Priority = Priority.NORMAL,
        owner: str | None = None,
        wait_s: float = 60.0,
        timeout_s: float | None = None,
        ttl_s: float | None = None,
        request_id: str | None = None,
        requirements: Mapping[str, Any] | None = None,
        label: str | None = None,
        on_lost: OnLost | None = None,
        on_deadline: OnLost | None = None,
    ) -> AsyncLease:
        """Get a container, waiting in the pool's queue if none is free.

        Cancelling the call withdraws the request: whatever was granted meanwhile goes to the next one.

        Args:
            pool: The pool's name; may be left out where there is only one.
            priority: critical, high, normal or low.
            owner: Who asks, such as a test run.
            wait_s: How long to wait; 0 for not at all.
            timeout_s: The lease's longest life. When None, what earlier leases of the label took says it, or else the
                pool's default.
            ttl_s: The lease lapses without a heartbeat for this long; the pool's default when None.
            request_id: Names the request; sent again, it gets the same lease.
            requirements: `min_memory_mb`, `max_cpu_percent`, `labels`: without a pool, one that meets them is found.
            label: What kind of work it is for; the owner by default. See `timeout_recommendation`.
            on_lost: Called with the lease, on the event loop, when it is lost.
            on_deadline: Called with the lease, on the event loop, before its deadline: a fifth of its life before, 10 s
                at most. `extend` moves the deadline.

        Raises:
            InvalidRequest: A field is wrong.
            UnknownPool: There is no such pool.
            RequirementsUnmet: No pool can ever serve the request.
            AcquireTimeout: Nothing became free in time.
            QueueFull, Degraded, PoolDraining, RequestConflict: The pool does not take the request.
            StoreUnavailable: Redis stayed away.
        """
        if requirements is not None:
            pool = await route(self._open()[0], pool, Requirements.parse(requirements))
        store = self._store(pool if pool is not None else await self.only_pool())
        request = build_request(
            process=self.process,
            priority=priority,
            request_id=request_id,
            owner=self._owner if owner is None else owner,
            wait_s=wait_s,
            ttl_s=ttl_s,
            timeout_s=timeout_s,
            label=label,
        )
        asked_at = time.monotonic()
        grant, asked_at = await self._obtain(store, request, until=asked_at + request.wait_s)
        lease = AsyncLease(grant.lease, asked_at=asked_at, at=grant.at, on_lost=on_lost, on_deadline=on_deadline)
        lease._give_back, lease._let_go, lease._extend = self._give_back, self._let_go, self.extend  # noqa: SLF001 - the lease's other half
        self._leases[store.pool, lease.request_id] = lease
        lease.arm(self._alarm)
        self._beat_within(lease.data.ttl_s / 3)
        return lease

    async def only_pool(self) -> str:
        """Return the name of the pool where there is just one.

        Raises:
            InvalidRequest: There is none, or several; names them.
        """
        names = await self.pools()
        if len(names) == 1:
            return names[0]
        raise InvalidRequest("pool", None, f"name one of: {', '.join(names) or 'there is none; start `poolctl serve`'}")

    async def _obtain(self, store: PoolStore, request: RequestSpec, *, until: float) -> tuple[Grant, float]:
        """Return the grant, and when it was asked for by the monotonic clock."""
        key = store.pool, request.request_id
        if key in self._waiters:
            raise RequestConflict(f"this client already waits for request {request.request_id!r}")
        waiter: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._waiters[key] = waiter
        try:
            asked_at = time.monotonic()
            answer = await store.acquire(request)
            if isinstance(answer, Grant):
                return answer, asked_at
            if answer.wait_s < request.wait_s:  # a degraded pool lets it wait for less
                request = replace(request, wait_s=answer.wait_s)
                until = min(until, time.monotonic() + answer.wait_s)
            await self._open()[1].add(store.pool)
            self._beat_within(_COLLECT_INTERVAL_S)
            async with asyncio.timeout(max(until - time.monotonic(), 0)):
                outcome, asked_at = await waiter
        except TimeoutError:
            self._in_background(self._withdraw(store, request.request_id, request.token))
            raise self._timed_out(store, request) from None
        except (asyncio.CancelledError, StoreError):
            self._in_background(self._withdraw(store, request.request_id, request.token))
            raise
        finally:
            self._waiters.pop(key, None)
        if isinstance(outcome, Grant):
            return outcome, asked_at
        return await self._ask_again(store, request, outcome, until)

    async def _ask_again(
        self, store: PoolStore, request: RequestSpec, outcome: RequestState | None, until: float
    ) -> tuple[Grant, float]:
        """Go on after a wait that ended without a grant: with an error, or where Redis lost us, in the queue again."""
        if outcome is RequestState.CANCELLED:
            raise PoolDraining(f"pool {store.pool!r} is draining; the request was sent away", retry_after_s=30)
        if outcome is RequestState.OVER_LIMIT:
            raise OwnerLeaseLimitReached(
                f"{request.owner!r} or pool {store.pool!r} reached a limit of leases while the request waited",
                hint="limits.max_leases_per_owner and limits.max_leases of the pool; ask again later",
            )
        left = until - time.monotonic()
        if outcome is RequestState.TIMED_OUT or left <= 0:
            raise self._timed_out(store, request)
        again = replace(request, request_id=f"{request.request_id}~", wait_s=left)
        return await self._obtain(store, again, until=until)

    def _timed_out(self, store: PoolStore, request: RequestSpec) -> AcquireTimeout:
        return AcquireTimeout(
            f"no container of pool {store.pool!r} became free within {request.wait_s:g} s",
            hint="`poolctl status` shows who holds them; wait longer with wait_s, or raise the priority",
        )

    async def _withdraw(self, store: PoolStore, request_id: str, token: str) -> None:
        with suppress(StoreError):  # unconfirmed, or without heartbeats, it ends by itself
            await store.cancel(request_id, token)

    async def _give_back(self, ref: LeaseRef, outcome: Outcome) -> None:
        store = PoolStore(self._open()[0], ref.pool)
        try:
            await store.release(ref, outcome)
        except asyncio.CancelledError:
            self._in_background(self._give_back_anyway(store, ref, outcome))
            raise
        finally:
            self._let_go(ref)

    async def _give_back_anyway(self, store: PoolStore, ref: LeaseRef, outcome: Outcome) -> None:
        with suppress(StoreError, LeaseError):  # it may have been given back before its caller left
            await store.release(ref, outcome)

    def _let_go(self, ref: LeaseRef) -> None:
        lease = self._leases.pop((ref.pool, ref.request_id), None)
        if lease is not None:
            lease.disarm()

    def _alarm(self, lease: AsyncLease) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_at(lease.warn_at, self._warn, lease)

    def _warn(self, lease: AsyncLease) -> None:
        """Tell a holder that its deadline is near, and Redis, which makes an event of the heartbeat."""
        if self._closed or lease.lost or lease.released:
            return
        store = PoolStore(self._open()[0].without_patience(), lease.data.pool)
        self._in_background(self._beat_once(store, deadline_s=lease.data.ttl_s / 3))
        lease.warn()

    async def release(self, ref: str | LeaseRef, outcome: str | Outcome = Outcome.PASSED) -> None:
        """Give back a lease that another process took, by its reference.

        Raises:
            InvalidRequest: The reference is not one.
            AlreadyReleased, LeaseLost: It holds nothing any more.
        """
        ref = LeaseRef.parse(ref) if isinstance(ref, str) else ref
        await self._store(ref.pool).release(ref, Outcome.parse(outcome))

    async def extend(self, ref: str | LeaseRef, extra_s: float, reason: str, used: int | None = None) -> LeaseData:
        """Move the deadline of a lease, also one that another process took; return the lease as it is then.

        Args:
            ref: The lease's reference.
            extra_s: How much further, in seconds.
            reason: Why; it is recorded.
            used: How many extensions the holder knows of: with it, asking twice counts once.

        Raises:
            InvalidRequest: An argument is none.
            ExtensionDenied: The extensions are used up, or the deadline would be beyond the longest lease.
            LeaseLost: The lease has ended.
        """
        ref = LeaseRef.parse(ref) if isinstance(ref, str) else ref
        check_extension(extra_s, reason)
        return await self._store(ref.pool).extend(ref, extra_s=extra_s, reason=reason, used=used)

    # What a pool looks like

    async def pools(self) -> list[str]:
        """Return the names of all pools."""
        return await pool_names(self._open()[0])

    async def status(self, pool: str) -> PoolStatus:
        """Return a pool's containers and queue at one moment."""
        return await self._store(pool).status()

    async def queue(self, pool: str) -> list[QueueEntry]:
        """Return who waits, in the order of service, with estimates and what each waits for."""
        return queue(await self.status(pool))

    async def timeout_recommendation(self, pool: str, label: str) -> TimeoutRecommendation | None:
        """Return how long leases of a label took and what timeout follows, or None where there were fewer than five.

        Raises:
            UnknownPool: There is no such pool.
        """
        return await self._store(pool).recommend(label)

    async def explain(self, pool: str, request_id: str) -> str:
        """Say in a sentence why a request waits.

        Raises:
            RequestConflict: It neither waits nor holds a container.
        """
        return explain(await self.status(pool), request_id)

    async def reset(self, pool: str, container_id: str, *, level: ResetLevel = ResetLevel.SOFT) -> None:
        """Have the manager reset a container that nobody holds.

        Raises:
            UnknownContainer, WrongState: It does not exist, or is leased or being reset.
        """
        await request_reset(self._store(pool), container_id, level)

    # The two tasks behind all of it

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Fail loudly if one of the two ends by itself: without them no lease is kept and nobody is woken."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        for lease in self._leases.values():
            lease.lose(f"the client failed: {error!r}")
        for waiter in self._waiters.values():
            if not waiter.done():
                waiter.set_exception(error)

    async def _listen(self) -> None:
        await retrying()(self._listen_until_broken)

    async def _listen_until_broken(self) -> None:
        try:
            async for pool, request_id in self._open()[1].hints():
                await self._collect(pool, [request_id])
        except StoreUnavailable:
            raise
        except StoreError as error:  # whatever Redis refused, hints are worth another try
            raise StoreUnavailable(error.message, hint=error.hint) from error

    def _beat_within(self, seconds: float) -> None:
        """Have the next heartbeat no later than this; most often it is due before anyway."""
        if time.monotonic() + min(seconds, LIVENESS_S / 3) < self._next_beat:
            self._changed.set()

    async def _beat(self) -> None:
        """Say that we live, renew leases, ask for waiting requests: one call for each pool we have to do with."""
        quick = self._open()[0].without_patience()
        clock = asyncio.get_running_loop().time
        beaten_at = clock()
        while True:
            self._changed.clear()
            pools = {pool for pool, _ in [*self._waiters, *self._leases]}
            ttl = min((lease.data.ttl_s for lease in self._leases.values()), default=LIVENESS_S)
            interval = min(ttl / 3, LIVENESS_S / 3, _COLLECT_INTERVAL_S if self._waiters else LIVENESS_S)
            self._next_beat = beaten_at + interval if pools else math.inf
            with suppress(TimeoutError):
                async with asyncio.timeout_at(beaten_at + interval if pools else None):
                    await self._changed.wait()
                continue  # a new lease may need its heartbeat earlier than what there was
            beaten_at = clock()
            beats = [self._beat_once(PoolStore(quick, pool), deadline_s=ttl / 3) for pool in pools]
            await asyncio.gather(*beats)

    async def _beat_once(self, store: PoolStore, *, deadline_s: float) -> None:
        leases = {key: lease for key, lease in self._leases.items() if key[0] == store.pool}
        waiting = [request_id for pool, request_id in self._waiters if pool == store.pool]
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
                    await self._collect(store.pool, waiting)
        for key, lease in leases.items():
            if lease.lost or lease.released:
                self._leases.pop(key, None)

    async def _collect(self, pool: str, request_ids: list[str]) -> None:
        """Ask what became of requests and wake who waits for them."""
        store = PoolStore(self._open()[0], pool)
        mine = [request_id for request_id in request_ids if (pool, request_id) in self._waiters]
        for request_id in set(request_ids) - set(mine):
            if lease := self._leases.get((pool, request_id)):
                await self._beat_once(store, deadline_s=lease.data.ttl_s / 3)
        if not mine:
            return
        asked_at = time.monotonic()
        answers = await store.collect(self.process, mine, liveness_s=LIVENESS_S)
        for request_id, answer in zip(mine, answers, strict=True):
            if answer is RequestState.WAITING:
                continue
            key = pool, request_id
            waiter = self._waiters.get(key)
            if waiter is not None and not waiter.done():
                waiter.set_result((answer, asked_at))
            elif isinstance(answer, Grant) and waiter is None and key not in self._leases:  # its caller left meanwhile
                self._in_background(self._withdraw(store, request_id, answer.lease.token))


def connect_async(url: str | None = None, *, owner: str | None = None, patience_s: float = 10.0) -> AsyncClient:
    """Return an `AsyncClient` to use with `async with`, which connects it."""
    return AsyncClient(url, owner=owner, patience_s=patience_s)
