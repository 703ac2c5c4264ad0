"""One request in Redis, from its answer to the lease of a container that is fit."""

from __future__ import annotations

import asyncio
import time

from pool.client.fitting import Fitting, Vanished, unless_closed
from pool.client.keeping import Answer, Keeper
from pool.client.lease import AsyncLease, OnLost
from pool.errors import LeaseLost, OwnerLeaseLimitReached, PoolDraining, PoolError, StoreError
from pool.models import LeaseRef, RequestState
from pool.store import Grant, PoolStore, RequestSpec, Waiting


class Ask(Fitting):
    """One request.

    Args:
        keeper: Where the request is waited for.
        store: The pool.
        request: What was asked, under the id that it has in the pool.
        until: When the wait is over, in seconds of the monotonic clock.
        max_retries: How many unfit containers it passes over.
        on_lost: Called with the lease when it is lost before it is handed out.
    """

    def __init__(
        self,
        keeper: Keeper,
        store: PoolStore,
        request: RequestSpec,
        *,
        until: float,
        max_retries: int,
        on_lost: OnLost | None = None,
    ) -> None:
        super().__init__(
            keeper, store.pool, wait_s=request.wait_s, until=until, max_retries=max_retries, on_lost=on_lost
        )
        self._keeper = keeper
        self._store = store
        self._request = request
        self._unfit_fence = 0
        self._key = store.pool, request.request_id
        self._answered = keeper.expect(self._key)

    def forget(self) -> None:
        """Await the answer no longer."""
        self._keeper.forget(self._key, self._answered)

    async def withdraw(self) -> None:
        """Take back the request, and with it the lease that it may have led to."""
        if self._lease is not None:
            self._keeper.let_go(self._lease)
        await self._keeper.withdraw(self._store, self._request.request_id, self._request.token)

    def refused(self, error: PoolError) -> None:
        """Note that Redis did not take the request on; where it failed, it may have done so all the same."""
        self.open = isinstance(error, StoreError)

    async def send(self) -> AsyncLease:
        """Ask Redis, and return the lease once there is one."""
        self.open = True
        asked_at = time.monotonic()
        try:
            answer = await self._store.acquire(self._request)
        except LeaseLost:
            raise Vanished from None
        except PoolError as error:
            self.refused(error)
            raise
        return await self.lease(answer, asked_at)

    async def _granted(self, waiting: Waiting) -> tuple[Grant, float]:
        until = time.monotonic() + waiting.wait_s
        if waiting.wait_s <= self._wait_s:  # else the pool thaws a container for a request that would not wait
            self._wait_s = waiting.wait_s  # a degraded pool lets it wait for less
            until = min(self._until, until)
        try:
            await self._keeper.listen_for(self._key)
            async with asyncio.timeout(max(until - time.monotonic(), 0)):
                outcome, asked_at = await unless_closed(self._keeper, self._answer())
        except TimeoutError:
            raise self._timed_out() from None
        if isinstance(outcome, Grant):
            return outcome, asked_at
        raise self._ended(outcome)

    async def _answer(self) -> Answer:
        answer = await self._answered
        while isinstance(answer.outcome, Grant) and answer.outcome.lease.fence <= self._unfit_fence:  # of the past
            self._answered = self._keeper.expect(self._key)
            answer = await self._answered
        return answer

    async def _passed_over(self, ref: LeaseRef, problem: str, *, again: bool) -> tuple[Grant | Waiting, float]:
        self._unfit_fence = ref.fence
        self._answered = self._keeper.expect(self._key)
        asked_at = time.monotonic()
        try:
            answer = await self._store.reject(ref, f"unfit at hand-out: {problem}", again=again)
        except LeaseLost:
            raise Vanished from None
        if isinstance(answer, RequestState):
            raise self._ended(answer)
        return answer, asked_at

    def _ended(self, outcome: RequestState | None) -> Exception:
        """Return what it amounts to that the request ended without a container."""
        self.open = False
        match outcome:
            case RequestState.CANCELLED:
                return PoolDraining(f"pool {self._pool!r} is draining; the request was sent away", retry_after_s=30)
            case RequestState.OVER_LIMIT:
                return OwnerLeaseLimitReached(
                    f"{self._request.owner!r} or pool {self._pool!r} reached a limit of leases "
                    "while the request waited",
                    hint="limits.max_leases_per_owner and limits.max_leases of the pool; ask again later",
                )
            case RequestState.UNFIT:
                return self._none_fit()
            case RequestState.TIMED_OUT:
                return self._timed_out()
        return Vanished()
