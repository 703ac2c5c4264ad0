"""The asynchronous client, of pools in Redis or behind a manager's HTTP server: the same methods, the same errors."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, Unpack

from pool.allocator import build_request, check_counts, check_retries
from pool.client.backend import Backend
from pool.client.bundle import AsyncBundle
from pool.client.direct import Direct, only
from pool.client.http.access import Access, AccessOptions, is_http
from pool.client.lease import AsyncLease, OnLost
from pool.embedded import resolve_url
from pool.errors import ClientClosed, InvalidRequest
from pool.models import LeaseData, LeaseRef, Outcome, PoolStatus, Priority, ResetLevel, TimeoutRecommendation
from pool.store import RequestSpec
from pool.waiting import QueueEntry


class AsyncClient:
    """Asks a pool for containers. Make one for each process; any number of tasks may use it at once.

    Args:
        url: `http://` or `https://` of a manager; or `redis://`, `rediss://`, `unix://` or one of docs/redis.md; by
            default `POOL_URL`, else the private Redis of this user.
        owner: Who asks, where a request does not say.
        patience_s: How long a call may wait for a Redis or a manager that is away, in seconds.
        **access: `token`, `ca_file`, `verify` and `trust_env` for a manager; see `AccessOptions`.

    Raises:
        InvalidRequest: `access` is given for a Redis.

    Example:
        >>> async def example() -> None:
        ...     async with AsyncClient() as client:
        ...         async with await client.acquire("browsers", priority="high") as lease:
        ...             print(lease.url)
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        owner: str | None = None,
        patience_s: float = 10.0,
        **access: Unpack[AccessOptions],
    ) -> None:
        self.process = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._url = url or os.environ.get("POOL_URL") or None
        self._access = access
        for name, value in access.items():
            if value is not None and not is_http(self._url):
                raise InvalidRequest(name, "…", "only a URL that begins with http:// or https:// takes it")
        self._owner = owner or None
        self._patience_s = patience_s
        self._pid = os.getpid()
        self._closed = False
        self._backend: Backend | None = None

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
            StoreUnsupported: The server cannot run the pool's commands, or is none of the pool.
            AccessDenied: The manager wants a token, or another one.
            InvalidRequest: The URL, or what goes with it, cannot be used.
        """
        if self._backend is not None:
            return
        if self._url is not None and is_http(self._url):
            from pool.client.http.backend import OverHttp  # noqa: PLC0415 - who uses Redis need not load it

            access = await asyncio.to_thread(Access.of, self._url, self._access)
            self._backend = await OverHttp.open(access, self.process, patience_s=self._patience_s)
        else:
            url = await asyncio.to_thread(resolve_url, self._url)
            self._backend = await Direct.open(url, self.process, patience_s=self._patience_s)

    async def close(self) -> None:
        """Give back what is still held, withdraw what still waits, disconnect."""
        if self._closed:
            return
        self._closed = True
        if self._backend is not None:
            await self._backend.close()

    def _open(self) -> Backend:
        if self._closed:
            raise ClientClosed("the client is closed", hint="connect again")
        if os.getpid() != self._pid:
            raise ClientClosed("the process forked after the client connected", hint="connect again in the new process")
        if self._backend is None:
            raise ClientClosed("the client is not connected", hint="use it as a context manager, or call connect first")
        return self._backend

    def _request(self, backend: Backend, owner: str | None, max_retries: int, **wish: Any) -> RequestSpec:
        """Check what is asked for. The owner is who is named for it, else for the client, else the backend's."""
        check_retries(max_retries)
        owner = self._owner if owner is None else owner
        if owner is not None or (owner := backend.default_owner):
            return build_request(process=self.process, owner=owner, **wish)
        return replace(build_request(process=self.process, owner=self.process, **wish), owner="")

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
        backend = self._open()
        request = self._request(
            backend,
            owner,
            max_retries,
            priority=priority,
            request_id=request_id,
            wait_s=wait_s,
            ttl_s=ttl_s,
            timeout_s=timeout_s,
            label=label,
            metadata=metadata,
        )
        lease = await backend.acquire(pool, request, requirements=requirements, max_retries=max_retries)
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
        backend = self._open()
        counts = check_counts(pools)
        request = self._request(
            backend,
            owner,
            max_retries,
            priority=priority,
            request_id=request_id,
            wait_s=wait_s,
            ttl_s=ttl_s,
            timeout_s=timeout_s,
            label=label,
            metadata=metadata,
        )
        bundle = await backend.acquire_many(counts, request, max_retries=max_retries)
        for leases in bundle.values():
            for lease in leases:
                lease.hand_out(on_lost, on_deadline)
        return AsyncBundle(bundle)

    async def only_pool(self) -> str:
        """Return the name of the pool where there is just one.

        Raises:
            InvalidRequest: There is none, or several; names them.
        """
        return only(await self.pools())

    async def release(self, ref: str | LeaseRef, outcome: str | Outcome = Outcome.PASSED) -> None:
        """Give back a lease that another process took, by its reference.

        Raises:
            InvalidRequest: The reference is not one.
            AlreadyReleased, LeaseLost: It holds nothing any more.
        """
        ref = LeaseRef.parse(ref) if isinstance(ref, str) else ref
        await self._open().release(ref, Outcome.parse(outcome))

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
        return await self._open().pools()

    async def status(self, pool: str) -> PoolStatus:
        """Return a pool's containers and queue at one moment."""
        return await self._open().status(pool)

    async def queue(self, pool: str) -> list[QueueEntry]:
        """Return who waits, in the order of service, with estimates and what each waits for."""
        return await self._open().queue(pool)

    async def timeout_recommendation(self, pool: str, label: str) -> TimeoutRecommendation | None:
        """Return how long leases of a label took and what timeout follows, or None where there were fewer than five.

        Raises:
            UnknownPool: There is no such pool.
        """
        return await self._open().recommend(pool, label)

    async def explain(self, pool: str, request_id: str) -> str:
        """Say in a sentence why a request waits.

        Raises:
            RequestConflict: It neither waits nor holds a container.
        """
        return await self._open().explain(pool, request_id)

    async def reset(
        self, pool: str, container_id: str, *, level: ResetLevel = ResetLevel.SOFT, reason: str = ""
    ) -> None:
        """Have the manager reset a container that nobody holds. The audit keeps the reason, if one is given.

        Raises:
            UnknownContainer, WrongState: It does not exist, or is leased or being reset.
        """
        await self._open().reset(pool, container_id, level, reason)

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
        await self._open().quarantine(pool, container_id, reason, force=force)

    async def restore(self, pool: str, container_id: str, *, reason: str = "") -> None:
        """Have the manager recreate a quarantined container, verify it, and lend it again.

        Raises:
            UnknownContainer, WrongState: There is none, or it is not quarantined.
        """
        await self._open().restore(pool, container_id, reason)

    async def pause(self, pool: str, container_id: str, *, reason: str = "") -> None:
        """Have the manager freeze a free container, and lend it to nobody until `unpause`.

        Raises:
            UnknownContainer, WrongState: There is none, or it is not free.
        """
        await self._open().pause(pool, container_id, reason)

    async def unpause(self, pool: str, container_id: str, *, reason: str = "") -> None:
        """Lend a paused container again.

        Raises:
            UnknownContainer, WrongState: There is none, or it is not paused.
        """
        await self._open().unpause(pool, container_id, reason)

    async def drain(self, pool: str, container_id: str | None = None, *, reason: str = "") -> None:
        """Let a container, or the whole pool, take no new lease until `resume`; what is held goes on.

        Raises:
            UnknownPool, UnknownContainer: There is none.
        """
        await self._open().drain(pool, container_id, reason)

    async def resume(self, pool: str, container_id: str | None = None, *, reason: str = "") -> None:
        """Lend a draining container, or a draining pool, again.

        Raises:
            UnknownPool, UnknownContainer: There is none.
        """
        await self._open().resume(pool, container_id, reason)


def connect_async(
    url: str | None = None, *, owner: str | None = None, patience_s: float = 10.0, **access: Unpack[AccessOptions]
) -> AsyncClient:
    """Return an `AsyncClient` to use with `async with`, which connects it."""
    return AsyncClient(url, owner=owner, patience_s=patience_s, **access)
