"""The asynchronous client on Redis: any number of requests over one blocking connection and one heartbeat."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from pool.allocator import (
    build_request,
    check_counts,
    check_retries,
    request_quarantine,
    request_reset,
    request_restore,
)
from pool.client.bundle import AsyncBundle
from pool.client.keeping import Keeper
from pool.client.lease import AsyncLease, OnLost
from pool.client.obtaining import obtain, obtain_bundle
from pool.embedded import resolve_url
from pool.errors import ClientClosed, InvalidRequest
from pool.models import (
    LeaseData,
    LeaseRef,
    Outcome,
    PoolStatus,
    Priority,
    ResetLevel,
    TimeoutRecommendation,
)
from pool.requirements import Requirements, check_sizes, route
from pool.store import Connection, PoolStore, pool_names
from pool.waiting import QueueEntry, explain, queue


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
        self._keeper: Keeper | None = None

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
        if self._keeper is not None:
            return
        url = await asyncio.to_thread(resolve_url, self._url)
        connection = Connection(url, patience_s=self._patience_s)
        try:
            await connection.check()
        except BaseException:
            await connection.close()
            raise
        self._keeper = Keeper(connection, self.process)

    async def close(self) -> None:
        """Give back what is still held, withdraw what still waits, disconnect."""
        if self._closed:
            return
        self._closed = True
        if self._keeper is not None:
            await self._keeper.close()

    def _open(self) -> Keeper:
        if self._closed:
            raise ClientClosed("the client is closed", hint="connect again")
        if os.getpid() != self._pid:
            raise ClientClosed("the process forked after the client connected", hint="connect again in the new process")
        if self._keeper is None:
            raise ClientClosed("the client is not connected", hint="use it as a context manager, or call connect first")
        return self._keeper

    def _store(self, pool: str) -> PoolStore:
        return self._open().store(pool)

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
        metadata: Mapping[str, Any] | None = None,
        max_retries: int = 2,
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
            metadata: What the request says about itself; kept with the lease. At most 10,000 characters as JSON.
            max_retries: How many containers may be found unfit at hand-out, where the pool checks that, before giving
                up. The request gets the next good one, or waits on at its old place.
            on_lost: Called with the lease, on the event loop, when it is lost.
            on_deadline: Called with the lease, on the event loop, before its deadline: a fifth of its life before, 10 s
                at most. `extend` moves the deadline.

        Raises:
            InvalidRequest: A field is wrong.
            UnknownPool: There is no such pool.
            RequirementsUnmet: No pool can ever serve the request.
            AcquireTimeout: Nothing became free in time.
            NoneFit: All containers that it got were unfit.
            QueueFull, Degraded, PoolDraining, RequestConflict: The pool does not take the request.
            StoreUnavailable: Redis stayed away.
        """
        keeper = self._open()
        check_retries(max_retries)
        if requirements is not None:
            pool = await route(keeper.connection, pool, Requirements.parse(requirements))
        store = keeper.store(pool if pool is not None else await self.only_pool())
        request = build_request(
            process=self.process,
            priority=priority,
            request_id=request_id,
            owner=self._owner if owner is None else owner,
            wait_s=wait_s,
            ttl_s=ttl_s,
            timeout_s=timeout_s,
            label=label,
            metadata=metadata,
        )
        lease = await obtain(keeper, store, request, max_retries=max_retries)
        return lease.hand_out(on_lost, on_deadline)

    async def acquire_many(
        self,
        pools: Mapping[str, int],
        *,
        priority: str | Priority = Priority.NORMAL,
        owner: str | None = None,
        wait_s: float = 60.0,
        timeout_s: float | None = None,
        ttl_s: float | None = None,
        request_id: str | None = None,
        label: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        max_retries: int = 2,
        on_lost: OnLost | None = None,
        on_deadline: OnLost | None = None,
    ) -> AsyncBundle:
        """Get several containers at once, all or none: `{"browser": 2, "mail": 1}`.

        Pools are served in the order of their names, the same for everybody, so two bundles never wait for each other.
        What one pool gave already is held until the others gave theirs; only then the time of all leases begins.
        Cancelled, refused or out of time, the call gives back what it had.

        Args:
            pools: Name of each pool → how many of its containers.
            priority: critical, high, normal or low.
            owner: Who asks, such as a test run.
            wait_s: How long to wait, for all of them together; 0 for not at all.
            timeout_s: As for `acquire`, of each lease.
            ttl_s: As for `acquire`, of each lease.
            request_id: Names the bundle; its requests are `<request_id>.1`, `.2` and so on in each pool.
            label: As for `acquire`.
            metadata: As for `acquire`, of each lease.
            max_retries: As for `acquire`, in the place of each container.
            on_lost: Called with each lease that is lost.
            on_deadline: Called with each lease before its deadline.

        Raises:
            InvalidRequest: A field is wrong.
            UnknownPool: There is no such pool; nothing was asked of the others.
            RequirementsUnmet: A pool has fewer containers than are wanted of it.
            AcquireTimeout: Not all became free in time.
            PoolError: What `acquire` raises.
        """
        keeper = self._open()
        counts = check_counts(pools)
        check_retries(max_retries)
        request = build_request(
            process=self.process,
            priority=priority,
            request_id=request_id,
            owner=self._owner if owner is None else owner,
            wait_s=wait_s,
            ttl_s=ttl_s,
            timeout_s=timeout_s,
            label=label,
            metadata=metadata,
        )
        if len(counts) > 1:  # a pool that is alone refuses before anything waits
            await check_sizes(keeper.connection, counts)
        bundle = await obtain_bundle(keeper, counts, request, max_retries=max_retries)
        for leases in bundle.values():
            for lease in leases:
                lease.hand_out(on_lost, on_deadline)
        return AsyncBundle(bundle)

    async def only_pool(self) -> str:
        """Return the name of the pool where there is just one.

        Raises:
            InvalidRequest: There is none, or several; names them.
        """
        names = await self.pools()
        if len(names) == 1:
            return names[0]
        raise InvalidRequest("pool", None, f"name one of: {', '.join(names) or 'there is none; start `poolctl serve`'}")

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
        return await self._open().extend(ref, extra_s, reason, used)

    # What a pool looks like

    async def pools(self) -> list[str]:
        """Return the names of all pools."""
        return await pool_names(self._open().connection)

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

    async def quarantine(self, pool: str, container_id: str, *, reason: str, force: bool = False) -> None:
        """Take a container out of rotation and keep it as it is, for a look at it.

        Args:
            pool: The pool's name.
            container_id: Which container.
            reason: Why; it is shown until the container is restored.
            force: Even if it is leased: its holder loses it.

        Raises:
            UnknownContainer, InvalidRequest, WrongState: There is none, no reason, or it is leased or quarantined.
        """
        await request_quarantine(self._store(pool), container_id, reason, force=force)

    async def restore(self, pool: str, container_id: str) -> None:
        """Have the manager recreate a quarantined container, verify it, and lend it again.

        Raises:
            UnknownContainer, WrongState: There is none, or it is not quarantined.
        """
        await request_restore(self._store(pool), container_id)

    async def drain(self, pool: str, container_id: str | None = None) -> None:
        """Let a container, or the whole pool, take no new lease until `resume`; what is held goes on.

        Raises:
            UnknownPool, UnknownContainer: There is none.
        """
        store = self._store(pool)
        if container_id is not None:
            await store.drain_container(container_id)
            return
        await store.status()  # tells a pool that is not known from one without leases
        await store.drain(by="operator")

    async def resume(self, pool: str, container_id: str | None = None) -> None:
        """Lend a draining container, or a draining pool, again.

        Raises:
            UnknownPool, UnknownContainer: There is none.
        """
        await self._store(pool).resume(container_id or "")


def connect_async(url: str | None = None, *, owner: str | None = None, patience_s: float = 10.0) -> AsyncClient:
    """Return an `AsyncClient` to use with `async with`, which connects it."""
    return AsyncClient(url, owner=owner, patience_s=patience_s)
