"""`poolctl queue`: who waits, how long still, and why."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pool.cli import completion
from pool.cli.options import Json, PoolArgument, Url, Watch, connected

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pool.models import PoolStatus


def queue(
    pool: PoolArgument = None,
    *,
    request: Annotated[
        str | None,
        typer.Option(
            "--explain",
            metavar="REQUEST",
            help="Say in a sentence why this request waits.",
            autocompletion=completion.requests,
        ),
    ] = None,
    as_json: Json = False,
    watch: Watch = False,
    url: Url = None,
) -> None:
    """Show who waits, in the order of service, how long it will probably take, and what each waits for."""
    asyncio.run(_show(url, pool, request, as_json=as_json, watch=watch))


async def _show(url: str | None, pool: str | None, request: str | None, *, as_json: bool, watch: bool) -> None:
    from pool.cli.render import queue_table
    from pool.cli.watch import show
    from pool.shapes import queue_json

    async with connected(url) as client:
        name = pool if pool is not None else await client.only_pool()
        if request is not None:
            sentence = await client.explain(name, request)
            typer.echo(json.dumps({"request_id": request, "explanation": sentence}) if as_json else sentence)
            return

        async def look() -> PoolStatus:
            return await client.status(name)

        def view(status: PoolStatus) -> RenderableType:
            return queue_table(status) if status.queue else f"nobody waits for {name}"

        def document(status: PoolStatus) -> dict[str, Any]:
            return {"pool": name, "queue": queue_json(status)}

        await show(look, view, document if as_json else None, again=watch)
