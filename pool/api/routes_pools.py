"""Pools: how they are, who waits, and what operators want of them."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from pool.access import Identity
from pool.allocator import Order, request_drain, request_resume
from pool.api.answers import answer
from pool.api.gate import IDENTITY
from pool.api.keys import SERVICES
from pool.api.operations import pools as operations
from pool.api.reading import read_optional_body, read_path, read_query
from pool.api.routing import Access, Routes
from pool.api.schemas import LabelPath, Query, Why
from pool.errors import UnknownRequest
from pool.models import PoolStatus
from pool.shapes import queue_json, status_json
from pool.waiting import explain


def sees(identity: Identity) -> Callable[[str], bool]:
    """Return what tells of an owner whether somebody may know what it does; nobody's business is everybody's."""
    return lambda owner: not owner or identity.operates or identity.owns(owner)


async def _status(request: web.Request) -> PoolStatus:
    services, pool = request.app[SERVICES], request.match_info["pool"]
    [status] = await services.statuses(request[IDENTITY], pool)
    return status


async def get_pools(request: web.Request) -> web.Response:
    """Show all pools."""
    read_query(request, Query)
    identity = request[IDENTITY]
    statuses = await request.app[SERVICES].statuses(identity, None)
    return answer({"pools": [status_json(status, sees=sees(identity)) for status in statuses]})


async def get_pool(request: web.Request) -> web.Response:
    """Show a pool."""
    read_query(request, Query)
    return answer(status_json(await _status(request), sees=sees(request[IDENTITY])))


async def get_queue(request: web.Request) -> web.Response:
    """Show who waits."""
    read_query(request, Query)
    status = await _status(request)
    return answer({"pool": status.pool, "queue": queue_json(status, sees=sees(request[IDENTITY]))})


async def get_explanation(request: web.Request) -> web.Response:
    """Say why a request waits."""
    read_query(request, Query)
    identity, request_id = request[IDENTITY], request.match_info["id"]
    status = await _status(request)
    record = await request.app[SERVICES].store(status.pool).find(request_id)
    if record is not None:
        identity.expect_owner(record.spec.owner)
    elif not identity.operates:
        raise UnknownRequest(f"pool {status.pool!r} knows no request {request_id[:128]!r}")
    return answer({"request_id": request_id, "explanation": explain(status, request_id)})


async def get_recommendation(request: web.Request) -> web.Response:
    """Say how long leases of a label took."""
    read_query(request, Query)
    services, asked = request.app[SERVICES], read_path(request, LabelPath)
    request[IDENTITY].expect_pool(asked.pool)
    found = await services.store(asked.pool).recommend(asked.label)
    recommendation = found and {
        "samples": found.samples,
        "mean_s": round(found.mean_s, 6),
        "p95_s": round(found.p95_s, 6),
        "timeout_s": round(found.timeout_s, 6),
    }
    return answer({"label": asked.label, "recommendation": recommendation})


async def drain(request: web.Request) -> web.Response:
    """Have a pool take no new request."""
    return await _ordered(request, drain=True)


async def resume(request: web.Request) -> web.Response:
    """Have a pool take requests again."""
    return await _ordered(request, drain=False)


async def _ordered(request: web.Request, *, drain: bool) -> web.Response:
    read_query(request, Query)
    services, identity, pool = request.app[SERVICES], request[IDENTITY], request.match_info["pool"]
    body = await read_optional_body(request, Why)
    identity.expect_pool(pool)
    ask = request_drain if drain else request_resume
    await ask(services.store(pool), order=Order(identity.name, body.reason or ""))
    return answer({"pool": pool, "draining": drain})


def add_pools(routes: Routes) -> None:
    """Add the routes of this module."""
    client, operator = Access.CLIENT, Access.OPERATOR
    routes.add("GET", "/v1/pools", get_pools, access=client, operation=operations.POOLS)
    routes.add("GET", "/v1/pools/{pool}", get_pool, access=client, operation=operations.POOL)
    routes.add("GET", "/v1/pools/{pool}/queue", get_queue, access=client, operation=operations.QUEUE)
    routes.add(
        "GET", "/v1/pools/{pool}/requests/{id}", get_explanation, access=client, operation=operations.EXPLAIN
    )  # fmt: skip
    routes.add(
        "GET", "/v1/pools/{pool}/timeouts/{label}", get_recommendation, access=client, operation=operations.RECOMMEND
    )
    about = "What waits is sent away, leases go on until they are given back. It lasts until the pool is resumed."
    operation = operations.pool_order("drain", "Have a pool take no new request", about)
    routes.add("POST", "/v1/pools/{pool}/drain", drain, access=operator, operation=operation)
    operation = operations.pool_order("resume", "Have a pool take requests again", "")
    routes.add("POST", "/v1/pools/{pool}/resume", resume, access=operator, operation=operation)
