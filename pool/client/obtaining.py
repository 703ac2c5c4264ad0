"""From a request to leases in Redis, one or several: all or none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace

from pool.client.asking import Ask
from pool.client.fitting import Vanished
from pool.client.keeping import Keeper
from pool.client.lease import AsyncLease
from pool.client.persisting import persist, withdraw
from pool.errors import AcquireTimeout, LeaseLost, PoolError, UnknownPool
from pool.store import PoolStore, RequestSpec


async def obtain(keeper: Keeper, store: PoolStore, request: RequestSpec, *, max_retries: int) -> AsyncLease:
    """Return a lease for a request, waiting for it in the pool's queue.

    Cancelled, or out of time, it withdraws the request.

    Raises:
        AcquireTimeout: Nothing became free in time.
        NoneFit: More than `max_retries` containers were found unfit.
        PoolError: What `PoolStore.acquire` raises.
    """

    async def once(request: RequestSpec, until: float) -> AsyncLease:
        ask = Ask(keeper, store, request, until=until, max_retries=max_retries)
        try:
            return await ask.send()
        except BaseException as error:
            await withdraw(keeper, [ask], error)
            raise
        finally:
            ask.forget()

    return await persist(keeper, store.pool, request, once)


async def obtain_bundle(
    keeper: Keeper, counts: Mapping[str, int], request: RequestSpec, *, max_retries: int
) -> dict[str, tuple[AsyncLease, ...]]:
    """Return so many leases of each pool, all or none, waiting for them pool by pool in the order given.

    Whatever it ends by, what it got until then is given back.

    Raises:
        AcquireTimeout: Not all became free in time.
        NoneFit: More than `max_retries` containers were found unfit in the place of one.
        PoolError: What `PoolStore.acquire_many` raises.
    """

    async def once(request: RequestSpec, until: float) -> dict[str, tuple[AsyncLease, ...]]:
        gathering = _Gathering(keeper, request, until, max_retries)
        try:
            return await gathering.gather(counts)
        except BaseException as error:
            await withdraw(keeper, gathering.asks, error)
            raise
        finally:
            for ask in gathering.asks:
                ask.forget()

    return await persist(keeper, next(iter(counts)), request, once)


class _Gathering:
    """One attempt at a bundle.

    Attributes:
        asks: Everything that was asked for so far.
    """

    def __init__(self, keeper: Keeper, request: RequestSpec, until: float, max_retries: int) -> None:
        self._keeper = keeper
        self._request = request
        self._until = until
        self._max_retries = max_retries
        self._lost = asyncio.Event()
        self.asks: list[Ask] = []

    async def gather(self, counts: Mapping[str, int]) -> dict[str, tuple[AsyncLease, ...]]:
        """Take from one pool after the other, and only then let the time of the leases begin."""
        bundle: dict[str, tuple[AsyncLease, ...]] = {}
        for pool, count in counts.items():
            try:
                bundle[pool] = await self._take(self._keeper.store(pool), count)
            except UnknownPool:
                if not bundle:
                    raise
                raise Vanished from None  # all of them were there before
            except AcquireTimeout as error:
                wanted = ", ".join(f"{count} of {pool!r}" for pool, count in counts.items())
                raise AcquireTimeout(f"not all of {wanted} were free: {error.message}", hint=error.hint) from None
        for pool, leases in bundle.items():
            await self._begin(self._keeper.store(pool), leases)
        if self._lost.is_set():
            raise Vanished
        return bundle

    async def _take(self, store: PoolStore, count: int) -> tuple[AsyncLease, ...]:
        request = replace(self._request, wait_s=max(self._until - time.monotonic(), 0))
        asks = [self._ask(store, replace(request, request_id=name)) for name in request.member_ids(count)]
        for ask in asks:
            ask.open = True
        asked_at = time.monotonic()
        try:
            answers = await store.acquire_many(request, count)
        except LeaseLost:
            raise Vanished from None
        except PoolError as error:
            for ask in asks:
                ask.refused(error)
            raise
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._until_one_is_lost())
                pairs = zip(asks, answers, strict=True)
                tasks = [group.create_task(ask.lease(answer, asked_at)) for ask, answer in pairs]
                leases = tuple([await task for task in tasks])
                watch.cancel()
        except BaseExceptionGroup as several:
            raise _reason(several) from None
        return leases

    def _ask(self, store: PoolStore, request: RequestSpec) -> Ask:
        ask = Ask(
            self._keeper,
            store,
            request,
            until=self._until,
            max_retries=self._max_retries,
            on_lost=lambda _: self._lost.set(),
        )
        self.asks.append(ask)
        return ask

    async def _until_one_is_lost(self) -> None:
        """End the wait for the rest when a lease is lost: what it would complete is no bundle any more."""
        await self._lost.wait()
        raise Vanished

    async def _begin(self, store: PoolStore, leases: tuple[AsyncLease, ...]) -> None:
        asked_at = time.monotonic()
        try:
            grants = await store.begin([lease.data.proof for lease in leases])
        except LeaseLost:
            raise Vanished from None
        for lease, grant in zip(leases, grants, strict=True):
            lease.granted(grant.lease, asked_at=asked_at, at=grant.at)


def _reason(several: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what ended several waits: the first error that is one, since asking again would not help against it."""
    errors = list(several.exceptions)
    return next((error for error in errors if not isinstance(error, Vanished)), errors[0])
