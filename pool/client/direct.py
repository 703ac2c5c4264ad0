"""The pools straight in Redis: any number of requests over one blocking connection and one heartbeat."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any, Self

from pool.allocator import (
    Order,
    request_drain,
    request_pause,
    request_quarantine,
    request_reset,
    request_restore,
    request_resume,
    request_unpause,
)
from pool.client.backend import Leases
from pool.client.keeping import Keeper
from pool.client.lease import AsyncLease
from pool.client.obtaining import obtain, obtain_bundle
from pool.errors import InvalidRequest
from pool.models import LeaseData, LeaseRef, Outcome, PoolStatus, ResetLevel, TimeoutRecommendation
from pool.requirements import Requirements, check_sizes, route
from pool.store import Connection, PoolStore, RequestSpec, pool_names
from pool.waiting import QueueEntry, explain, queue


def default_owner() -> str:
    """Return who asks when nobody says: user and host."""
    return f"{os.environ.get('USER') or os.getuid()}@{socket.gethostname()}"


def only(names: list[str]) -> str:
    """Return the name of the pool where there is just one.

    Raises:
        InvalidRequest: There is none, or several; names them.
    """
    if len(names) == 1:
        return names[0]
    raise InvalidRequest("pool", None, f"name one of: {', '.join(names) or 'there is none; start `poolctl serve`'}")


class Direct:
    """A `Backend` on Redis.

    Args:
        connection: To Redis; it is closed with this.
        process: The client's name in Redis.
    """

    def __init__(self, connection: Connection, process: str) -> None:
        self.default_owner = default_owner()
        self.keeper = Keeper(connection, process)

    @classmethod
    async def open(cls, url: str, process: str, *, patience_s: float) -> Self:
        """Connect.

        Raises:
            StoreUnavailable: Nobody answers.
            StoreUnsupported: The server cannot run the pool's commands.
        """
        connection = Connection(url, patience_s=patience_s)
        try:
            await connection.check()
        except BaseException:
            await connection.close()
            raise
        return cls(connection, process)

    def _store(self, pool: str) -> PoolStore:
        return self.keeper.store(pool)

    async def close(self) -> None:
        """See `AsyncClient.close`."""
        await self.keeper.close()

    async def acquire(
        self, pool: str | None, request: RequestSpec, *, requirements: Mapping[str, Any] | None, max_retries: int
    ) -> AsyncLease:
        """See `AsyncClient.acquire`."""
        if requirements is not None:
            pool = await route(self.keeper.connection, pool, Requirements.parse(requirements))
        store = self._store(pool if pool is not None else only(await self.pools()))
        return await obtain(self.keeper, store, request, max_retries=max_retries)

    async def acquire_many(self, counts: Mapping[str, int], request: RequestSpec, *, max_retries: int) -> Leases:
        """See `AsyncClient.acquire_many`."""
        if len(counts) > 1:  # a pool that is alone refuses before anything waits
            await check_sizes(self.keeper.connection, counts)
        return await obtain_bundle(self.keeper, counts, request, max_retries=max_retries)

    async def release(self, ref: LeaseRef, outcome: Outcome) -> None:
        """See `AsyncClient.release`."""
        await self.keeper.release(ref, outcome)

    async def extend(self, ref: LeaseRef, extra_s: float, reason: str, used: int | None = None) -> LeaseData:
        """See `AsyncClient.extend`."""
        return await self.keeper.extend(ref, extra_s, reason, used)

    async def pools(self) -> list[str]:
        """See `AsyncClient.pools`."""
        return await pool_names(self.keeper.connection)

    async def status(self, pool: str) -> PoolStatus:
        """See `AsyncClient.status`."""
        return await self._store(pool).status()

    async def queue(self, pool: str) -> list[QueueEntry]:
        """See `AsyncClient.queue`."""
        return queue(await self.status(pool))

    async def explain(self, pool: str, request_id: str) -> str:
        """See `AsyncClient.explain`."""
        return explain(await self.status(pool), request_id)

    async def recommend(self, pool: str, label: str) -> TimeoutRecommendation | None:
        """See `AsyncClient.timeout_recommendation`."""
        return await self._store(pool).recommend(label)

    async def reset(self, pool: str, container_id: str, level: ResetLevel, reason: str) -> None:
        """See `AsyncClient.reset`."""
        await request_reset(self._store(pool), container_id, level, order=self._order(reason))

    async def quarantine(self, pool: str, container_id: str, reason: str, *, force: bool) -> None:
        """See `AsyncClient.quarantine`."""
        await request_quarantine(self._store(pool), container_id, reason, force=force, by=self.default_owner)

    async def restore(self, pool: str, container_id: str, reason: str) -> None:
        """See `AsyncClient.restore`."""
        await request_restore(self._store(pool), container_id, order=self._order(reason))

    async def pause(self, pool: str, container_id: str, reason: str) -> None:
        """See `AsyncClient.pause`."""
        await request_pause(self._store(pool), container_id, order=self._order(reason))

    async def unpause(self, pool: str, container_id: str, reason: str) -> None:
        """See `AsyncClient.unpause`."""
        await request_unpause(self._store(pool), container_id, order=self._order(reason))

    async def drain(self, pool: str, container_id: str | None, reason: str) -> None:
        """See `AsyncClient.drain`."""
        await request_drain(self._store(pool), container_id or "", order=self._order(reason))

    async def resume(self, pool: str, container_id: str | None, reason: str) -> None:
        """See `AsyncClient.resume`."""
        await request_resume(self._store(pool), container_id or "", order=self._order(reason))

    def _order(self, reason: str) -> Order:
        return Order(self.default_owner, reason)
