"""`poolctl acquire` and `poolctl release`: a lease that outlives the process that took it."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from typing import Annotated

import typer

from pool.cli.environment import lease_environment
from pool.cli.exits import printable, tell
from pool.cli.options import (
    Json,
    Label,
    Metadata,
    OutcomeOption,
    Owner,
    PoolArgument,
    PriorityOption,
    Timeout,
    Url,
    Wait,
    connected,
    wish_of,
)
from pool.models import LeaseData, rfc3339

#: A lease that nobody renews lasts this long where neither --ttl nor --timeout says how long.
_TTL_S = 120.0


def acquire(
    pool: PoolArgument = None,
    *,
    priority: PriorityOption = "normal",
    owner: Owner = None,
    label: Label = None,
    metadata: Metadata = None,
    wait: Wait = 60,
    timeout: Timeout = None,
    ttl: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help=f"The lease lapses after so long. By default --timeout, else {_TTL_S:g} s."
        ),
    ] = None,
    request_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Names the request; asked again, it gets the same lease.")
    ] = None,
    as_json: Json = False,
    as_shell: Annotated[bool, typer.Option("--shell", help="Write export lines for eval.")] = False,
    url: Url = None,
) -> None:
    """Take a container and keep it after this command ends.

    Nothing renews the lease: give it back with `poolctl release`, or it lapses. Where a command is to use the
    container, `poolctl run` is simpler and safer.
    """
    if as_json and as_shell:
        raise typer.BadParameter("give either --json or --shell, not both")
    write = _write_json if as_json else _write_shell if as_shell else _write_lines
    ttl_s = ttl if ttl is not None else timeout if timeout and timeout > 0 else _TTL_S  # 0 is refused by its own name
    wish = wish_of(priority=priority, owner=owner, label=label, metadata=metadata, wait=wait, timeout=timeout)

    async def take() -> None:
        from pool.cli import waiting

        async with connected(url) as client:
            lease = await waiting.acquire(client, pool, request_id=request_id, ttl_s=ttl_s, **wish)
            write(lease.data)
            sys.stdout.flush()  # before we let go: a lease that nobody was told of would be lost for its ttl
            await lease.detach()

    asyncio.run(take())


def _write_json(lease: LeaseData) -> None:
    typer.echo(json.dumps(lease.to_json(), indent=2))
    _remind(lease, f"poolctl release {lease.ref}")


def _write_shell(lease: LeaseData) -> None:
    for name, value in lease_environment(lease).items():
        typer.echo(f"export {name}={shlex.quote(value)}")
    _remind(lease, "poolctl release")


def _write_lines(lease: LeaseData) -> None:
    for name, value in {
        "container": lease.container.id,
        "url": lease.url,
        "pool": lease.pool,
        "owner": f"{lease.owner}, {lease.priority.label}",
        "lease": lease.ref,
    }.items():
        typer.echo(f"{name:<11}{printable(value)}")
    _remind(lease, f"poolctl release {lease.ref}")


def _remind(lease: LeaseData, command: str) -> None:
    lasts_s = lease.expires_at - lease.granted_at
    tell("note", f"give it back with `{command}`; it lapses in {lasts_s:.0f} s, at {rfc3339(lease.expires_at)}")


LeaseArgument = Annotated[
    str,
    typer.Argument(
        metavar="LEASE",
        envvar="POOL_LEASE",
        help="The lease that acquire wrote. `-`: read it from stdin, where no process list shows it.",
    ),
]


def _read_lease(lease: str) -> str:
    return sys.stdin.readline() if lease == "-" else lease


def extend(
    lease: LeaseArgument,
    *,
    by: Annotated[float, typer.Option("--by", metavar="SECONDS", help="How much further the deadline moves.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is recorded.")],
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Move the deadline of a lease that `poolctl acquire` took."""
    ref = _read_lease(lease)

    async def move() -> LeaseData:
        async with connected(url) as client:
            return await client.extend(ref, by, reason)

    extended = asyncio.run(move())
    if as_json:
        typer.echo(json.dumps(extended.to_json(), indent=2))
    else:
        typer.echo(f"deadline   {rfc3339(extended.deadline_at)}, extended {extended.extensions_used} times")


def release(
    lease: LeaseArgument,
    *,
    outcome: OutcomeOption = "passed",
    url: Url = None,
) -> None:
    """Give back a container that `poolctl acquire` took."""
    ref = _read_lease(lease)

    async def give_back() -> None:
        async with connected(url) as client:
            await client.release(ref, outcome)

    asyncio.run(give_back())
