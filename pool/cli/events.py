"""`poolctl events`: what happened in the pools, and what happens now."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import typer

from pool.cli import completion
from pool.cli.exits import printable
from pool.cli.feed import open_feed
from pool.cli.options import AnyPool, Json, Url
from pool.models import Event
from pool.moments import moment

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

#: Shown where nobody says how many: of what was, and before what will be.
_TAIL = 100
_TAIL_BEFORE_NEWS = 10
#: From this width on, in characters, an event is one line where it fits; columns for what it is about, and its type.
_WIDE = 110
_ABOUT = 12
_TYPE = 18
_BAD = ("lost", "denied", "degraded", "broken", "redis_away", "out_of_memory", "unresponsive", "host_lost", "excessive")
_STYLE = {"lease": "cyan", "request": "blue", "pool": "magenta"}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events somebody wants to see.

    Attributes:
        types: Patterns of their types; none for all.
        container: What they are about; None for anything.
        since_s: What happened before is not shown, in seconds since the epoch.
    """

    types: Sequence[str] = ()
    container: str | None = None
    since_s: float = 0.0

    def wants(self, event: Event) -> bool:
        """Whether an event is one of them."""
        return (
            event.at >= self.since_s
            and (self.container is None or event.fields.get("container") == self.container)
            and (not self.types or any(fnmatchcase(event.type, pattern) for pattern in self.types))
        )


def events(
    pool: AnyPool = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C.")] = False,
    since: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="From then on: 90s, 10m, 2h, 1d ago, or a time such as 2026-11-21T08:00Z."),
    ] = None,
    tail: Annotated[
        int | None,
        typer.Option(
            "--tail",
            "-n",
            metavar="N",
            min=0,
            help=f"The last N. By default {_TAIL}, {_TAIL_BEFORE_NEWS} with --follow, all with --since.",
        ),
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="Only of this type, such as lease.lost or 'container.*'. May be repeated.",
            autocompletion=completion.event_types,
        ),
    ] = None,
    container: Annotated[
        str | None,
        typer.Option(metavar="CONTAINER", help="Only about this container.", autocompletion=completion.containers),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say which types of events there are, and what they mean; show none.")
    ] = False,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Show what happened in the pools, oldest first, and go on with what happens.

    Redis keeps about the last 20,000 events of each pool. With --json, each is one line.
    """
    if explain:
        _explain(types or ("*",), as_json=as_json)
        return
    wanted = Filter(types or (), container, 0.0 if since is None else moment(since, time.time()))
    if tail is None and since is None:
        tail = _TAIL_BEFORE_NEWS if follow else _TAIL
    asyncio.run(_show(url, pool, wanted, tail, _writer(as_json=as_json), follow=follow))


def _explain(patterns: Sequence[str], *, as_json: bool) -> None:
    from pool.cli import explain

    kinds = [each for each in explain.events() if each.kind == "event"]
    found = [each for each in kinds if any(fnmatchcase(each.name, pattern) for pattern in patterns)]
    explain.show(found, as_json=as_json, briefly=True)


async def _show(
    url: str | None,
    pool: str | None,
    wanted: Filter,
    tail: int | None,
    write: Callable[[str, Event], None],
    *,
    follow: bool,
) -> None:
    async with open_feed(url) as feed:
        kept, known = await feed.kept(pool, wanted.since_s)
        found = [(name, event) for name, event in kept if wanted.wants(event)]
        for name, event in found if tail is None else found[max(len(found) - tail, 0) :]:
            write(name, event)
        if follow:
            async with aclosing(feed.news(pool, known)) as news:
                async for name, event in news:
                    if wanted.wants(event):
                        write(name, event)


def _writer(*, as_json: bool) -> Callable[[str, Event], None]:
    """Return what writes an event so that whoever reads our output has it at once."""
    if as_json:
        from pool.shapes import event_json

        return lambda pool, event: typer.echo(json.dumps(event_json(pool, event), ensure_ascii=False))

    from pool.cli.tables import open_console

    console = open_console()
    return lambda pool, event: _write(console, pool, event)


def _write(console: Console, pool: str, event: Event) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    when, about, kind, facts = _cells(pool, event)
    if console.width >= _WIDE:
        line = Table.grid(padding=(0, 2, 0, 0))
        for least, fold in ((0, False), (_ABOUT, False), (_TYPE, False), (0, True)):
            line.add_column(min_width=least, no_wrap=not fold, overflow="fold")
        line.add_row(when, about, kind, facts)
        console.print(line)
    else:
        console.print(Text("  ").join([when, about, kind]))
        if facts:
            console.print(Padding(facts, (0, 0, 0, 4), expand=False))
    console.file.flush()


def _cells(pool: str, event: Event) -> tuple[Text, Text, Text, Text]:
    """Return when, what about, which type, and the facts; the times of a reset's stages are for programs."""
    from rich.text import Text

    about = event.fields.get("container", pool)
    style = "red" if event.type.endswith(_BAD) else _STYLE.get(event.type.partition(".")[0], "")
    when = datetime.fromtimestamp(event.at, UTC).strftime("%m-%d %H:%M:%S")
    facts = [f"{name}={value}" for name, value in event.fields.items() if value and name not in ("container", "stages")]
    return (
        Text(when, "dim"),
        Text(printable(about)),
        Text(printable(event.type), style),
        Text(printable("  ".join(facts))),
    )
