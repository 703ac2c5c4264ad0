"""`poolctl doctor`: whether all that the pool needs is there, and what to do where it is not."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pool.cli.exits import Exit, printable
from pool.cli.options import DEFAULT_CONFIG, Json, Url, is_http

if TYPE_CHECKING:
    from pool.cli.doctor.finding import Finding
    from pool.config import Config

_STYLE = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="CONFIG",
            help=f"YAML file to check by. By default {DEFAULT_CONFIG} if there is one; it also works without.",
            envvar="POOL_CONFIG",
        ),
    ] = None,
    *,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Check all that a pool needs, and say what to do where something is amiss. Nothing is changed.

    Configuration, directories and their modes, disk space, open files; Redis: version, append-only file, eviction,
    errors, memory, latency, clock; or a manager's HTTP API, if the URL is one; the engine: version, storage, cgroups,
    clock, network, images, ports. The exit code says the worst: 0 all is well, 5 warnings, 1 something does not work.
    """
    from pool.cli.doctor.finding import Verdict, worst

    findings = asyncio.run(_examine(path, url))
    if as_json:
        document = {"verdict": worst(findings).label, "checks": [finding.to_json() for finding in findings]}
        typer.echo(json.dumps(document, indent=2))
    else:
        _print(findings)
    code = {Verdict.OK: Exit.OK, Verdict.WARN: Exit.WARNED, Verdict.FAIL: Exit.CHECK_FAILED}
    raise typer.Exit(code[worst(findings)])


async def _examine(path: Path | None, url: str | None) -> list[Finding]:
    from pool.cli.doctor.api import check_api
    from pool.cli.doctor.configuration import check_configuration
    from pool.cli.doctor.engine import check_engine
    from pool.cli.doctor.host import check_host
    from pool.cli.doctor.redis import check_no_redis, check_redis

    if path is None and DEFAULT_CONFIG.is_file():
        path = DEFAULT_CONFIG
    findings, config = check_configuration(path)
    findings += check_host(config)
    url = url or os.environ.get("POOL_URL")
    if is_http(url):
        findings += await check_api(url or "")
    redis_url = _redis_url(config, None if is_http(url) else url)
    if redis_url or not is_http(url):
        findings += await check_redis(redis_url) if redis_url else [check_no_redis()]
    return findings + await check_engine(config)


def _redis_url(config: Config | None, url: str | None) -> str:
    """Return the Redis that a manager of this configuration would use, or the one that is given; empty for none."""
    from pool.embedded import find_server

    known = url or (config.redis.address if config else None)
    server = None if known else find_server(config.redis.state_dir if config else None)
    return known or (server.url if server else "")


def _print(findings: list[Finding]) -> None:
    from rich.text import Text

    from pool.cli.tables import Column, FittingTable, open_console

    table = FittingTable("", "check", Column("seen, and what to do about it", least=24))
    for finding in findings:
        label = finding.verdict.label
        seen = Text(printable(finding.seen))
        if finding.remedy:
            seen.append(f"\n→ {printable(finding.remedy)}", "cyan")
        table.add_row(Text(label, _STYLE[label]), finding.check, seen)
    open_console().print(table)
