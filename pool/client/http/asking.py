"""One request to a manager's HTTP server, from its answer to the lease of a container that is fit.

A call that asks anew waits for next to nothing, and those that ask about the request after it wait for long. So a
connection that breaks costs the request neither lease nor place: only the first kind withdraws it with its connection.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote

from pool.client.fitting import Fitting, Vanished, unless_closed
from pool.client.http import reading
from pool.client.http.keeping import HttpKeeper, lease_path
from pool.client.http.transport import Reply, Transport
from pool.client.lease import AsyncLease
from pool.errors import (
    ClientClosed,
    InvalidRequest,
    LeaseLost,
    NoneFit,
    PoolError,
    RequestConflict,
    StoreError,
    UnknownRequest,
)
from pool.models import LeaseRef
from pool.store import Grant, RequestSpec, Waiting

#: How long the first call waits: long enough to be queued, and no longer.
_FIRST_WAIT_S = 0.001
#: How long each further call waits.
_POLL_S = 20.0
_LEAST_POLL_S = 0.05
#: A lease that was asked for so long ago gets a heartbeat at once, which says how much of its life is left.
RECENT_S = 0.2

T = TypeVar("T")


def body_of(request: RequestSpec) -> dict[str, Any]:
    """Return what is asked as JSON, but for where and how long; only what was said."""
    said = {
        "request_id": request.request_id,
        "owner": request.owner,
        "priority": request.priority.label,
        "ttl_s": request.ttl_s,
        "timeout_s": request.timeout_s,
        "label": request.label,
        "metadata": json.loads(request.metadata) if request.metadata else None,
    }
    return {name: value for name, value in said.items() if value}


def request_path(request_id: str) -> str:
    """Return where a request is asked about."""
    return f"/v1/requests/{quote(request_id, safe='')}"


async def withdraw_request(transport: Transport, pool: str, request_id: str) -> None:
    """Take back a request, whatever became of it."""
    with suppress(PoolError):  # unasked about, or without heartbeats, it ends by itself
        await transport.call("DELETE", request_path(request_id), query={"pool": pool})


class HttpAsk(Fitting):
    """One request.

    Args:
        keeper: Who keeps the lease, and has the connection.
        pool: The pool's name.
        request: What is asked.
        until: When the wait is over, in seconds of the monotonic clock.
        max_retries: How many unfit containers it passes over.
    """

    def __init__(
        self,
        keeper: HttpKeeper,
        pool: str,
        request: RequestSpec,
        *,
        until: float,
        max_retries: int,
    ) -> None:
        super().__init__(keeper, pool, wait_s=request.wait_s, until=until, max_retries=max_retries)
        self._keeper = keeper
        self._transport = keeper.transport
        self._body = {**body_of(request), "pool": pool}
        self._request_id = request.request_id
        self._asking: asyncio.Task[Reply] | None = None

    async def withdraw(self) -> None:
        """Take back the request, and with it the lease that it may have led to."""
        if self._lease is not None:
            self._keeper.let_go(self._lease)
        if self._asking is not None:  # what is on its way is not overtaken
            await asyncio.wait([self._asking])
        await withdraw_request(self._transport, self._pool, self._request_id)

    async def send(self) -> AsyncLease:
        """Ask the server, and return the lease once there is one."""
        self.open = True
        asking = self._keeper.wait_for(self._transport.patiently(self._ask, for_s=self._transport.patience_s))
        answer, asked_at = await self._answered(unless_closed(self._keeper, asking))
        return await self.lease(answer, asked_at)

    async def _ask(self, again: bool) -> tuple[Grant | Waiting, float]:  # noqa: FBT001 - as `patiently` calls it
        body = {**self._body, "wait_s": _FIRST_WAIT_S if self._wait_s > 0 else 0.0}
        if self._wait_s > 0:
            body["max_wait_s"] = max(self._until - time.monotonic(), _FIRST_WAIT_S)
        try:
            return self._read(await self._unhurt("POST", "/v1/leases", body=body, wait_s=_FIRST_WAIT_S))
        except RequestConflict:
            if again:  # the server that took it on withdrew it when it lost our connection
                raise Vanished from None
            raise

    async def _unhurt(self, method: str, path: str, **what: Any) -> Reply:
        """Send a call which goes on if we are cancelled: one that is cut off half-way leaves nobody to withdraw."""
        self._asking = self._keeper.in_background(self._transport.once(method, path, **what))
        return await asyncio.shield(self._asking)

    async def _answered(self, answer: Awaitable[T]) -> T:
        """Return an answer, or raise what it amounts to that there is none.

        Raises:
            Vanished: What the request had or waited for is lost.
            PoolError: The server does not take it on, or does not go on with it.
        """
        try:
            return await answer
        except (LeaseLost, UnknownRequest):
            raise Vanished from None
        except NoneFit:
            self.open = False
            raise self._none_fit() from None
        except InvalidRequest as error:
            self.open = False
            if error.field == "max_wait_s":  # what the server calls it
                raise InvalidRequest("wait_s", self._wait_s, error.allowed) from None
            raise
        except PoolError as error:
            self.open = isinstance(error, StoreError | ClientClosed)  # it may have taken it on all the same
            raise

    def _read(self, reply: Reply) -> tuple[Grant | Waiting, float]:
        if reply.status == HTTPStatus.ACCEPTED:
            return reading.waiting(reply.body, wait_s=self._wait_s), reply.sent_at
        return reading.grant(reply.body), reply.sent_at

    async def _granted(self, _: Waiting) -> tuple[Grant, float]:
        try:
            async with asyncio.timeout(max(self._until - time.monotonic(), 0)):
                return await self._answered(unless_closed(self._keeper, self._keeper.wait_for(self._poll())))
        except TimeoutError:
            raise self._timed_out() from None

    async def _poll(self) -> tuple[Grant, float]:
        while True:
            answer, asked_at = await self._transport.patiently(self._look)
            if isinstance(answer, Grant):
                return answer, asked_at
            await asyncio.sleep(max(asked_at + _LEAST_POLL_S - time.monotonic(), 0))  # should a server not wait at all

    async def _look(self, _: object) -> tuple[Grant | Waiting, float]:
        wait_s = min(max(self._until - time.monotonic(), 0.0), _POLL_S)
        query = {"pool": self._pool, "wait_s": f"{wait_s:.3f}"}
        try:
            return self._read(
                await self._transport.once("GET", request_path(self._request_id), query=query, wait_s=wait_s)
            )
        except RequestConflict:  # not by us: nobody asked for too long
            raise Vanished from None

    async def _passed_over(self, ref: LeaseRef, problem: str, *, again: bool) -> tuple[Grant | Waiting, float]:
        body = {"problem": problem, "again": again, "wait_s": _FIRST_WAIT_S}

        async def reject(_: object) -> tuple[Grant | Waiting, float]:
            path = lease_path(ref.request_id, "/reject")
            return self._read(await self._unhurt("POST", path, body=body, token=ref.sealed()))

        rejecting = self._keeper.wait_for(self._transport.patiently(reject, for_s=self._transport.patience_s))
        return await self._answered(unless_closed(self._keeper, rejecting))
