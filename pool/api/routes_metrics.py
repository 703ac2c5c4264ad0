"""Metrics, for Prometheus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from aiohttp import web

from pool import __version__
from pool.access import Identity
from pool.api.gate import IDENTITY
from pool.api.keys import SERVICES, Services
from pool.api.reading import read_query
from pool.api.routing import Access, Operation, Reply, Routes
from pool.api.schemas import Query
from pool.api.traffic import TRAFFIC
from pool.errors import StoreError, UnknownPool
from pool.metrics import Tally
from pool.metrics.exposition import Scrape, render
from pool.models import PoolStatus
from pool.store import MetricsStore

#: Redis counts as away after so long, in seconds; Prometheus gives up after ten.
_PATIENCE_S = 3.0

_Seen = tuple[PoolStatus, Tally]


async def get_metrics(request: web.Request) -> web.Response:
    """Answer a scrape."""
    read_query(request, Query)
    text, content_type = render(await _scrape(request), ",".join(request.headers.getall("Accept", [])))
    return web.Response(body=text, headers={"Content-Type": content_type})


async def _scrape(request: web.Request) -> Scrape:
    services, traffic = request.app[SERVICES], request.app[TRAFFIC]
    pools: Sequence[_Seen] = ()
    closed: Sequence[str] = ()
    up, latency_s = False, None
    identity = request.get(IDENTITY)
    if identity is not None:  # else Redis was away when it was to be asked who that is
        started = time.monotonic()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                names = await services.pools(identity)
        except (StoreError, TimeoutError):
            names = None
        if names is not None:
            latency_s = time.monotonic() - started
            seen = await asyncio.gather(*(_look(services, name) for name in names))
            up = None not in seen
            pools = [view for each in seen for view in each or ()]
            closed = _closed(services, identity, names)
    return Scrape(
        version=__version__,
        pools=pools,
        closed=closed,
        redis_up=up,
        redis_latency_s=latency_s,
        requests=dict(traffic.requests),
        passed_on=dict(traffic.passed_on),
    )


async def _look(services: Services, pool: str) -> list[_Seen] | None:
    """Return a pool with what was counted of it; nothing if it is gone, None if Redis did not answer."""
    counters = MetricsStore(services.connection, pool)
    try:
        async with asyncio.timeout(_PATIENCE_S):
            status, counted = await asyncio.gather(services.store(pool).status(), counters.read())
    except UnknownPool:
        return []
    except (StoreError, TimeoutError):
        return None
    return [(status, Tally(counted.values))]


def _closed(services: Services, identity: Identity, open_pools: Sequence[str]) -> list[str]:
    """Return the pools of the configuration that are in nobody's hands: no manager opened them yet."""
    ours = [pool for pool in services.config.pools if identity.pools is None or pool in identity.pools]
    return [pool for pool in ours if pool not in open_pools]


def add_metrics(routes: Routes) -> None:
    """Add the routes of this module."""
    operation = Operation(
        "metrics", "service", "Metrics, for Prometheus",
        {200: Reply("The metrics; docs/metrics.md lists them.", media="text/plain")},
        about="In OpenMetrics where the Accept header names it. While Redis is away nobody can be authenticated: "
        "then everybody gets what the server knows of itself, and `pool_redis_up` is 0.",
    )  # fmt: skip
    routes.add("GET", "/metrics", get_metrics, access=Access.CLIENT, operation=operation, without_redis=True)
