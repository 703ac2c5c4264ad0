"""What a client process holds of a manager's HTTP server: one heartbeat keeps all of it alive."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import quote

from pool.allocator import check_extension
from pool.client.holding import LOST, Holding
from pool.client.http import reading
from pool.client.http.transport import Transport
from pool.client.lease import AsyncLease
from pool.errors import AlreadyReleased, ClientClosed, LeaseLost, PoolError
from pool.models import LeaseData, LeaseRef, Outcome
from pool.store import LIVENESS_S

#: Leases that one heartbeat names at most; the server takes bodies of 64 kB.
_MOST_LEASES = 200

T = TypeVar("T")


def lease_path(request_id: str, what: str = "") -> str:
    """Return where a lease is asked about."""
    return f"/v1/leases/{quote(request_id, safe='')}{what}"


class HttpKeeper(Holding):
    """Keeps alive what one client process holds, from when it is made until it is closed.

    A lease that ends under its holder is found out by the next heartbeat, a few seconds later at most.

    Args:
        transport: To the server; it is closed with the keeper.
        process: The client's name.
    """

    def __init__(self, transport: Transport, process: str) -> None:
        super().__init__(process)
        self.transport = transport
        self._waits: set[asyncio.Task[Any]] = set()
        self._failure: BaseException | None = None

    def _end_waits(self, error: BaseException | None = None) -> None:
        self._failure = error
        for wait in self._waits:
            wait.cancel()

    async def _disconnect(self) -> None:
        await self.transport.close()

    async def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for something that closing the client ends; cancelled, it is ended, too.

        Raises:
            ClientClosed: The client is closed already.
        """
        if self.closed:
            work.close()
            raise ClientClosed("the client was closed while the request waited")
        task = asyncio.create_task(work)
        self._waits.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            if self._failure is not None:
                raise self._failure from None
            raise
        finally:
            self._waits.discard(task)

    # Leases

    async def release(self, ref: LeaseRef, outcome: Outcome) -> None:
        """Give a lease back. See `AsyncClient.release`."""

        async def work(again: bool) -> None:  # noqa: FBT001 - as `patiently` calls it
            path, query = lease_path(ref.request_id), {"outcome": outcome.value}
            await self.transport.once(
                "DELETE", path, query=query, token=ref.sealed(), done=(AlreadyReleased,), again=again
            )

        await self.transport.patiently(work, for_s=self.transport.patience_s)

    async def extend(self, ref: LeaseRef, extra_s: float, reason: str, used: int | None = None) -> LeaseData:
        """Move the deadline of a lease. See `AsyncClient.extend`."""
        check_extension(extra_s, reason)
        body: dict[str, Any] = {"seconds": extra_s, "reason": reason}
        if used is not None:
            body["used"] = used
        path = lease_path(ref.request_id, "/extend")
        reply = await self.transport.call("POST", path, body=body, token=ref.sealed(), repeatable=used is not None)
        return reading.grant(reply.body).lease

    # Heartbeats

    def _interval_s(self) -> float:
        return min(self._ttl_s / 3, LIVENESS_S / 3) if self.leases else math.inf

    async def _beat_all(self) -> None:
        leases, deadline_s = list(self.leases.values()), self._ttl_s / 3
        for start in range(0, len(leases), _MOST_LEASES):
            part = leases[start : start + _MOST_LEASES]
            await self._renew(part, self._beat_together(part), deadline_s)

    async def refresh(self, lease: AsyncLease) -> None:
        """Send a heartbeat now."""
        await self._renew([lease], self._beat_alone(lease), lease.data.ttl_s / 3)

    async def _renew(self, leases: list[AsyncLease], beat: Callable[[], Awaitable[None]], deadline_s: float) -> None:
        with suppress(PoolError, TimeoutError):  # each lease's own clock says when that went on for too long
            async with asyncio.timeout(deadline_s):
                await self.transport.patiently(lambda _: beat(), for_s=deadline_s)
        self._beaten(leases)

    def _beat_together(self, leases: list[AsyncLease]) -> Callable[[], Awaitable[None]]:
        tokens = [lease.data.proof.sealed() for lease in leases]

        async def beat() -> None:
            reply = await self.transport.once("POST", "/v1/heartbeats", body={"tokens": tokens})
            for lease, row in zip(leases, reply.body["leases"], strict=True):
                if row["expires_at"] is None:
                    lease.lose(LOST)
                else:
                    lease.renew(reply.sent_at)

        return beat

    def _beat_alone(self, lease: AsyncLease) -> Callable[[], Awaitable[None]]:
        token = lease.data.proof.sealed()

        async def beat() -> None:
            try:
                reply = await self.transport.once("POST", lease_path(lease.request_id, "/heartbeat"), token=token)
            except LeaseLost:
                lease.lose(LOST)
            else:
                lease.renew(reply.sent_at, reply.body["left_s"])

        return beat
