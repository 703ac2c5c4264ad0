"""`poolctl queue`: who waits, how long still, and why."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

import typer

from pool.cli.options import Json, PoolArgument, Url, connected


def queue(
    pool: PoolArgument = None,
    *,
    request: Annotated[
        str | None, typer.Option("--explain", metavar="REQUEST", help="Say in a sentence why this request waits.")
    ] = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Show who waits, in the order of service, how long it will probably take, and what each waits for."""
    asyncio.run(_show(url, pool, request, as_json=as_json))


async def _show(url: str | None, pool: str | None, request: str | None, *, as_json: bool) -> None:
    from pool.cli.render import open_console, queue_table, status_json

    async with connected(url) as client:
        name = pool if pool is not None else await client.only_pool()
        if request is not None:
            sentence = await client.explain(name, request)
            typer.echo(json.dumps({"request_id": request, "explanation": sentence}) if as_json else sentence)
            return
        status = await client.status(name)
    if as_json:
        typer.echo(json.dumps({"pool": name, "queue": status_json(status)["queue"]}, indent=2))
    elif status.queue:
        open_console().print(queue_table(status))
    else:
        typer.echo(f"nobody waits for {name}")
