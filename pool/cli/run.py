"""`poolctl run`: containers for as long as a command runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pool.cli import completion
from pool.cli.command import Command
from pool.cli.environment import bundle_environment, check_words, lease_environment, without_outer_lease
from pool.cli.exits import tell
from pool.cli.options import (
    Label,
    Metadata,
    Owner,
    PoolOption,
    PriorityOption,
    Timeout,
    Url,
    Wait,
    connected,
    wish_of,
)
from pool.errors import StoreError
from pool.models import Outcome

if TYPE_CHECKING:
    from pool.client import AsyncBundle, AsyncClient, AsyncLease


def run(
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND", help="The command and its arguments, best after a `--`."),
    ] = None,
    *,
    pool: PoolOption = None,
    many: Annotated[
        list[str] | None,
        typer.Option(
            "--many",
            metavar="POOL=N",
            help="So many containers of this pool, and all at once or none. May be repeated, for other pools.",
            autocompletion=completion.many,
        ),
    ] = None,
    shell: Annotated[
        bool,
        typer.Option("--shell", help="Run COMMAND by `sh -c`, so that it may say $POOL_…; alone: your $SHELL."),
    ] = False,
    priority: PriorityOption = "normal",
    owner: Owner = None,
    label: Label = None,
    metadata: Metadata = None,
    wait: Wait = 60,
    timeout: Timeout = None,
    url: Url = None,
) -> None:
    """Run a command that has a container to itself, or several.

    The command finds it in POOL_CONTAINER_URL, POOL_CONTAINER_HOST, POOL_CONTAINER_PORT, POOL_CONTAINER_ID and others;
    several, in POOL_<NAME>_URLS and POOL_LEASES. Signals go to the command, and its exit code comes back: 0 releases
    the lease as passed, all others as failed. A command whose lease is lost is ended.
    """
    counts = _counts(many)
    if counts and pool is not None:
        raise typer.BadParameter("give either --pool or --many, not both")
    if not command and not shell:
        raise typer.BadParameter("give a command after a `--`, or --shell for a shell of your own")
    interactive = shell and not command
    words = _shell_words(command) if shell else list(command or ())
    wish = wish_of(priority=priority, owner=owner, label=label, metadata=metadata, wait=wait, timeout=timeout)
    raise typer.Exit(asyncio.run(_run(url, counts or pool, words, wish, interactive=interactive)))


def _shell_words(command: Sequence[str] | None) -> list[str]:
    """Return what runs a command by a shell, or the user's own shell."""
    return ["/bin/sh", "-c", " ".join(command)] if command else [os.environ.get("SHELL") or "/bin/sh"]


def _counts(pairs: Sequence[str] | None) -> dict[str, int]:
    """Read what `--many` says.

    Raises:
        BadParameter: It is no POOL=N, or names a pool twice.
        InvalidRequest: The variables of two pools would have the same name.
    """
    counts: dict[str, int] = {}
    for pair in pairs or []:
        pool, _, number = pair.partition("=")
        if not pool or not number.isdecimal() or int(number) < 1:
            raise typer.BadParameter(f"--many: {pair!r} is no POOL=N with N from 1 on")
        if pool in counts:
            raise typer.BadParameter(f"--many: pool {pool!r} is named twice")
        counts[pool] = int(number)
    check_words(counts)
    return counts


async def _run(
    url: str | None,
    pools: str | Mapping[str, int] | None,
    words: Sequence[str],
    wish: Mapping[str, Any],
    *,
    interactive: bool = False,
) -> int:
    with Command(words, interactive=interactive) as command:
        try:
            async with connected(url) as client:
                held, variables = await _acquire(client, pools, command, wish)
                outer = without_outer_lease(os.environ) | ({"POOL_URL": url} if url else {})
                code = await command.run(outer | variables)
                try:
                    await held.release(Outcome.PASSED if code == 0 or command.process is None else Outcome.FAILED)
                except StoreError as error:
                    tell("warning", f"the lease was not given back and lapses by itself: {error.message}")
                return code
        except asyncio.CancelledError:
            if command.withdrawn_by is None:
                raise
            return 128 + command.withdrawn_by


async def _acquire(
    client: AsyncClient, pools: str | Mapping[str, int] | None, command: Command, wish: Mapping[str, Any]
) -> tuple[AsyncLease | AsyncBundle, dict[str, str]]:
    """Get what the command needs, and the variables that tell it so."""
    from pool.cli import waiting

    told = {**wish, "on_lost": command.end, "on_deadline": command.warn}
    if not isinstance(pools, Mapping):
        lease = await waiting.acquire(client, pools, **told)
        return lease, lease_environment(lease.data)
    bundle = await waiting.acquire_many(client, pools, **told)
    return bundle, bundle_environment({pool: [lease.data for lease in bundle[pool]] for pool in bundle.pools})
