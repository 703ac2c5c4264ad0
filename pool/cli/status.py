"""`poolctl status` and `poolctl reset`: what an operator sees and does."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated

import typer

from pool.cli.exits import Exit, tell
from pool.cli.options import Json, LevelOption, PoolOption, Url, connected
from pool.errors import InvalidRequest, UnknownContainer
from pool.models import PoolStatus, ResetLevel, State
from pool.states import WORK_STATES

if TYPE_CHECKING:
    from pool.client import AsyncClient

_WATCH_S = 1.0
_POLL_S = 0.1


def status(
    pool: Annotated[str | None, typer.Argument(metavar="POOL", help="Name of a pool. All by default.")] = None,
    *,
    as_json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh every second, until Ctrl-C.")] = False,
    url: Url = None,
) -> None:
    """Show containers, their holders, and who waits."""
    asyncio.run(_show(url, pool, as_json=as_json, watch=watch))


async def _show(url: str | None, pool: str | None, *, as_json: bool, watch: bool) -> None:
    from rich.live import Live

    from pool.cli.render import open_console, status_view

    console = open_console()
    async with connected(url) as client:
        if watch and console.is_terminal and not as_json:
            with Live(console=console, auto_refresh=False) as live:
                while True:
                    live.update(status_view(await _statuses(client, pool)), refresh=True)
                    await asyncio.sleep(_WATCH_S)
        while True:
            statuses = await _statuses(client, pool)
            if as_json:
                _write_json(statuses, compact=watch)
            else:
                console.print(status_view(statuses))
            if not watch:
                return
            await asyncio.sleep(_WATCH_S)


def _write_json(statuses: list[PoolStatus], *, compact: bool) -> None:
    from pool.cli.render import status_json

    document = {"pools": [status_json(status) for status in statuses]}
    typer.echo(json.dumps(document, indent=None if compact else 2))


async def _statuses(client: AsyncClient, pool: str | None) -> list[PoolStatus]:
    names = [pool] if pool is not None else await client.pools()
    return [await client.status(name) for name in names]


def reset(
    container: Annotated[str, typer.Argument(metavar="CONTAINER", help="Id of the container, such as browsers-1.")],
    *,
    level: LevelOption = "soft",
    pool: PoolOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it is available, or quarantined: exit 1.")] = False,
    url: Url = None,
) -> None:
    """Have the manager reset a container that nobody holds; out of quarantine, too."""
    wanted = next((known for known in ResetLevel if known and known.label == level), None)
    if wanted is None:
        raise InvalidRequest("level", level, "use one of soft, medium, hard, recreate")
    raise typer.Exit(asyncio.run(_reset(url, pool, container, wanted, wait=wait)))


async def _reset(url: str | None, pool: str | None, container: str, level: ResetLevel, *, wait: bool) -> Exit:
    async with connected(url) as client:
        status = await pool_of(client, pool, container)
        await client.reset(status.pool, container, level=level)
        typer.echo(f"{container}: {level.label} reset asked for")
        if not status.manager:
            tell("warning", "no active manager: start one with `poolctl serve CONFIG`", style="yellow")
        return await wait_until_done(client, status.pool, container) if wait else Exit.OK


async def pool_of(client: AsyncClient, pool: str | None, container: str) -> PoolStatus:
    """Return the status of the pool that has a container.

    Raises:
        UnknownContainer: None has; the hint lists the containers there are.
        InvalidRequest: Several have, and none is named.
    """
    statuses = await _statuses(client, pool)
    found = [status for status in statuses if any(record.id == container for record in status.containers)]
    if len(found) > 1:
        names = ", ".join(status.pool for status in found)
        raise InvalidRequest("pool", None, f"each of these has a container {container!r}, so name one: {names}")
    if not found:
        known = ", ".join(record.id for status in statuses for record in status.containers) or "none"
        raise UnknownContainer(f"there is no container {container!r}", hint=f"containers: {known}")
    return found[0]


async def wait_until_done(client: AsyncClient, pool: str, container: str) -> Exit:
    """Say what becomes of a container until nothing more does; returns how the command ends."""
    from pool.allocator import find_container

    told: tuple[State, ResetLevel] | None = None
    while True:
        record = find_container((await client.status(pool)).containers, container)
        if (record.state, record.level) != told:
            told = record.state, record.level
            level = f" ({record.level.label})" if record.state is State.RESETTING else ""
            note = f": {record.note}" if record.note else ""
            typer.echo(f"{container}: {record.state}{level}{note}")
        if record.state not in WORK_STATES:
            return Exit.CHECK_FAILED if record.state is State.QUARANTINED else Exit.OK
        await asyncio.sleep(_POLL_S)
