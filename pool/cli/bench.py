"""`poolctl bench`: how fast the pool is, beside bare Redis and a bare engine on the same machine in the same run."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from pool.cli.options import Json

if TYPE_CHECKING:
    from pool.bench import Row
    from pool.cli.tables import FittingTable

_BenchUrl = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="Redis to measure on. By default a private one, gone afterwards."),
]


def allocation(
    *,
    url: _BenchUrl = None,
    rounds: Annotated[int, typer.Option(metavar="N", min=1, help="How often acquire and release are measured.")] = 1000,
    as_json: Json = False,
) -> None:
    """Measure acquire, release, hand-off, rates and fairness, each beside what bare Redis takes.

    No container is started. A goal that is missed is a result, not an error: the exit code is 0.
    """
    from pool.bench import run_allocation

    with _progress() as tell:
        rows = run_allocation(url=url, rounds=rounds, tell=tell)
    _show(rows, as_json=as_json)


def reset(
    *,
    url: Annotated[
        str | None,
        typer.Option("--url", metavar="URL", help="Redis to keep the state on. By default a private one."),
    ] = None,
    rounds: Annotated[int, typer.Option(metavar="N", min=1, help="How often a soft reset is measured.")] = 50,
    as_json: Json = False,
) -> None:
    """Measure resets by level, stage and technique, beside a bare exec, a restart and a fresh container.

    Needs a container engine and the sample image. Its containers are removed at the end, also after Ctrl-C. A goal that
    is missed is a result, not an error: the exit code is 0.
    """
    import structlog

    from pool.bench import run_reset
    from pool.telemetry import configure_logging

    configure_logging(quiet=True)
    # It lets containers crash: what the manager says of that would be in the table's way.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with _progress() as tell:
        rows = run_reset(url=url, rounds=rounds, tell=tell)
    _show(rows, as_json=as_json)


def http(
    *,
    url: _BenchUrl = None,
    rounds: Annotated[int, typer.Option(metavar="N", min=1, help="How often each call is measured.")] = 1000,
    as_json: Json = False,
) -> None:
    """Measure acquire, heartbeat and release over HTTP, and the gateway, beside bare Redis and an empty handler.

    The server runs in a process of its own; no container is started. A goal that is missed is a result, not an error:
    the exit code is 0.
    """
    from pool.bench import run_http

    with _progress() as tell:
        rows = run_http(url=url, rounds=rounds, tell=tell)
    _show(rows, as_json=as_json)


def _show(rows: Sequence[Row], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"rows": [row.to_json() for row in rows]}, ensure_ascii=False))
        return

    from pool.cli.tables import open_console

    open_console().print(table(rows))


@contextmanager
def _progress() -> Iterator[Callable[[str], object]]:
    """Yield what shows on stderr, if that is a terminal, what is being done."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("measuring") as line:
        yield lambda doing: line.update(f"measuring {doing}")


def table(rows: Sequence[Row]) -> FittingTable:
    """Return the rows for a person."""
    from rich.text import Text

    from pool.cli.tables import Column, FittingTable

    numbers = [Column(name, right=True) for name in ("p50 ms", "p95 ms", "floor ms", "ratio", "goal")]
    shown = FittingTable(Column("work", least=20), *numbers, "met")
    for row in rows:
        shown.add_row(
            row.name,
            f"{row.p50_ms:.3f}",
            f"{row.p95_ms:.3f}",
            "" if row.floor_ms is None else f"{row.floor_ms:.3f}",
            "" if row.ratio is None else f"{row.ratio:.2f}",
            "" if row.goal is None else str(row.goal),
            {None: Text(), True: Text("✓", "green"), False: Text("✗", "red")}[row.met],
        )
    return shown
