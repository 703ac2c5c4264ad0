"""`poolctl status` and `poolctl reset`: what an operator sees and does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pool.cli.exits import NO_MANAGER, Exit, printable, tell
from pool.cli.options import AnyPool, ContainerArgument, Json, LevelOption, PoolOption, Reason, Url, Watch, connected
from pool.errors import InvalidRequest
from pool.models import ContainerRecord, PoolStatus, ResetLevel, State
from pool.states import WORK_STATES

if TYPE_CHECKING:
    from pool.client import AsyncClient

_POLL_S = 0.1


def status(
    pool: AnyPool = None,
    *,
    as_json: Json = False,
    watch: Watch = False,
    url: Url = None,
) -> None:
    """Show containers, their holders, and who waits."""
    asyncio.run(_show(url, pool, as_json=as_json, watch=watch))


async def _show(url: str | None, pool: str | None, *, as_json: bool, watch: bool) -> None:
    from pool.cli.render import status_view
    from pool.cli.watch import show
    from pool.shapes import status_json

    async with connected(url) as client:

        async def look() -> list[PoolStatus]:
            return await _statuses(client, pool)

        def document(statuses: list[PoolStatus]) -> dict[str, Any]:
            return {"pools": [status_json(status) for status in statuses]}

        await show(look, status_view, document if as_json else None, again=watch)


async def _statuses(client: AsyncClient, pool: str | None) -> list[PoolStatus]:
    names = [pool] if pool is not None else await client.pools()
    return [await client.status(name) for name in names]


def reset(
    container: ContainerArgument,
    *,
    level: LevelOption = "soft",
    pool: PoolOption = None,
    reason: Reason = "",
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it is available, or quarantined: exit 1.")] = False,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Have the manager reset a container that nobody holds; out of quarantine, too."""
    wanted = next((known for known in ResetLevel if known and known.label == level), None)
    if wanted is None:
        raise InvalidRequest("level", level, "use one of soft, medium, hard, recreate")

    async def ask() -> Exit:
        async with connected(url) as client:
            status = await pool_of(client, pool, container)
            await client.reset(status.pool, container, level=wanted, reason=reason)
            return await finish(client, status, container, f"{level} reset asked for", wait=wait, as_json=as_json)

    raise typer.Exit(asyncio.run(ask()))


async def finish(
    client: AsyncClient, status: PoolStatus, container: str, asked: str, *, wait: bool, as_json: bool
) -> Exit:
    """Say what was asked of the manager, wait for it if that is wanted, and return how the command ends.

    Args:
        client: To the pools.
        status: The pool, as it was before.
        container: The container.
        asked: What was asked for, in words.
        wait: Stay until nothing more becomes of the container.
        as_json: Say it in one document, at the end.
    """

    def say(line: str) -> None:
        if not as_json:
            typer.echo(line)

    say(f"{container}: {asked}")
    if not status.manager:
        tell("warning", NO_MANAGER, style="yellow")
    record = await _settled(client, status.pool, container, say) if wait else None
    if as_json:
        became = {"state": record.state.value, "note": record.note or None} if record else {}
        typer.echo(json.dumps({"pool": status.pool, "container": container, "asked": asked, **became}, indent=2))
    return Exit.CHECK_FAILED if record and record.state is State.QUARANTINED else Exit.OK


async def pool_of(client: AsyncClient, pool: str | None, container: str) -> PoolStatus:
    """Return the status of the pool that has a container.

    Raises:
        UnknownContainer: None has; the hint lists the containers there are.
        InvalidRequest: Several have, and none is named.
    """
    from pool.allocator import pool_with

    return pool_with(await _statuses(client, pool), container)


async def _settled(client: AsyncClient, pool: str, container: str, say: Callable[[str], None]) -> ContainerRecord:
    """Say what becomes of a container until nothing more does."""
    from pool.allocator import find_container

    told: tuple[State, ResetLevel] | None = None
    while True:
        record = find_container((await client.status(pool)).containers, container)
        if (record.state, record.level) != told:
            told = record.state, record.level
            level = f" ({record.level.label})" if record.state is State.RESETTING else ""
            note = f": {printable(record.note)}" if record.note else ""
            say(f"{container}: {record.state}{level}{note}")
        if record.state not in WORK_STATES:
            return record
        await asyncio.sleep(_POLL_S)
