"""From the answers to a request to the lease of a fit container, whoever answers: Redis, or a manager by HTTP."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from typing import TypeVar

from pool.client.holding import Holding
from pool.client.lease import AsyncLease, OnLost
from pool.errors import AcquireTimeout, ClientClosed, NoneFit
from pool.models import ContainerInfo, LeaseRef
from pool.store import Grant, Waiting

#: When to ask again where no container was fit: recovery takes about that long.
_RECOVERY_S = 5.0

T = TypeVar("T")


class Vanished(Exception):
    """What was granted or waited for is lost without our doing: ask again."""


class Fitting(ABC):
    """One request, from its answer to the lease of a container that is fit.

    Args:
        keeper: Who keeps the lease.
        pool: The pool's name.
        wait_s: How long the request may wait, in seconds.
        until: When the wait is over, in seconds of the monotonic clock.
        max_retries: How many unfit containers it passes over.
        on_lost: Called with the lease when it is lost before it is handed out.

    Attributes:
        open: Whether the pool may hold something for the request that is to be given back if it comes to nothing.
    """

    def __init__(
        self,
        keeper: Holding,
        pool: str,
        *,
        wait_s: float,
        until: float,
        max_retries: int,
        on_lost: OnLost | None = None,
    ) -> None:
        self._holding = keeper
        self._pool = pool
        self._wait_s = wait_s
        self._until = until
        self._max_retries = max_retries
        self._on_lost = on_lost
        self._unfit: list[str] = []
        self._lease: AsyncLease | None = None
        self.open = False

    @abstractmethod
    async def withdraw(self) -> None:
        """Take back the request, and with it the lease that it may have led to."""

    @abstractmethod
    async def _granted(self, waiting: Waiting) -> tuple[Grant, float]:
        """Wait for a grant; returns when it was asked for, too, in seconds of the monotonic clock."""

    @abstractmethod
    async def _passed_over(self, ref: LeaseRef, problem: str, *, again: bool) -> tuple[Grant | Waiting, float]:
        """Send an unfit container to recovery; returns what the request gets instead, and when that was asked for."""

    @property
    def holds(self) -> bool:
        """Whether the request has a container."""
        return self._lease is not None

    async def lease(self, answer: Grant | Waiting, asked_at: float) -> AsyncLease:
        """Return the lease once the request has a container that is fit.

        Args:
            answer: To the request.
            asked_at: When it was sent, in seconds of the monotonic clock.
        """
        while True:
            if isinstance(answer, Waiting):
                answer, asked_at = await self._granted(answer)
            lease = AsyncLease(answer.lease, self._holding, asked_at=asked_at, at=answer.at, on_lost=self._on_lost)
            self._lease = lease
            self._holding.hold(lease)
            if self._is_old(lease, time.monotonic() - asked_at):
                await self._holding.refresh(lease)
            problem = await _problem(lease.container) if lease.container.hand_out is not None else ""
            if lease.lost:
                raise Vanished
            if not problem:
                return lease
            answer, asked_at = await self._reject(lease, problem)

    def _is_old(self, lease: AsyncLease, age_s: float) -> bool:
        """Whether a lease that was asked for so long ago might be lost, by our clock, as it is handed out."""
        return age_s > lease.data.ttl_s / 2

    async def _reject(self, lease: AsyncLease, problem: str) -> tuple[Grant | Waiting, float]:
        self._unfit.append(f"{lease.container.id}: {problem}")
        self._holding.let_go(lease)
        self._lease = None
        again = len(self._unfit) <= self._max_retries
        return await self._passed_over(lease.data.proof, problem, again=again)

    def _none_fit(self) -> NoneFit:
        return NoneFit(
            f"no container of pool {self._pool!r} was fit: {'; '.join(self._unfit)}",
            hint="they are in recovery now; ask again later, or with more max_retries",
            retry_after_s=_RECOVERY_S,
        )

    def _timed_out(self) -> AcquireTimeout:
        return timed_out(self._pool, self._wait_s, self._unfit)


async def unless_closed(keeper: Holding, answer: Awaitable[T]) -> T:
    """Wait for an answer that closing the client cancels.

    Raises:
        ClientClosed: It was closed.
    """
    try:
        return await answer
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if keeper.closed and (task is None or not task.cancelling()):
            raise ClientClosed("the client was closed while the request waited") from None
        raise


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
