"""`poolctl quarantine`, `restore`, `drain` and `resume`: what an operator takes out of rotation, and gives back."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import typer

from pool.cli import completion
from pool.cli.exits import Exit, printable, tell
from pool.cli.options import ContainerArgument, Json, PoolOption, Reason, Url, connected
from pool.cli.status import finish, pool_of
from pool.models import PoolStatus, State

_PoolName = Annotated[str, typer.Argument(metavar="POOL", help="Name of the pool.", autocompletion=completion.pools)]
_OneContainer = Annotated[
    str | None,
    typer.Argument(
        metavar="CONTAINER",
        help="Only this container. By default the whole pool.",
        autocompletion=completion.containers,
    ),
]


def quarantine(
    container: ContainerArgument,
    *,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is shown until the container is restored.")],
    force: Annotated[bool, typer.Option("--force", help="Even if it is leased: its holder loses it.")] = False,
    pool: PoolOption = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Take a container out of rotation and keep it as it is, for a look at it.

    Neither resets nor changes of the configuration touch it until `poolctl restore`. A reset in progress is finished.
    """

    async def ask() -> tuple[PoolStatus, str]:
        async with connected(url) as client:
            status = await pool_of(client, pool, container)
            await client.quarantine(status.pool, container, reason=reason, force=force)
            return status, next(record.info.name for record in status.containers if record.id == container)

    status, name = asyncio.run(ask())
    document = {"pool": status.pool, "container": container, "name": name, "state": State.QUARANTINED.value}
    _say(document if as_json else None, f"{container}: quarantined; `docker` knows it as {name}")


def restore(
    container: ContainerArgument,
    *,
    pool: PoolOption = None,
    reason: Reason = "",
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it is available, or quarantined: exit 1.")] = False,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Have the manager recreate a quarantined container, verify it, and lend it again."""

    async def ask() -> Exit:
        async with connected(url) as client:
            status = await pool_of(client, pool, container)
            await client.restore(status.pool, container, reason=reason)
            return await finish(client, status, container, "to be recreated", wait=wait, as_json=as_json)

    raise typer.Exit(asyncio.run(ask()))


def drain(
    pool: _PoolName,
    container: _OneContainer = None,
    *,
    reason: Reason = "",
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Let a container, or a whole pool, take no new lease; what is held goes on until it is given back.

    A draining pool sends the waiting away, and refuses who comes. A draining container is reset after its lease, and
    then kept for nobody; the others serve the queue. Both last until `poolctl resume`, whatever becomes of managers.
    """

    async def ask() -> PoolStatus:
        async with connected(url) as client:
            await client.drain(pool, container, reason=reason)
            return await client.status(pool)

    held = {
        record.id: record.owner
        for record in asyncio.run(ask()).containers
        if record.state is State.ALLOCATED and container in (None, record.id)
    }
    document = {"pool": pool, "container": container, "draining": True, "leased": held}
    lines = [f"{container or pool}: draining", *(f"{each} is still leased by {owner}" for each, owner in held.items())]
    _say(document if as_json else None, *lines)


def resume(
    pool: _PoolName,
    container: _OneContainer = None,
    *,
    reason: Reason = "",
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Lend a draining container, or a draining pool, again."""

    async def ask() -> PoolStatus:
        async with connected(url) as client:
            await client.resume(pool, container, reason=reason)
            return await client.status(pool)

    status = asyncio.run(ask())
    document = {"pool": pool, "container": container, "draining": False, "pool_draining": status.draining}
    _say(document if as_json else None, f"{container or pool}: resumed")
    if container and status.draining:
        tell("warning", f"pool {pool} itself is draining: `poolctl resume {pool}`", style="yellow")


def _say(document: dict[str, Any] | None, *lines: str) -> None:
    """Write what was done, for programs if there is a document."""
    if document is not None:
        typer.echo(json.dumps(document, indent=2))
        return
    for line in lines:
        typer.echo(printable(line))
