"""`poolctl quarantine`, `restore`, `drain` and `resume`: what an operator takes out of rotation, and gives back."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from pool.cli.exits import Exit, tell
from pool.cli.options import PoolOption, Url, connected
from pool.cli.status import pool_of, wait_until_done
from pool.models import PoolStatus, State

_ContainerArgument = Annotated[
    str, typer.Argument(metavar="CONTAINER", help="Id of the container, such as browsers-1.")
]
_PoolName = Annotated[str, typer.Argument(metavar="POOL", help="Name of the pool.")]
_OneContainer = Annotated[
    str | None, typer.Argument(metavar="CONTAINER", help="Only this container. By default the whole pool.")
]


def quarantine(
    container: _ContainerArgument,
    *,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is shown until the container is restored.")],
    force: Annotated[bool, typer.Option("--force", help="Even if it is leased: its holder loses it.")] = False,
    pool: PoolOption = None,
    url: Url = None,
) -> None:
    """Take a container out of rotation and keep it as it is, for a look at it.

    Neither resets nor changes of the configuration touch it until `poolctl restore`. A reset in progress is finished.
    """
    asyncio.run(_quarantine(url, pool, container, reason, force=force))


async def _quarantine(url: str | None, pool: str | None, container: str, reason: str, *, force: bool) -> None:
    async with connected(url) as client:
        status = await pool_of(client, pool, container)
        await client.quarantine(status.pool, container, reason=reason, force=force)
        name = next(record.info.name for record in status.containers if record.id == container)
        typer.echo(f"{container}: quarantined; `docker` knows it as {name}")


def restore(
    container: _ContainerArgument,
    *,
    pool: PoolOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it is available, or quarantined: exit 1.")] = False,
    url: Url = None,
) -> None:
    """Have the manager recreate a quarantined container, verify it, and lend it again."""
    raise typer.Exit(asyncio.run(_restore(url, pool, container, wait=wait)))


async def _restore(url: str | None, pool: str | None, container: str, *, wait: bool) -> Exit:
    async with connected(url) as client:
        status = await pool_of(client, pool, container)
        await client.restore(status.pool, container)
        typer.echo(f"{container}: to be recreated")
        _warn_without_manager(status)
        return await wait_until_done(client, status.pool, container) if wait else Exit.OK


def drain(pool: _PoolName, container: _OneContainer = None, *, url: Url = None) -> None:
    """Let a container, or a whole pool, take no new lease; what is held goes on until it is given back.

    A draining pool sends the waiting away, and refuses who comes. A draining container is reset after its lease, and
    then kept for nobody; the others serve the queue. Both last until `poolctl resume`, whatever becomes of managers.
    """
    asyncio.run(_drain(url, pool, container))


async def _drain(url: str | None, pool: str, container: str | None) -> None:
    async with connected(url) as client:
        await client.drain(pool, container)
        status = await client.status(pool)
    held = [
        record for record in status.containers if record.state is State.ALLOCATED and container in (None, record.id)
    ]
    typer.echo(f"{container or pool}: draining")
    for record in held:
        typer.echo(f"{record.id} is still leased by {record.owner}")


def resume(pool: _PoolName, container: _OneContainer = None, *, url: Url = None) -> None:
    """Lend a draining container, or a draining pool, again."""
    asyncio.run(_resume(url, pool, container))


async def _resume(url: str | None, pool: str, container: str | None) -> None:
    async with connected(url) as client:
        await client.resume(pool, container)
        typer.echo(f"{container or pool}: resumed")
        status = await client.status(pool)
    if container and status.draining:
        tell("warning", f"pool {pool} itself is draining: `poolctl resume {pool}`", style="yellow")


def _warn_without_manager(status: PoolStatus) -> None:
    if not status.manager:
        tell("warning", "no active manager: start one with `poolctl serve CONFIG`", style="yellow")
