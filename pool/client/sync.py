"""The synchronous client: the asynchronous one, run on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from pool.client.aio import AsyncClient
from pool.client.bundle import AsyncBundle, HeldBundle
from pool.client.http.access import AccessOptions
from pool.client.lease import AsyncLease, OnLost
from pool.errors import ClientClosed
from pool.models import (
    ContainerInfo,
    LeaseData,
    LeaseRef,
    Outcome,
    PoolStatus,
    Priority,
    ResetLevel,
    TimeoutRecommendation,
)
from pool.waiting import QueueEntry

T = TypeVar("T")


class _Loop:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="containerpool", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end; if the caller is interrupted, cancel it and wait until it has tidied up."""
        if not self._thread.is_alive():
            work.close()
            raise ClientClosed("the client is closed", hint="connect again; after a fork, in the new process")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            if not future.done():
                future.cancel()
                concurrent.futures.wait([future], timeout=5)
            raise

    def stop(self) -> None:
        """End the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


class Lease:
    """A lease as a context manager: leaving the block gives it back, as failed if by an exception."""

    def __init__(self, held: AsyncLease, loop: _Loop) -> None:
        self._held = held
        self._loop = loop

    @property
    def data(self) -> LeaseData:
        """The lease as it was granted."""
        return self._held.data

    @property
    def url(self) -> str:
        """Base URL of the container.

        Raises:
            LeaseLost: The lease is lost.
            GatewayUnknown: The container is reached through a manager's gateway only, and nobody said where that is.
        """
        return self._held.url

    @property
    def gateway_url(self) -> str:
        """Base URL of the container through the gateway; a secret, since the token is in it. Empty where it has none.

        Raises:
            LeaseLost: The lease is lost.
        """
        return self._held.gateway_url

    @property
    def container(self) -> ContainerInfo:
        """The leased container."""
        return self._held.container

    @property
    def request_id(self) -> str:
        """Id of the request that this lease answers."""
        return self._held.request_id

    @property
    def fence(self) -> int:
        """Rises with every lease of a container; hand it on to what must reject a former holder."""
        return self._held.fence

    @property
    def waited_s(self) -> float:
        """From the request to the grant, in seconds."""
        return self._held.waited_s

    @property
    def left_s(self) -> float:
        """Seconds until the deadline, at which the lease ends, heartbeats or not; 0 once it has ended."""
        return self._held.left_s

    @property
    def lost(self) -> bool:
        """Whether the lease ended under its holder."""
        return self._held.lost

    @property
    def released(self) -> bool:
        """Whether the lease was given back, or let go."""
        return self._held.released

    def check(self) -> None:
        """Do nothing while the lease holds.

        Raises:
            LeaseLost: It is lost; whatever still runs against the container must stop.
            AlreadyReleased: It was given back.
        """
        self._held.check()

    def release(self, outcome: str | Outcome = Outcome.PASSED) -> None:
        """Give the container back.

        Args:
            outcome: passed, failed or error; it decides how thoroughly the container is reset.

        Raises:
            LeaseLost: The lease had ended before.
            AlreadyReleased: It was given back before.
        """
        self._loop.run(self._held.release(outcome))

    def extend(self, extra_s: float, *, reason: str) -> None:
        """Move the deadline further into the future. See `AsyncLease.extend`."""
        self._loop.run(self._held.extend(extra_s, reason=reason))

    def detach(self) -> None:
        """Let go of the lease without giving it back. See `AsyncLease.detach`."""
        self._loop.run(self._held.detach())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.run(self._held.__aexit__(kind, error, trace))

    def __repr__(self) -> str:
        return repr(self._held).replace("AsyncLease", "Lease")


class Bundle(HeldBundle[Lease]):
    """Leases as one context manager: leaving the block gives all of them back, as failed if by an exception."""

    def __init__(self, held: AsyncBundle, loop: _Loop) -> None:
        super().__init__({pool: tuple(Lease(lease, loop) for lease in held[pool]) for pool in held.pools})
        self._held = held
        self._loop = loop

    def release(self, outcome: str | Outcome = Outcome.PASSED) -> None:
        """Give all containers back but those that were given back one by one. See `AsyncBundle.release`."""
        self._loop.run(self._held.release(outcome))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.run(self._held.__aexit__(kind, error, trace))


class Client:
    """Asks a pool for containers. Make one for each process; any number of threads may use it at once.

    Args:
        url: As for `AsyncClient`.
        owner: Who asks, where a request does not say.
        patience_s: How long a call may wait for a Redis or a manager that is away, in seconds.
        **access: `token`, `ca_file`, `verify` and `trust_env` for a manager; see `AccessOptions`.

    Raises:
        StoreUnavailable: Nobody answers.
        PoolError: What `AsyncClient.connect` raises.

    Example:
        >>> def example() -> None:
        ...     with Client() as client, client.acquire("browsers", priority="high") as lease:
        ...         print(lease.url)
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        owner: str | None = None,
        patience_s: float = 10.0,
        **access: Unpack[AccessOptions],
    ) -> None:
        self._client = AsyncClient(url, owner=owner, patience_s=patience_s, **access)
        self._loop = _Loop()
        try:
            self._loop.run(self._client.connect())
        except BaseException:
            self._loop.stop()
            raise

    @property
    def process(self) -> str:
        """This client's name, in Redis or in the manager's log."""
        return self._client.process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back what is still held, withdraw what still waits, disconnect. May be called twice."""
        try:
            self._loop.run(self._client.close())
        except ClientClosed:
            return
        self._loop.stop()

    def acquire(
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
    ) -> Lease:
        """Get a container, waiting in the pool's queue if none is free. See `AsyncClient.acquire`.

        An interrupt while it waits withdraws the request. `on_lost` and `on_deadline` are called on the client's own
        thread.
        """
        held = self._loop.run(
            self._client.acquire(
                pool,
                priority=priority,
                owner=owner,
                wait_s=wait_s,
                timeout_s=timeout_s,
                ttl_s=ttl_s,
                request_id=request_id,
                requirements=requirements,
                label=label,
                metadata=metadata,
                max_retries=max_retries,
                on_lost=on_lost,
                on_deadline=on_deadline,
            )
        )
        return Lease(held, self._loop)

    def acquire_many(
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
    ) -> Bundle:
        """Get several containers at once, all or none: `{"browser": 2, "mail": 1}`. See `AsyncClient.acquire_many`.

        An interrupt while it waits gives back what it had.
        """
        held = self._loop.run(
            self._client.acquire_many(
                pools,
                priority=priority,
                owner=owner,
                wait_s=wait_s,
                timeout_s=timeout_s,
                ttl_s=ttl_s,
                request_id=request_id,
                label=label,
                metadata=metadata,
                max_retries=max_retries,
                on_lost=on_lost,
                on_deadline=on_deadline,
            )
        )
        return Bundle(held, self._loop)

    def release(self, ref: str | LeaseRef, outcome: str | Outcome = Outcome.PASSED) -> None:
        """Give back a lease that another process took. See `AsyncClient.release`."""
        self._loop.run(self._client.release(ref, outcome))

    def extend(self, ref: str | LeaseRef, extra_s: float, reason: str) -> LeaseData:
        """Move the deadline of a lease that another process took. See `AsyncClient.extend`."""
        return self._loop.run(self._client.extend(ref, extra_s, reason))

    def pools(self) -> list[str]:
        """Return the names of all pools."""
        return self._loop.run(self._client.pools())

    def status(self, pool: str) -> PoolStatus:
        """Return a pool's containers and queue at one moment."""
        return self._loop.run(self._client.status(pool))

    def queue(self, pool: str) -> list[QueueEntry]:
        """Return who waits, in the order of service, with estimates and what each waits for."""
        return self._loop.run(self._client.queue(pool))

    def timeout_recommendation(self, pool: str, label: str) -> TimeoutRecommendation | None:
        """Return how long leases of a label took and what timeout follows, or None where there were fewer than five."""
        return self._loop.run(self._client.timeout_recommendation(pool, label))

    def explain(self, pool: str, request_id: str) -> str:
        """Say in a sentence why a request waits. See `AsyncClient.explain`."""
        return self._loop.run(self._client.explain(pool, request_id))

    def reset(self, pool: str, container_id: str, *, level: ResetLevel = ResetLevel.SOFT, reason: str = "") -> None:
        """Have the manager reset a container that nobody holds. See `AsyncClient.reset`."""
        self._loop.run(self._client.reset(pool, container_id, level=level, reason=reason))

    def quarantine(self, pool: str, container_id: str, *, reason: str, force: bool = False) -> None:
        """Take a container out of rotation and keep it as it is. See `AsyncClient.quarantine`."""
        self._loop.run(self._client.quarantine(pool, container_id, reason=reason, force=force))

    def restore(self, pool: str, container_id: str, *, reason: str = "") -> None:
        """Have a quarantined container recreated, verified and lent again. See `AsyncClient.restore`."""
        self._loop.run(self._client.restore(pool, container_id, reason=reason))

    def pause(self, pool: str, container_id: str, *, reason: str = "") -> None:
        """Have a free container frozen until `unpause`. See `AsyncClient.pause`."""
        self._loop.run(self._client.pause(pool, container_id, reason=reason))

    def unpause(self, pool: str, container_id: str, *, reason: str = "") -> None:
        """Lend a paused container again. See `AsyncClient.unpause`."""
        self._loop.run(self._client.unpause(pool, container_id, reason=reason))

    def drain(self, pool: str, container_id: str | None = None, *, reason: str = "") -> None:
        """Let a container, or the whole pool, take no new lease until `resume`. See `AsyncClient.drain`."""
        self._loop.run(self._client.drain(pool, container_id, reason=reason))

    def resume(self, pool: str, container_id: str | None = None, *, reason: str = "") -> None:
        """Lend a draining container, or a draining pool, again."""
        self._loop.run(self._client.resume(pool, container_id, reason=reason))


def connect(
    url: str | None = None, *, owner: str | None = None, patience_s: float = 10.0, **access: Unpack[AccessOptions]
) -> Client:
    """Connect to the pools of a Redis, or of a manager over HTTP. See `Client`."""
    return Client(url, owner=owner, patience_s=patience_s, **access)
