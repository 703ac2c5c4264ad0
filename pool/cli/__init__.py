"""The command line, `poolctl`.

Commands import what they need when they run: `poolctl --help` and `poolctl config` load no client of Redis or Docker.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from pool import __version__
from pool.cli import (
    analytics,
    audit,
    bench,
    config,
    containers,
    doctor,
    events,
    evidence,
    explain,
    gc,
    leases,
    logs,
    queue,
    run,
    serve,
    status,
    token,
    top,
)
from pool.cli.exits import MEANING, Commands
from pool.cli.options import RootUrl

__all__ = ["app", "main"]


def _lines(title: str, *lines: str) -> str:
    """Return what stands below a command's options."""
    return "\n".join([f"[dim]{title}[/dim]", *lines])


def _examples(*lines: str) -> str:
    return _lines("Examples", *(f"  [cyan]poolctl {line}[/cyan]" for line in lines))


app = typer.Typer(
    name="poolctl",
    cls=Commands,
    help="Lend pre-started containers, one user at a time.",
    epilog=_lines("Exit codes", *(f"{code:>5d}  {meaning}" for code, meaning in MEANING.items())),
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,  # they rewrite a bug's traceback; a user's mistake has none anyway
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer's signature
    if wanted:
        typer.echo(f"poolctl {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    ctx: typer.Context,
    *,
    url: RootUrl = None,
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    ctx.obj = url


def _add(group: typer.Typer, function: Callable[..., None], *examples: str, **settings: Any) -> None:
    """Make a function a command whose help is its docstring, with lines as long as the terminal is wide."""
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    flowing = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    group.command(help=flowing, epilog=_examples(*examples), **settings)(function)


_add(app, serve.serve, "serve config/pool.yaml", "serve --log-format json config/pool.yaml", "serve --remove demo.yaml")
_add(
    app,
    run.run,
    "run -- pytest tests/e2e",
    "run --pool browsers --priority critical --wait 120 -- npx playwright test",
    """run --shell 'curl "$POOL_CONTAINER_URL"'""",
    "run --many browsers=2 --many mail=1 -- pytest -n 2 tests/e2e",
    "run --shell   # a shell of your own, with a container",
    context_settings={"allow_interspersed_args": False},  # options after the command are the command's
)
_add(
    app,
    leases.acquire,
    "acquire browsers --wait 30 --timeout 600",
    "acquire --json",
    'acquire --shell   # as in eval "$(poolctl acquire --shell)"',
)
_add(
    app,
    leases.release,
    "release --outcome failed   # the lease in $POOL_LEASE",
    "release - < lease.txt",
    "release browsers/4f0c…/1790000000000000/x7Qd…",
)
_add(app, leases.extend, 'extend --by 60 --reason "slow backend"   # the lease in $POOL_LEASE')
_add(app, top.top, "top", "top browsers --once", "top --json")
_add(
    app,
    queue.queue,
    "queue browsers",
    "queue browsers --watch",
    "queue browsers --explain 4f0c…",
    "queue --json",
)
_add(app, status.status, "status", "status browsers --watch", "status --json")
_add(app, status.reset, "reset browsers-1", "reset browsers-2 --level recreate --wait")
_add(
    app,
    events.events,
    "events",
    "events -f",
    "events browsers --since 10m --type 'lease.*'",
    "events --container browsers-1 --json",
    "events --explain --type 'lease.*'",
)
_add(app, explain.explain, "explain lease.lost", "explain pool_degraded --json", "explain 'container.*'", "explain")
_add(
    app,
    analytics.analytics,
    "analytics",
    "analytics browsers --since 7d --by weekday-hour",
    "analytics --by owner --owner 'ci/*'",
    "analytics --json",
)
_add(app, logs.logs, "logs browsers-1", "logs browsers-1 -f --tail 20")
_add(app, doctor.doctor, "doctor", "doctor config/pool.yaml", "doctor --json")
_add(app, serve.demo, "demo", "demo --json")

_add(app, containers.quarantine, 'quarantine browsers-1 --reason "a look at the leak"')
_add(app, containers.restore, "restore browsers-1 --wait")
_add(app, containers.drain, "drain browsers", "drain browsers browsers-1   # the others go on")
_add(app, containers.resume, "resume browsers", "resume browsers browsers-1")
_add(app, gc.gc, "gc --dry-run", "gc config/pool.yaml")

_config = typer.Typer(no_args_is_help=True, help="Look at a configuration without starting anything.")
_add(_config, config.check, "config check config/pool.yaml")
_add(_config, config.show, "config show config/pool.yaml", "config show --json config/demo.yaml")
_add(_config, config.schema, "config schema > pool.schema.json")
app.add_typer(_config, name="config", epilog=_examples("config check config/pool.yaml", "config schema"))

_evidence = typer.Typer(no_args_is_help=True, help="See what was kept of containers before they were recovered.")
_add(_evidence, evidence.list_, "evidence list", "evidence list browsers --json", name="list")
_add(_evidence, evidence.show, "evidence show 20261121T081523")
_add(_evidence, evidence.get, "evidence get 20261121T081523 ./bundles")
app.add_typer(_evidence, name="evidence", epilog=_examples("evidence list", "evidence show 20261121T081523"))

_token = typer.Typer(no_args_is_help=True, help="Say who may use the HTTP API.")
_add(_token, token.create, "token create ci --owner ci --max-leases 4", "token create alice --role operator --json")
_add(_token, token.list_, "token list", "token list --json", name="list")
_add(_token, token.revoke, 'token revoke ci --reason "it was in a log"')
app.add_typer(_token, name="token", epilog=_examples("token create ci --owner ci", "token list", "token revoke ci"))

_audit = typer.Typer(invoke_without_command=True, callback=audit.audit)
_add(
    _audit,
    audit.verify,
    "audit verify",
    "audit verify --file audit.jsonl",
    "audit verify --pool browsers --anchor 4711:9f3c…",
)
app.add_typer(
    _audit,
    name="audit",
    epilog=_examples("audit --pool browsers --since 1h", "audit --who 'ci/*' --json", "audit -f", "audit verify"),
)

_bench = typer.Typer(no_args_is_help=True, help="Measure how fast the pool is, beside bare Redis and a bare engine.")
_add(_bench, bench.allocation, "bench allocation", "bench allocation --rounds 200 --json")
_add(_bench, bench.http, "bench http", "bench http --rounds 200 --json")
_add(_bench, bench.reset, "bench reset", "bench reset --rounds 20 --json")
app.add_typer(_bench, name="bench", epilog=_examples("bench allocation", "bench reset"))


def main() -> None:
    """Run the command line; never returns."""
    app(prog_name="poolctl")
