"""`poolctl serve` and `poolctl demo`: the commands that start something."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Annotated

import typer

from pool.cli.config import describe, load
from pool.cli.options import ConfigArgument, Json


class LogFormat(StrEnum):
    """How log entries are written."""

    TEXT = "text"
    JSON = "json"


def serve(
    path: ConfigArgument = None,
    *,
    remove: Annotated[
        bool, typer.Option("--remove", help="At the end, remove containers and pools once no lease is held.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Only validate the configuration.")] = False,
    log_format: Annotated[
        LogFormat, typer.Option(metavar="FORMAT", help="How log entries are written, to stderr: text or json.")
    ] = LogFormat.TEXT,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
) -> None:
    """Manage the pools of a configuration until SIGTERM or Ctrl-C.

    Containers outlive the manager, leases included: the next start adopts them.
    """
    config = load(path)
    if check:
        describe(config)
        return

    from pool.app import serve as serve_pools
    from pool.telemetry import configure_logging

    configure_logging("json" if log_format is LogFormat.JSON else "text", verbose=verbose)
    asyncio.run(serve_pools(config, remove=remove))


def demo(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the containers for a look at them.")] = False,
    as_json: Json = False,
) -> None:
    """Watch a pool at work: real containers, real failures, and checks of what happened."""
    from rich.console import Console

    from pool.demo import run_demo

    raise typer.Exit(run_demo(console=Console(), as_json=as_json, keep=keep))
