"""From a request to leases over HTTP, one or several: all or none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from pool.client.backend import Leases
from pool.client.fitting import Vanished, unless_closed
from pool.client.http import reading
from pool.client.http.asking import RECENT_S, HttpAsk, body_of, withdraw_request
from pool.client.http.keeping import HttpKeeper
from pool.client.http.transport import Away, Reply
from pool.client.lease import AsyncLease
from pool.client.persisting import persist, withdraw
from pool.errors import ClientClosed, LeaseLost, PoolError, StoreError
from pool.store import RequestSpec


async def obtain(keeper: HttpKeeper, pool: str, request: RequestSpec, *, max_retries: int) -> AsyncLease:
    """Return a lease for a request, waiting for it in the pool's queue.

    Cancelled, or out of time, it withdraws the request.

    Raises:
        AcquireTimeout: Nothing became free in time.
        NoneFit: More than `max_retries` containers were found unfit.
        PoolError: The server does not take the request on.
    """

    async def once(request: RequestSpec, until: float) -> AsyncLease:
        ask = HttpAsk(keeper, pool, request, until=until, max_retries=max_retries)
        try:
            return await ask.send()
        except BaseException as error:
            await withdraw(keeper, [ask], error)
            raise

    return await persist(keeper, pool, request, once)


async def obtain_bundle(
    keeper: HttpKeeper, counts: Mapping[str, int], request: RequestSpec, *, max_retries: int
) -> Leases:
    """Return so many leases of each pool, all or none. The server waits for them, and checks them at hand-out.

    Cancelled, its connection is closed, by which the server gives back what it had.

    Raises:
        AcquireTimeout: Not all became free in time.
        NoneFit: More than `max_retries` containers were found unfit in the place of one.
        PoolError: The server does not take the request on.
    """
    patience_s = keeper.transport.patience_s

    async def once(request: RequestSpec, until: float) -> Leases:
        nonlocal patience_s
        bundle = _Bundle(keeper, counts, request, until=until, max_retries=max_retries)
        try:
            return await bundle.gather(patience_s)
        except BaseException as error:
            await withdraw(keeper, [bundle], error)
            raise
        finally:
            patience_s = max(patience_s, until - time.monotonic())  # once it was taken on, it may wait for a server

    return await persist(keeper, next(iter(counts)), request, once)


class _Bundle:
    """One attempt at a bundle.

    Attributes:
        open: Whether the server may hold something for it that is to be given back if it comes to nothing.
    """

    def __init__(
        self, keeper: HttpKeeper, counts: Mapping[str, int], request: RequestSpec, *, until: float, max_retries: int
    ) -> None:
        self._keeper = keeper
        self._counts = counts
        self._request = request
        self._until = until
        self._body = {**body_of(request), "pools": dict(counts), "max_retries": max_retries}
        self._leases: list[AsyncLease] = []
        self.open = True

    @property
    def holds(self) -> bool:
        """Whether it has leases."""
        return bool(self._leases)

    async def withdraw(self) -> None:
        """Take back all its requests, and with them the leases that they may have led to."""
        for lease in self._leases:
            self._keeper.let_go(lease)
        members = [(pool, name) for pool, count in self._counts.items() for name in self._request.member_ids(count)]
        await asyncio.gather(*(withdraw_request(self._keeper.transport, pool, name) for pool, name in members))

    async def gather(self, patience_s: float) -> Leases:
        """Return the leases once all are there."""
        asking = self._keeper.transport.patiently(self._ask, for_s=patience_s)
        try:
            reply = await unless_closed(self._keeper, self._keeper.wait_for(asking))
        except LeaseLost:
            raise Vanished from None
        except PoolError as error:
            self.open = isinstance(error, StoreError | ClientClosed)  # it may have been taken on all the same
            raise
        return await self._hold(reply)

    async def _ask(self, _: object) -> Reply:
        left_s = max(self._until - time.monotonic(), 0.0)
        body = {**self._body, "wait_s": left_s}
        try:
            return await self._keeper.transport.once("POST", "/v1/bundles", body=body, wait_s=left_s)
        except Away as away:
            if away.reached:  # that server gives back what it had for us, but who knows when: rather ask anew
                raise Vanished from None
            raise

    async def _hold(self, reply: Reply) -> Leases:
        bundle = {pool: [reading.grant(row) for row in rows] for pool, rows in reply.body["leases"].items()}
        held: Leases = {}
        for pool, grants in bundle.items():
            held[pool] = tuple(AsyncLease(one.lease, self._keeper, asked_at=reply.sent_at, at=one.at) for one in grants)
            self._leases += held[pool]
        for lease in self._leases:
            self._keeper.hold(lease)
        if time.monotonic() - reply.sent_at > RECENT_S:
            await asyncio.gather(*(self._keeper.refresh(lease) for lease in self._leases))
        if any(lease.lost for lease in self._leases):
            raise Vanished
        return {pool: held[pool] for pool in self._counts}
