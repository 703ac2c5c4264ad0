"""Containers: how they are, and what operators want of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from pydantic import BaseModel

from pool.allocator import (
    Order,
    find_container,
    request_drain,
    request_pause,
    request_quarantine,
    request_reset,
    request_restore,
    request_resume,
    request_unpause,
)
from pool.api.answers import answer
from pool.api.gate import IDENTITY
from pool.api.keys import SERVICES
from pool.api.operations import pools as operations
from pool.api.reading import read_body, read_optional_body, read_query
from pool.api.routes_pools import sees
from pool.api.routing import Access, Handler, Routes
from pool.api.schemas import ContainerOrder, PoolQuery, QuarantineOrder, ResetOrder
from pool.models import PoolStatus, ResetLevel
from pool.shapes import container_json
from pool.store import PoolStore

_Body = type[ContainerOrder] | type[QuarantineOrder]
_Do = Callable[[PoolStore, str, BaseModel, str], Awaitable[None]]


async def get_containers(request: web.Request) -> web.Response:
    """Show the containers of all pools, or of one."""
    identity = request[IDENTITY]
    statuses = await request.app[SERVICES].statuses(identity, read_query(request, PoolQuery).pool)
    shown = [
        {"pool": status.pool} | container_json(record, status.at, sees=sees(identity))
        for status in statuses
        for record in status.containers
    ]
    return answer({"containers": shown})


async def get_container(request: web.Request) -> web.Response:
    """Show a container."""
    status = await pool_of(request)
    return answer(_shown(request, status))


async def pool_of(request: web.Request, model: type[PoolQuery] = PoolQuery) -> PoolStatus:
    """Return the status of the pool of the container that the path names."""
    query = read_query(request, model)
    return await request.app[SERVICES].pool_of(request[IDENTITY], query.pool, request.match_info["id"])


def _shown(request: web.Request, status: PoolStatus) -> dict[str, object]:
    record = find_container(status.containers, request.match_info["id"])
    return {"pool": status.pool} | container_json(record, status.at, sees=sees(request[IDENTITY]))


async def _reset(store: PoolStore, container_id: str, body: BaseModel, by: str) -> None:
    if isinstance(body, ResetOrder):
        level = ResetLevel[body.level.upper()]
        await request_reset(store, container_id, level, order=_order(body, by))


async def _quarantine(store: PoolStore, container_id: str, body: BaseModel, by: str) -> None:
    if isinstance(body, QuarantineOrder):
        await request_quarantine(store, container_id, body.reason, force=body.force, by=by, revision=body.revision)


def _ordering(want: Callable[..., Awaitable[None]]) -> _Do:
    """Return what orders something that needs no more than a reason."""

    async def do(store: PoolStore, container_id: str, body: BaseModel, by: str) -> None:
        if isinstance(body, ContainerOrder):
            await want(store, container_id, order=_order(body, by))

    return do


def _order(body: ContainerOrder, by: str) -> Order:
    return Order(by, body.reason or "", body.revision)


#: Verb → what it does, what it takes, what OpenAPI says of it.
_ORDERS: Mapping[str, tuple[_Do, _Body, str, str]] = {
    "reset": (_reset, ResetOrder, "Reset a container that nobody holds", ""),
    "quarantine": (
        _quarantine,
        QuarantineOrder,
        "Take a container out of rotation, and keep it as it is",
        "Until it is restored.",
    ),
    "restore": (
        _ordering(request_restore),
        ContainerOrder,
        "Recreate a quarantined container, verify it, and lend it again",
        "",
    ),
    "drain": (
        _ordering(request_drain),
        ContainerOrder,
        "Lend a container no more",
        "What holds it goes on. Until it is resumed.",
    ),
    "resume": (_ordering(request_resume), ContainerOrder, "Lend a container again", ""),
    "pause": (
        _ordering(request_pause),
        ContainerOrder,
        "Freeze a free container, and lend it to nobody",
        "Until it is unpaused. The pool's manager freezes it within about a second.",
    ),
    "unpause": (_ordering(request_unpause), ContainerOrder, "Lend a paused container again", ""),
}


def _handler(verb: str) -> Handler:
    do, model, _, _ = _ORDERS[verb]
    needed = any(field.is_required() for field in model.model_fields.values())

    async def handle(request: web.Request) -> web.Response:
        services, identity = request.app[SERVICES], request[IDENTITY]
        status = await pool_of(request)
        body: BaseModel = await (read_body if needed else read_optional_body)(request, model)
        store = services.store(status.pool)
        await do(store, request.match_info["id"], body, identity.name)
        return answer(_shown(request, await store.status()), status=202)

    return handle


def add_containers(routes: Routes) -> None:
    """Add the routes of this module."""
    client = Access.CLIENT
    routes.add("GET", "/v1/containers", get_containers, access=client, operation=operations.CONTAINERS)
    routes.add("GET", "/v1/containers/{id}", get_container, access=client, operation=operations.CONTAINER)
    for verb, (_, model, summary, about) in _ORDERS.items():
        operation = operations.order(verb, summary, model, about=about)
        routes.add("POST", f"/v1/containers/{{id}}/{verb}", _handler(verb), access=Access.OPERATOR, operation=operation)
