"""`poolctl analytics`: how pools were used, and what follows."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pool.cli.options import AnyPool, Json, Url, address, is_http, opened
from pool.errors import InvalidRequest
from pool.models import rfc3339
from pool.moments import moment

if TYPE_CHECKING:
    from rich.console import RenderableType

_VIEWS = ("hour", "weekday-hour", "priority", "owner", "container", "duration", "advice")


def _views() -> list[str]:
    return list(_VIEWS)


def analytics(
    pool: AnyPool = None,
    *,
    since: Annotated[
        str,
        typer.Option(metavar="WHEN", help="From that hour on: 90m, 24h, 7d ago, or a time such as 2026-11-21T08:00Z."),
    ] = "24h",
    by: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT", help=f"In detail, one of: {', '.join(_VIEWS)}. By default what matters most.",
            autocompletion=_views,
        ),
    ] = None,
    owner: Annotated[
        str | None, typer.Option(metavar="OWNER", help="With --by owner: only these, such as 'ci/*'.")
    ] = None,
    as_json: Json = False,
    url: Url = None,
) -> None:  # fmt: skip
    """Show how pools were used: waits, use, resets, failures, owners, and what follows from it.

    Each hour is kept for 35 days, unless `analytics.keep_days` says otherwise. Percentiles are exact to within 5 %.
    """
    if by is not None and by not in _VIEWS:
        raise InvalidRequest("by", by, f"use one of {', '.join(_VIEWS)}")
    asyncio.run(_show(url, pool, moment(since, time.time()), owner, _writer(by, as_json=as_json)))


async def _show(
    url: str | None, pool: str | None, since_s: float, owner: str | None, write: Callable[[list[dict[str, Any]]], None]
) -> None:
    place = address(url)
    write(await (_remote if is_http(place) else _direct)(place, pool, since_s, owner))


async def _remote(url: str, pool: str | None, since_s: float, owner: str | None) -> list[dict[str, Any]]:
    """Return what a manager's HTTP server says."""
    from pool.cli.remote import remote

    query = {"since": rfc3339(since_s)}
    query |= {name: value for name, value in (("pool", pool), ("owner", owner)) if value is not None}
    async with remote(url) as api:
        found: list[dict[str, Any]] = (await api.document("/v1/analytics", **query))["pools"]
    return found


async def _direct(url: str, pool: str | None, since_s: float, owner: str | None) -> list[dict[str, Any]]:
    """Return the same from Redis."""
    from pool.analytics import read_history
    from pool.recommendations import analytics_json
    from pool.store import PoolStore, pool_names

    found = []
    async with opened(url) as connection:
        for name in [pool] if pool is not None else await pool_names(connection):
            store = PoolStore(connection, name)
            status, setup = await store.status(), await store.setup()
            history = await read_history(connection, name, since=since_s, until=status.at)
            found.append(analytics_json(history, setup, owner=owner))
    return found


def _writer(by: str | None, *, as_json: bool) -> Callable[[list[dict[str, Any]]], None]:
    def write(pools: list[dict[str, Any]]) -> None:
        if as_json:
            typer.echo(json.dumps({"pools": pools}, indent=2, ensure_ascii=False))
        else:
            _draw(pools, by)

    return write


def _draw(pools: list[dict[str, Any]], by: str | None) -> None:
    from pool.cli.past import VIEWS, overview
    from pool.cli.tables import open_console

    view: Callable[[dict[str, Any]], RenderableType] = VIEWS[by] if by is not None else overview
    console = open_console()
    for place, past in enumerate(pools):
        if place:
            console.print()
        console.print(view(past), soft_wrap=False)
    if not pools:
        console.print("there are no pools: `poolctl serve CONFIG` opens those of a configuration")
