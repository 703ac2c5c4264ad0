"""`poolctl audit`: who did what, when, why and with what result; and whether what says so was changed."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pool.cli import completion
from pool.cli.exits import Exit, printable, tell
from pool.cli.options import Json, Url, address, is_http, opened, refuse_http
from pool.errors import InvalidRequest
from pool.models import rfc3339
from pool.moments import moment

if TYPE_CHECKING:
    from pool.audit import Entry, Head, Verdict

_LOOK_S = 1.0
_TAIL = 100
_MOST, _MOST_REMOTE = 10_000_000, 10_000
_HEX = re.compile(r"(\d{1,15}):([0-9a-f]{64})")

_Pool = Annotated[
    str | None,
    typer.Option(
        "--pool", "-p", metavar="POOL", help="Only this pool; `~access` for tokens and refusals.",
        autocompletion=completion.pools,
    ),
]  # fmt: skip


def audit(
    ctx: typer.Context,
    *,
    pool: _Pool = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="From then on: 90s, 10m, 2h, 1d ago, or a time such as 2026-11-21T08:00Z."),
    ] = None,
    who: Annotated[str | None, typer.Option(metavar="WHO", help="Only what they did, such as alice or 'ci/*'.")] = None,
    tail: Annotated[
        int | None,
        typer.Option("--tail", "-n", metavar="N", min=0, help=f"The last N. By default {_TAIL}, all with --since."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is done, until Ctrl-C.")] = False,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Show what was done in the pools, oldest first: by whom, why, and what came of it.

    A pool's manager writes it down within about a second. With --json, each entry is one line.
    """
    if ctx.invoked_subcommand:
        return
    query = {name: value for name, value in (("pool", pool), ("who", who)) if value is not None}
    if since is not None:
        query["since"] = rfc3339(moment(since, time.time()))
    most = tail if tail is not None else _TAIL if since is None else _MOST
    asyncio.run(_show(url, query, most, _writer(as_json=as_json), follow=follow))


async def _show(
    url: str | None, query: Mapping[str, str], most: int, write: Callable[[Entry], None], *, follow: bool
) -> None:
    place = address(url)
    if is_http(place):
        await _show_remote(place, query, most, write, follow=follow)
        return
    from pool.audit import Reader

    who = query.get("who", "*")
    async with opened(place) as connection:
        reader = Reader(connection, [query["pool"]] if "pool" in query else None)

        def wants(entry: Entry) -> bool:
            return fnmatchcase(str(entry.get("who", "")), who)

        for entry in await reader.last(most, wants, since=query.get("since", "")):
            write(entry)
        while follow:
            await asyncio.sleep(_LOOK_S)
            for entry in await reader.read(wants):
                write(entry)


async def _show_remote(
    place: str, query: Mapping[str, str], most: int, write: Callable[[Entry], None], *, follow: bool
) -> None:
    """Show what a manager's HTTP server says of the audit."""
    from pool.cli.remote import remote

    if follow:
        raise InvalidRequest("follow", place, "over HTTP only what was done is shown; give the URL of Redis, or none")
    async with remote(place) as server:
        document = await server.document("/v1/audit", **query, tail=str(min(most, _MOST_REMOTE)))
    for entry in document["entries"]:
        write(entry)


def verify(
    *,
    pool: _Pool = None,
    file: Annotated[
        Path | None, typer.Option(metavar="JSONL", help="Check this file, which `audit.file` names, and not Redis.")
    ] = None,
    anchors: Annotated[
        list[str] | None,
        typer.Option(
            "--anchor", metavar="N:HASH", help="An earlier head, as this command printed it; it must still be there."
        ),
    ] = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Check that no entry was changed, removed, inserted or moved; name the first one that does not fit.

    Whoever can write to Redis can also write a whole chain anew. Only a head that was noted elsewhere shows that: keep
    what this prints, and give it back as --anchor. Exit 1 if anything does not fit.
    """
    wanted = [_anchor(text) for text in anchors or ()]
    if file is not None:
        from pool.audit import verify_file

        verdicts = [verdict for verdict in verify_file(file) if pool in (None, verdict.pool)]
    else:
        verdicts = asyncio.run(_verify(url, pool))
    if wanted and (pool is None or not verdicts):
        raise InvalidRequest("pool", pool, "an anchor belongs to the chain of one pool; name it with --pool")
    faults = {verdict.pool: _faults(verdict, wanted) for verdict in verdicts}
    if as_json:
        typer.echo(json.dumps({"chains": [_verdict_json(each, faults[each.pool]) for each in verdicts]}, indent=2))
    else:
        for verdict in verdicts:
            _tell_verdict(verdict, faults[verdict.pool])
        if not verdicts:
            typer.echo("nothing was audited yet")
    if any(faults.values()):
        raise typer.Exit(Exit.CHECK_FAILED)


async def _verify(url: str | None, pool: str | None) -> list[Verdict]:
    from pool.audit import chain_names, verify_chain

    place = address(url)
    refuse_http(place, "the audit is verified where it is kept")
    async with opened(place) as connection:
        names = [pool] if pool is not None else await chain_names(connection)
        return [await verify_chain(connection, name) for name in names]


def _anchor(text: str) -> Head:
    from pool.audit import Head

    match = _HEX.fullmatch(text)
    if not match:
        raise InvalidRequest("anchor", text, "use N:HASH, as `poolctl audit verify` prints it")
    return Head(int(match[1]), match[2])


def _faults(verdict: Verdict, anchors: list[Head]) -> list[str]:
    found = [verdict.fault, *(verdict.anchored(anchor) for anchor in anchors)]
    return [str(fault) for fault in found if fault is not None]


def _verdict_json(verdict: Verdict, faults: list[str]) -> dict[str, Any]:
    return {
        "pool": verdict.pool,
        "fits": not faults,
        "entries": verdict.entries,
        "first": verdict.first,
        "head": str(verdict.head),
        "faults": faults,
    }


def _tell_verdict(verdict: Verdict, faults: list[str]) -> None:
    name = printable(verdict.pool)
    if not faults:
        begin = "" if verdict.first <= 1 else f", from entry {verdict.first} on"
        typer.echo(f"{name}: {verdict.entries} entries fit{begin}; head {verdict.head}")
    for fault in faults:
        tell("error", f"{verdict.pool}: {fault}", style="bold red")


def _writer(*, as_json: bool) -> Callable[[Entry], None]:
    """Return what writes an entry so that whoever reads our output has it at once."""
    if as_json:
        return lambda entry: typer.echo(json.dumps(entry, ensure_ascii=True))

    from rich.text import Text

    from pool.cli.tables import open_console

    console = open_console()

    def write(entry: Entry) -> None:
        shown = {name: printable(str(entry.get(name, ""))) for name in ("at", "who", "what", "why", "result", "type")}
        line = Text.assemble(
            (shown["at"][:19].replace("T", " "), "dim"), "  ", (shown["who"], "bold"), f"  {shown['type']}  ",
            f"{shown['what']}: {shown['result']}", (f"  ({shown['why']})" if shown["why"] else "", "dim"),
        )  # fmt: skip
        console.print(line, soft_wrap=not console.is_terminal)
        console.file.flush()

    return write
