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
    from rich.table import Table

    from pool.bench import Row

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


def _show(rows: Sequence[Row], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"rows": [row.to_json() for row in rows]}, ensure_ascii=False))
        return

    from pool.cli.render import open_console

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


def table(rows: Sequence[Row]) -> Table:
    """Return the rows for a person."""
    from rich.table import Table

    shown = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    shown.add_column("work")
    for column in ("p50 ms", "p95 ms", "floor ms", "ratio", "goal"):
        shown.add_column(column, justify="right", no_wrap=True)
    shown.add_column("met", justify="center")
    for row in rows:
        shown.add_row(
            row.name,
            f"{row.p50_ms:.3f}",
            f"{row.p95_ms:.3f}",
            "" if row.floor_ms is None else f"{row.floor_ms:.3f}",
            "" if row.ratio is None else f"{row.ratio:.2f}",
            "" if row.goal is None else str(row.goal),
            {None: "", True: "[green]✓[/green]", False: "[red]✗[/red]"}[row.met],
        )
    return shown
