"""What a running application keeps, for its handlers."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from aiohttp import web

from pool.access import Identity
from pool.allocator import pool_with
from pool.api.hub import EventHub
from pool.api.waits import Desk
from pool.client.keeping import Keeper
from pool.config import Config, HttpOptions
from pool.errors import InvalidRequest
from pool.models import PoolStatus
from pool.ports import Runtime
from pool.store import Connection, PoolLimits, PoolStore, RequestSpec, pool_names

#: How long a pool's limits are believed, in seconds: they change with its configuration only.
_LIMITS_AGE_S = 5.0


@dataclass(frozen=True, slots=True)
class Services:
    """What handlers work with.

    Attributes:
        http: The server's own options.
        connection: The server's own, closed with it.
        keeper: Waits in Redis for all requests of this server, over one connection.
        desk: The requests that wait.
        runtime: The engine; None where it is not this process that manages containers.
        hub: What happens in all pools.
    """

    config: Config
    http: HttpOptions
    connection: Connection
    keeper: Keeper
    desk: Desk
    runtime: Runtime | None
    hub: EventHub
    _limits: dict[str, tuple[float, PoolLimits]] = field(default_factory=dict, repr=False)

    def store(self, pool: str) -> PoolStore:
        """Return the commands of a pool."""
        return self.keeper.store(pool)

    async def limits(self, pool: str) -> PoolLimits:
        """Return what a pool's configuration allows a request.

        Raises:
            UnknownPool: There is none of this name.
        """
        read_at, limits = self._limits.get(pool, (0.0, None))
        if limits is None or time.monotonic() - read_at > _LIMITS_AGE_S:
            limits = await self.store(pool).limits()
            self._limits[pool] = time.monotonic(), limits
        return limits

    async def wait_limit_s(self, pool: str, wanted_s: float | None) -> float:
        """Return how long a request may stay in the queue.

        Raises:
            InvalidRequest: It wants to stay for longer than the pool allows.
        """
        longest_s = (await self.limits(pool)).max_wait_s
        if wanted_s is not None and wanted_s > longest_s:
            raise InvalidRequest("max_wait_s", wanted_s, f"pool {pool!r} allows at most {longest_s:g}")
        return longest_s if wanted_s is None else wanted_s

    def ours(self, spec: RequestSpec, wait_s: float) -> RequestSpec:
        """Return a request that is known already as this server asks for it again."""
        return replace(spec, process=self.keeper.process, wait_s=wait_s)

    async def pools(self, identity: Identity) -> list[str]:
        """Return the names of all pools that somebody may use."""
        names = await pool_names(self.connection)
        return [name for name in names if identity.pools is None or name in identity.pools]

    async def only_pool(self, identity: Identity) -> str:
        """Return the name of the pool where there is just one.

        Raises:
            InvalidRequest: There is none, or several; names them.
        """
        names = await self.pools(identity)
        if len(names) == 1:
            return names[0]
        raise InvalidRequest("pool", None, f"name one of: {', '.join(names) or 'there is none'}")

    async def statuses(self, identity: Identity, pool: str | None) -> list[PoolStatus]:
        """Return the status of one pool, or of all that somebody may use.

        Raises:
            Forbidden: It may not use that pool.
            UnknownPool: There is none of this name.
        """
        if pool is not None:
            identity.expect_pool(pool)
        names = [pool] if pool is not None else await self.pools(identity)
        return [await self.store(name).status() for name in names]

    async def pool_of(self, identity: Identity, pool: str | None, container_id: str) -> PoolStatus:
        """Return the status of the pool that has a container.

        Raises:
            UnknownContainer: None has; the hint lists the containers there are.
            InvalidRequest: Several have, and none is named.
        """
        return pool_with(await self.statuses(identity, pool), container_id)


SERVICES = web.AppKey("services", Services)
