"""One request, from its answer to the lease of a container that is fit."""

from __future__ import annotations

import asyncio
import time

from pool.client.keeping import Keeper
from pool.client.lease import AsyncLease, OnLost
from pool.errors import (
    AcquireTimeout,
    ClientClosed,
    LeaseLost,
    NoneFit,
    OwnerLeaseLimitReached,
    PoolDraining,
    PoolError,
    StoreError,
)
from pool.models import ContainerInfo, LeaseRef, RequestState
from pool.store import Grant, PoolStore, RequestSpec, Waiting

#: When to ask again where no container was fit: recovery takes about that long.
_RECOVERY_S = 5.0


class Vanished(Exception):
    """What was granted or waited for is lost without our doing: ask again."""


class Ask:
    """One request, from its answer to the lease of a container that is fit.

    Args:
        keeper: Where the request is waited for.
        store: The pool.
        request: What was asked, under the id that it has in the pool.
        until: When the wait is over, in seconds of the monotonic clock.
        max_retries: How many unfit containers it passes over.
        on_lost: Called with the lease when it is lost before it is handed out.

    Attributes:
        open: Whether Redis may hold something for the request that is to be given back if it comes to nothing.
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
        self._keeper = keeper
        self._store = store
        self._request = request
        self._until = until
        self._wait_s = request.wait_s
        self._max_retries = max_retries
        self._on_lost = on_lost
        self._unfit: list[str] = []
        self._unfit_fence = 0
        self._lease: AsyncLease | None = None
        self._key = store.pool, request.request_id
        self._answered = keeper.expect(self._key)
        self.open = False

    @property
    def holds(self) -> bool:
        """Whether the request has a container."""
        return self._lease is not None

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

    async def lease(self, answer: Grant | Waiting, asked_at: float) -> AsyncLease:
        """Return the lease once the request has a container that is fit.

        Args:
            answer: To the request.
            asked_at: When it was sent, in seconds of the monotonic clock.
        """
        while True:
            if isinstance(answer, Waiting):
                answer, asked_at = await self._granted(answer)
            lease = AsyncLease(answer.lease, self._keeper, asked_at=asked_at, at=answer.at, on_lost=self._on_lost)
            self._lease = lease
            self._keeper.hold(lease)
            if time.monotonic() - asked_at > lease.data.ttl_s / 2:  # by our clock it might be lost as it is handed out
                await self._keeper.refresh(lease)
            problem = await _problem(lease.container) if lease.container.hand_out is not None else ""
            if lease.lost:
                raise Vanished
            if not problem:
                return lease
            answer, asked_at = await self._reject(lease, problem)

    async def _granted(self, waiting: Waiting) -> tuple[Grant, float]:
        """Wait for a grant; returns when it was asked for, too."""
        until = time.monotonic() + waiting.wait_s
        if waiting.wait_s <= self._wait_s:  # else the pool thaws a container for a request that would not wait
            self._wait_s = waiting.wait_s  # a degraded pool lets it wait for less
            until = min(self._until, until)
        try:
            await self._keeper.listen_for(self._key)
            async with asyncio.timeout(max(until - time.monotonic(), 0)):
                outcome, asked_at = await self._answered
                while isinstance(outcome, Grant) and outcome.lease.fence <= self._unfit_fence:  # news of the past
                    self._answered = self._keeper.expect(self._key)
                    outcome, asked_at = await self._answered
        except TimeoutError:
            raise self._timed_out() from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._keeper.closed and (task is None or not task.cancelling()):
                raise ClientClosed("the client was closed while the request waited") from None
            raise
        if isinstance(outcome, Grant):
            return outcome, asked_at
        raise self._ended(outcome)

    async def _reject(self, lease: AsyncLease, problem: str) -> tuple[Grant | Waiting, float]:
        """Send an unfit container to recovery; returns what the request gets instead."""
        self._unfit.append(f"{lease.container.id}: {problem}")
        self._unfit_fence = lease.fence
        self._keeper.let_go(lease)
        self._lease = None
        self._answered = self._keeper.expect(self._key)
        asked_at = time.monotonic()
        try:
            answer = await self._store.reject(
                LeaseRef.parse(lease.data.ref),
                f"unfit at hand-out: {problem}",
                again=len(self._unfit) <= self._max_retries,
            )
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
                return PoolDraining(
                    f"pool {self._store.pool!r} is draining; the request was sent away", retry_after_s=30
                )
            case RequestState.OVER_LIMIT:
                return OwnerLeaseLimitReached(
                    f"{self._request.owner!r} or pool {self._store.pool!r} reached a limit of leases "
                    "while the request waited",
                    hint="limits.max_leases_per_owner and limits.max_leases of the pool; ask again later",
                )
            case RequestState.UNFIT:
                return NoneFit(
                    f"no container of pool {self._store.pool!r} was fit: {'; '.join(self._unfit)}",
                    hint="they are in recovery now; ask again later, or with more max_retries",
                    retry_after_s=_RECOVERY_S,
                )
            case RequestState.TIMED_OUT:
                return self._timed_out()
        return Vanished()

    def _timed_out(self) -> AcquireTimeout:
        return timed_out(self._store.pool, self._wait_s, self._unfit)


async def _problem(container: ContainerInfo) -> str:
    """Ask a container what its pool wants to know; returns what is wrong, or nothing."""
    from pool.health.outside import ask_at_hand_out  # noqa: PLC0415 - few pools want it; the others need not load it

    return await ask_at_hand_out(container)


def timed_out(pool: str, wait_s: float, unfit: list[str] | None = None) -> AcquireTimeout:
    """Return the error of a wait that was too short."""
    also = f"; not fit: {'; '.join(unfit)}" if unfit else ""
    return AcquireTimeout(
        f"no container of pool {pool!r} became free within {round(wait_s, 3):g} s{also}",
        hint="`poolctl status` shows who holds them; wait longer with wait_s, or raise the priority",
    )
