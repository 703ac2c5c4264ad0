"""`poolctl gc`: what former configurations left behind."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated

import typer

from pool.cli.config import load
from pool.cli.exits import Exit
from pool.cli.options import ConfigArgument, Json

if TYPE_CHECKING:
    from pool.manager.garbage import Item

_STYLE = {"removed": "green", "garbage": "yellow", "kept": "dim", "failed": "bold red"}


def gc(
    path: ConfigArgument = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    as_json: Json = False,
) -> None:
    """Remove what carries the deployment's label and belongs to nothing in the configuration.

    Containers (stopped, with 30 s of grace), holders of their networks, networks, dangling images of ours, evidence
    that is due, pools and keys in Redis. What is leased, quarantined or under a manager stays; what has no label of
    this deployment is never touched.
    """
    from pool.app import collect_garbage
    from pool.telemetry import configure_logging

    configure_logging(quiet=True)
    items = asyncio.run(collect_garbage(load(path), dry_run=dry_run))
    if as_json:
        typer.echo(json.dumps({"dry_run": dry_run, "items": [_item_json(item) for item in items]}, indent=2))
    elif items:
        _print_table(items)
    else:
        typer.echo("no garbage")
    if any(item.fate == "failed" for item in items):
        raise typer.Exit(Exit.CHECK_FAILED)


def _item_json(item: Item) -> dict[str, str]:
    return {"kind": item.kind, "name": item.name, "fate": item.fate, "why": item.why}


def _print_table(items: list[Item]) -> None:
    from rich.text import Text

    from pool.cli.tables import Column, FittingTable, open_console

    shown = FittingTable("fate", "kind", Column("name", least=20), Column("why", least=20))
    for item in items:
        fate = "would be removed" if item.fate == "garbage" else item.fate
        shown.add_row(Text(fate, _STYLE[item.fate]), item.kind, item.name, item.why)
    open_console().print(shown)
