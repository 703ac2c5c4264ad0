"""What a client needs of whoever keeps its requests and leases: Redis itself, or a manager over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from pool.client.lease import AsyncLease
from pool.models import LeaseData, LeaseRef, Outcome, PoolStatus, ResetLevel, TimeoutRecommendation
from pool.store import RequestSpec
from pool.waiting import QueueEntry

#: Leases by the name of their pool.
Leases = dict[str, tuple[AsyncLease, ...]]


class Backend(Protocol):
    """One connection to the pools. What its methods do and raise, those of `AsyncClient` say.

    Attributes:
        default_owner: Who asks when nobody says; empty where the other side knows that better.
    """

    default_owner: str

    async def close(self) -> None:
        """See `AsyncClient.close`."""

    async def acquire(
        self, pool: str | None, request: RequestSpec, *, requirements: Mapping[str, Any] | None, max_retries: int
    ) -> AsyncLease:
        """See `AsyncClient.acquire`."""

    async def acquire_many(self, counts: Mapping[str, int], request: RequestSpec, *, max_retries: int) -> Leases:
        """See `AsyncClient.acquire_many`."""

    async def release(self, ref: LeaseRef, outcome: Outcome) -> None:
        """See `AsyncClient.release`."""

    async def extend(self, ref: LeaseRef, extra_s: float, reason: str, used: int | None = None) -> LeaseData:
        """See `AsyncClient.extend`."""

    async def pools(self) -> list[str]:
        """See `AsyncClient.pools`."""

    async def status(self, pool: str) -> PoolStatus:
        """See `AsyncClient.status`."""

    async def queue(self, pool: str) -> list[QueueEntry]:
        """See `AsyncClient.queue`."""

    async def explain(self, pool: str, request_id: str) -> str:
        """See `AsyncClient.explain`."""

    async def recommend(self, pool: str, label: str) -> TimeoutRecommendation | None:
        """See `AsyncClient.timeout_recommendation`."""

    async def reset(self, pool: str, container_id: str, level: ResetLevel, reason: str) -> None:
        """See `AsyncClient.reset`."""

    async def quarantine(self, pool: str, container_id: str, reason: str, *, force: bool) -> None:
        """See `AsyncClient.quarantine`."""

    async def restore(self, pool: str, container_id: str, reason: str) -> None:
        """See `AsyncClient.restore`."""

    async def pause(self, pool: str, container_id: str, reason: str) -> None:
        """See `AsyncClient.pause`."""

    async def unpause(self, pool: str, container_id: str, reason: str) -> None:
        """See `AsyncClient.unpause`."""

    async def drain(self, pool: str, container_id: str | None, reason: str) -> None:
        """See `AsyncClient.drain`."""

    async def resume(self, pool: str, container_id: str | None, reason: str) -> None:
        """See `AsyncClient.resume`."""
