"""What several commands have in common: their options, and the way to the pools."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pool.errors import ConfigError, StoreUnavailable
from pool.models import Outcome, Priority, ResetLevel

if TYPE_CHECKING:
    from pool.client import AsyncClient

_DEFAULT_CONFIG = Path("config/pool.yaml")


def _given_before(ctx: typer.Context, value: str | None) -> str | None:
    """Let `poolctl --url URL status` mean the same as `poolctl status --url URL`."""
    return value or ctx.obj


_URL_HELP = "Redis of the pools: redis://, rediss:// or unix://. By default $POOL_URL, else your private server."

RootUrl = Annotated[
    str | None, typer.Option("--url", metavar="URL", help=_URL_HELP, envvar="POOL_URL", show_envvar=False)
]
Url = Annotated[str | None, typer.Option("--url", metavar="URL", help=_URL_HELP, callback=_given_before)]
PoolOption = Annotated[
    str | None, typer.Option("--pool", "-p", metavar="POOL", help="Name of the pool. Needed where there are several.")
]
PoolArgument = Annotated[
    str | None, typer.Argument(metavar="POOL", help="Name of the pool. Needed where there are several.")
]
PriorityOption = Annotated[
    str,
    typer.Option(
        metavar="PRIORITY",
        help="critical, high, normal or low.",
        autocompletion=lambda: [priority.label for priority in Priority],
    ),
]
Owner = Annotated[str | None, typer.Option(metavar="OWNER", help="Who asks, such as a test run. By default user@host.")]
Wait = Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait for a free container; 0: not at all.")]
Timeout = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="The lease's longest life. By default what the pool says.")
]
Label = Annotated[
    str | None,
    typer.Option(
        metavar="LABEL",
        help="Kind of work: without --timeout, earlier leases of the label say how long. By default the owner.",
    ),
]


def metadata_of(pairs: list[str] | None) -> dict[str, str]:
    """Read what `--metadata` says.

    Raises:
        BadParameter: It is no NAME=VALUE.
    """
    for pair in pairs or []:
        if pair.find("=") < 1:
            raise typer.BadParameter(f"--metadata: {pair!r} is no NAME=VALUE")
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs or [])}


Metadata = Annotated[
    list[str] | None,
    typer.Option(
        "--metadata",
        metavar="NAME=VALUE",
        help="What the request says about itself, kept with the lease and shown by `status --json`. May be repeated.",
    ),
]
OutcomeOption = Annotated[
    str,
    typer.Option(
        metavar="OUTCOME",
        help="passed, failed or error: how thoroughly the container is reset.",
        autocompletion=lambda: [outcome.value for outcome in Outcome],
    ),
]
LevelOption = Annotated[
    str,
    typer.Option(
        metavar="LEVEL",
        help="soft, medium, hard or recreate.",
        autocompletion=lambda: [level.label for level in ResetLevel if level],
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON.")]
ConfigArgument = Annotated[
    Path | None,
    typer.Argument(metavar="CONFIG", help=f"YAML file. By default {_DEFAULT_CONFIG}.", envvar="POOL_CONFIG"),
]


def config_path(path: Path | None) -> Path:
    """Return the configuration to use.

    Raises:
        ConfigError: None is given, and there is none at the default place.
    """
    if path is None and not _DEFAULT_CONFIG.is_file():
        raise ConfigError(
            f"no configuration is given, and there is no {_DEFAULT_CONFIG} here", hint="name a file, or set POOL_CONFIG"
        )
    return path or _DEFAULT_CONFIG


@asynccontextmanager
async def connected(url: str | None) -> AsyncIterator[AsyncClient]:
    """Connect to the pools. A private server is found, never started: an empty one would hold no pool.

    Raises:
        StoreUnavailable: No URL is given and no private server runs, or nobody answers.
        StoreUnsupported: The server cannot run the pool's commands.
    """
    from pool.client import AsyncClient
    from pool.embedded import find_server

    server = None if url else find_server()
    if not url and server is None:
        raise StoreUnavailable("no pool runs here", hint="start one with `poolctl serve CONFIG`, or give --url")
    async with AsyncClient(url or (server.url if server else None)) as client:
        yield client
