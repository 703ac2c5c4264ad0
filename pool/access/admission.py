"""How much one token may have at once: counted where the pools keep their books, by owner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from pool.access.identity import Identity
from pool.errors import OwnerLeaseLimitReached, OwnerQueueFull
from pool.store import Connection, pool_names
from pool.store.token_store import count_of_owner

_RETRY_S = 5.0


class Admission:
    """Keeps tokens within their limits.

    The requests of one token are admitted one after the other, so within this process no two of them take the last
    place. Several servers that admit at the same moment may go beyond the limit by one each; a pool's own limits
    (`limits.max_leases_per_owner` and others) are kept by Redis and never exceeded.

    Args:
        connection: Where the pools are.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._locks: dict[str, asyncio.Lock] = {}

    @asynccontextmanager
    async def admit(self, identity: Identity, count: int = 1) -> AsyncIterator[None]:
        """Hold the token's turn while its request is put to Redis, so that the next one is counted against it.

        Args:
            identity: Who asks.
            count: For how many containers.

        Raises:
            OwnerLeaseLimitReached, OwnerQueueFull: That would be more than the token may have.
        """
        if not identity.limits or identity.owner is None:
            yield
            return
        async with self._locks.setdefault(identity.token_id, asyncio.Lock()):
            await self._check(identity, identity.owner, count)
            yield

    async def _check(self, identity: Identity, owner: str, count: int) -> None:
        pools: Sequence[str] = sorted(identity.pools) if identity.pools else await pool_names(self._connection)
        held = queued = 0
        for pool in pools:
            more_held, more_queued = await count_of_owner(self._connection, pool, owner)
            held, queued = held + more_held, queued + more_queued
        leases, waits = identity.limits.get("max_leases"), identity.limits.get("max_queued")
        if leases is not None and held + count > leases:
            raise OwnerLeaseLimitReached(
                f"token {identity.name!r} holds {held} leases, and may hold {leases}",
                hint="give one back first; the token's --max-leases says so",
                retry_after_s=_RETRY_S,
            )
        if waits is not None and queued + count > waits:
            raise OwnerQueueFull(
                f"{queued} requests of token {identity.name!r} wait, and {waits} may",
                hint="wait for those first; the token's --max-queued says so",
                retry_after_s=_RETRY_S,
            )
