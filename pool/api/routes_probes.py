"""Whether the server lives, and whether the pools can be used."""

from __future__ import annotations

from aiohttp import web
from pydantic import BaseModel

from pool.api.keys import SERVICES
from pool.api.problems import Problem
from pool.api.routing import Access, Operation, Reply, Routes
from pool.errors import PoolError, UnknownPool
from pool.models import PoolStatus, State


class Alive(BaseModel):
    """The process answers."""

    status: str = "ok"


async def healthz(_: web.Request) -> web.Response:
    """Say that this process answers."""
    return web.json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """Say whether every pool of the configuration can be used."""
    services = request.app[SERVICES]
    obstacles = []
    for pool in services.config.pools:
        try:
            obstacles += _obstacles(await services.store(pool).status())
        except UnknownPool:
            obstacles.append(f"pool {pool}: not open yet")
        except PoolError as error:
            obstacles.append(error.message)
            break
    if obstacles:
        raise Problem(503, "not_ready", "; ".join(obstacles), retry_after_s=1.0)
    return web.json_response({"status": "ok"})


def _obstacles(status: PoolStatus) -> list[str]:
    if not status.manager:
        return [f"pool {status.pool}: no active manager"]
    if not status.containers or all(record.state is State.STARTING for record in status.containers):
        return [f"pool {status.pool}: its containers are starting"]
    return []


def add_probes(routes: Routes) -> None:
    """Add the routes of this module."""
    alive = Operation("healthz", "service", "Whether the server answers", {200: Reply("It does.", Alive)})
    ready = Operation(
        "readyz", "service", "Whether all pools can be used", {200: Reply("They can.", Alive)},
        about="Redis answers, and every pool of the configuration has an active manager and containers that started.",
        problems=(503,),
    )  # fmt: skip
    routes.add("GET", "/healthz", healthz, access=Access.PUBLIC, operation=alive)
    routes.add("GET", "/readyz", readyz, access=Access.PUBLIC, operation=ready)
