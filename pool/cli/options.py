"""What several commands have in common: their options, and the way to the pools."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pool.cli import completion
from pool.errors import ConfigError, InvalidRequest, StoreUnavailable

if TYPE_CHECKING:
    from pool.client import AsyncClient
    from pool.store import Connection

DEFAULT_CONFIG = Path("config/pool.yaml")


def _given_before(ctx: typer.Context, value: str | None) -> str | None:
    """Let `poolctl --url URL status` mean the same as `poolctl status --url URL`."""
    return value or ctx.obj


_URL_HELP = (
    "Where the pools are: redis://, rediss:// or unix://, or http(s):// of a manager, with $POOL_TOKEN. "
    "By default $POOL_URL, else your private Redis."
)

RootUrl = Annotated[
    str | None, typer.Option("--url", metavar="URL", help=_URL_HELP, envvar="POOL_URL", show_envvar=False)
]
Url = Annotated[str | None, typer.Option("--url", metavar="URL", help=_URL_HELP, callback=_given_before)]
PoolOption = Annotated[
    str | None,
    typer.Option(
        "--pool",
        "-p",
        metavar="POOL",
        help="Name of the pool. Needed where there are several.",
        autocompletion=completion.pools,
    ),
]
PoolArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="POOL", help="Name of the pool. Needed where there are several.", autocompletion=completion.pools
    ),
]
AnyPool = Annotated[
    str | None,
    typer.Argument(metavar="POOL", help="Name of a pool. All by default.", autocompletion=completion.pools),
]
ContainerArgument = Annotated[
    str,
    typer.Argument(
        metavar="CONTAINER", help="Id of the container, such as browsers-1.", autocompletion=completion.containers
    ),
]
PriorityOption = Annotated[
    str,
    typer.Option(
        metavar="PRIORITY",
        help="critical, high, normal or low.",
        autocompletion=completion.priorities,
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


def wish_of(
    *,
    priority: str,
    owner: str | None,
    label: str | None,
    metadata: list[str] | None,
    wait: float,
    timeout: float | None,
) -> dict[str, Any]:
    """Return what these options ask for, as `AsyncClient.acquire` takes it.

    Raises:
        BadParameter: The metadata are no NAME=VALUE.
    """
    return {
        "priority": priority,
        "owner": owner,
        "label": label,
        "metadata": metadata_of(metadata) or None,
        "wait_s": wait,
        "timeout_s": timeout,
    }


OutcomeOption = Annotated[
    str,
    typer.Option(
        metavar="OUTCOME",
        help="passed, failed or error: how thoroughly the container is reset.",
        autocompletion=completion.outcomes,
    ),
]
LevelOption = Annotated[
    str,
    typer.Option(
        metavar="LEVEL",
        help="soft, medium, hard or recreate.",
        autocompletion=completion.levels,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; the audit keeps it.")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Refresh every second, until Ctrl-C.")]
ConfigArgument = Annotated[
    Path | None,
    typer.Argument(metavar="CONFIG", help=f"YAML file. By default {DEFAULT_CONFIG}.", envvar="POOL_CONFIG"),
]


def config_path(path: Path | None) -> Path:
    """Return the configuration to use.

    Raises:
        ConfigError: None is given, and there is none at the default place.
    """
    if path is None and not DEFAULT_CONFIG.is_file():
        raise ConfigError(
            f"no configuration is given, and there is no {DEFAULT_CONFIG} here", hint="name a file, or set POOL_CONFIG"
        )
    return path or DEFAULT_CONFIG


def is_http(url: str | None) -> bool:
    """Whether a URL names a manager's HTTP API rather than a Redis."""
    return (url or "").partition("://")[0].lower() in ("http", "https")


def address(url: str | None) -> str:
    """Return where the pools are: what is given, or the private server, which is found, never started.

    Raises:
        StoreUnavailable: No URL is given and no private server runs.
    """
    from pool.embedded import find_server

    server = None if url else find_server()
    if not url and server is None:
        raise StoreUnavailable("no pool runs here", hint="start one with `poolctl serve CONFIG`, or give --url")
    return url or (server.url if server else "")


def refuse_http(url: str | None, why: str) -> None:
    """Refuse a manager's HTTP API where Redis itself is needed.

    Raises:
        InvalidRequest: The URL names one; `why` says why that does not do.
    """
    if is_http(url):
        raise InvalidRequest("url", url, f"{why}: give the URL of Redis, or none")


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Connection]:
    """Connect to a Redis that can run the pool's commands.

    Raises:
        StoreUnavailable: Nobody answers.
        StoreUnsupported: The server cannot run them.
    """
    from pool.store import Connection

    connection = Connection(url)
    try:
        await connection.check()
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def connected(url: str | None, *, patience_s: float = 10.0) -> AsyncIterator[AsyncClient]:
    """Connect to the pools. A private server is found, never started: an empty one would hold no pool.

    Args:
        url: Of Redis; None for the private server.
        patience_s: How long a call may wait for a server that is away, in seconds.

    Raises:
        StoreUnavailable: No URL is given and no private server runs, or nobody answers.
        StoreUnsupported: The server cannot run the pool's commands.
    """
    from pool.client import connect_async

    async with connect_async(address(url), patience_s=patience_s) as client:
        yield client
