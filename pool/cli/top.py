"""`poolctl top`: what the pools do and use, live."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pool.cli.options import AnyPool, Json, Url, address, connected, is_http
from pool.errors import AccessDenied
from pool.models import Event, PoolStatus, Priority, rfc3339

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pool.cli.feed import Feed
    from pool.cli.remote import RemoteFeed
    from pool.cli.tables import FittingTable
    from pool.client import AsyncClient

#: Between the two looks that one frame needs, in seconds: the use of CPU is a difference.
_APART_S = 0.3


@dataclass(frozen=True, slots=True)
class Reset:
    """The last reset of a container that was verified: when, how thorough, and how long it took."""

    at: float
    level: str
    ms: int


class Resets:
    """Remembers the last reset of each container, as events tell of them."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], Reset] = {}

    def note(self, pool: str, event: Event) -> None:
        """Take an event."""
        fields = event.fields
        if event.type == "pool.created":  # by one of the same name, whose events are still there
            self._last = {known: reset for known, reset in self._last.items() if known[0] != pool}
        if event.type == "container.moved" and fields.get("to") == "available" and "reset_ms" in fields:
            reset = Reset(event.at, fields.get("reset_level", ""), int(fields["reset_ms"]))
            self._last[pool, fields["container"]] = reset

    def of(self, pool: str, container: str) -> Reset | None:
        """Return a container's last reset; None where none is known."""
        return self._last.get((pool, container))


def top(
    pool: AnyPool = None,
    *,
    once: Annotated[bool, typer.Option("--once", help="Show one picture and end, as into a pipe.")] = False,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Show what the pools do and use, every second anew: states, holders, memory, CPU, resets, and who waits.

    End it with q or Ctrl-C. Memory and CPU are read right then where the engine runs on this host, and are those of the
    last check of a manager elsewhere.
    """
    asyncio.run(_show(url, pool, once=once, as_json=as_json))


async def _show(url: str | None, pool: str | None, *, once: bool, as_json: bool) -> None:
    from rich.console import Group
    from rich.text import Text

    from pool.cli.live import live_use
    from pool.cli.tables import open_console
    from pool.cli.watch import watch

    console = open_console()
    here = not is_http(address(url))
    async with connected(url) as client, live_use(wanted=here) as use, _resets(url, pool) as resets:

        async def statuses() -> list[PoolStatus]:
            return [await use.of(await client.status(name)) for name in await _names(client, pool)]

        async def frame() -> RenderableType:
            return Group(_view(await statuses(), resets), Text("q: quit", "dim"))

        if as_json or once or not console.is_terminal:
            if use.here:
                await statuses()
                await asyncio.sleep(_APART_S)
            found = await statuses()
            if as_json:
                typer.echo(json.dumps({"pools": [_pool_json(status, resets) for status in found]}, indent=2))
            else:
                console.print(_view(found, resets))
            return
        await watch(console, frame, screen=True, keys=True)


async def _names(client: AsyncClient, pool: str | None) -> list[str]:
    return [pool] if pool is not None else await client.pools()


@asynccontextmanager
async def _resets(url: str | None, pool: str | None) -> AsyncIterator[Resets]:
    """Know the last resets, and hear of new ones."""
    from pool.cli.feed import open_feed

    resets = Resets()
    async with open_feed(url) as feed:
        try:
            kept, known = await feed.kept(pool, 0.0)
        except AccessDenied:  # events are for operators; the rest is not
            yield resets
            return
        for name, event in kept:
            resets.note(name, event)
        following = asyncio.create_task(_follow(feed, pool, known, resets))
        try:
            yield resets
        finally:
            following.cancel()
            await asyncio.wait([following])


async def _follow(feed: Feed | RemoteFeed, pool: str | None, known: dict[str, str], resets: Resets) -> None:
    async with aclosing(feed.news(pool, known)) as news:
        async for name, event in news:
            resets.note(name, event)


# For people


def _view(statuses: Sequence[PoolStatus], resets: Resets) -> RenderableType:
    from rich.console import Group

    from pool.cli.render import head

    if not statuses:
        return "there are no pools: `poolctl serve CONFIG` opens those of a configuration"
    parts: list[RenderableType] = []
    for status in statuses:
        parts += [*head(status), _containers(status, resets), *_queue(status), ""]
    return Group(*parts)


def _containers(status: PoolStatus, resets: Resets) -> FittingTable:
    from pool.cli.render import first_cells, span
    from pool.cli.tables import Column, FittingTable
    from pool.cli.usage import cpu_cell, memory_cell

    table = FittingTable(
        "container",
        "state",
        Column("for", leaves=3),
        Column("holder", least=16),
        Column("ends in", leaves=2),
        "age",
        Column("memory", right=True),
        Column("CPU", right=True),
        "last reset",
        Column("ago", leaves=1),
    )
    for record in status.containers:
        reset = resets.of(status.pool, record.id)
        table.add_row(
            *first_cells(record, status.at),
            span(status.at - record.born_at) if record.born_at else "",
            memory_cell(record),
            cpu_cell(record),
            f"{reset.level} {reset.ms}ms" if reset else "",
            span(status.at - reset.at) if reset else "",
        )
    return table


def _queue(status: PoolStatus) -> list[RenderableType]:
    from pool.cli.render import span
    from pool.cli.tables import Column, FittingTable

    if not status.queue:
        return []
    table = FittingTable("waiting", Column("requests", right=True), Column("longest", right=True), Column("owners", 20))
    for priority, number, longest_s, owners in _by_priority(status):
        table.add_row(priority.label, str(number), span(longest_s), ", ".join(owners))
    return ["", table]


def _by_priority(status: PoolStatus) -> list[tuple[Priority, int, float, list[str]]]:
    """Return for each priority that waits: how many requests, the longest wait in seconds, and whose they are."""
    rows = []
    for priority in Priority:
        waiting = [request for request in status.queue if request.priority is priority]
        if waiting:
            owners = list(dict.fromkeys(request.owner for request in waiting))
            rows.append((priority, len(waiting), max(request.waited_s for request in waiting), owners))
    return rows


# For programs


def _pool_json(status: PoolStatus, resets: Resets) -> dict[str, Any]:
    from pool.shapes import status_json

    document: dict[str, Any] = status_json(status)
    for container, record in zip(document["containers"], status.containers, strict=True):
        reset = resets.of(status.pool, record.id)
        container["age_s"] = None if record.born_at is None else round(status.at - record.born_at, 3)
        container["last_reset"] = reset and {"at": rfc3339(reset.at), "level": reset.level, "ms": reset.ms}
    document["waiting"] = {
        priority.label: {"requests": number, "longest_s": round(longest_s, 3)}
        for priority, number, longest_s, _ in _by_priority(status)
    }
    return document
