"""`poolctl token`: who may use the HTTP API, and who may not any more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pool.cli import completion
from pool.cli.exits import tell
from pool.cli.options import Json, Url, opened, refuse_http
from pool.models import rfc3339

if TYPE_CHECKING:
    from pool.store import Connection, TokenRecord

_NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Who uses it, such as ci or alice.")]


def create(
    name: _NameArgument,
    *,
    role: Annotated[str, typer.Option(metavar="ROLE", help="client, or operator: everything.")] = "client",
    owner: Annotated[
        str | None,
        typer.Option(metavar="OWNER", help="It may only ask for this owner, and for whatever begins with OWNER/."),
    ] = None,
    pools: Annotated[
        list[str] | None,
        typer.Option(
            "--pool", "-p", metavar="POOL", help="Only this pool. May be repeated.", autocompletion=completion.pools
        ),
    ] = None,
    max_leases: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Leases that its owner may hold at once, in all pools.")
    ] = None,
    max_queued: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Requests of its owner that may wait at once.")
    ] = None,
    expires_days: Annotated[
        float | None,
        typer.Option(metavar="DAYS", help="Not valid any more after so many days. By default it never ends."),
    ] = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Make an API token and print it, once: nobody can show it again.

    Redis keeps only its digest. From the first token on, every server of this Redis asks for one, on loopback too.
    """
    wish: dict[str, Any] = {
        "role": role, "owner": owner, "pools": pools or (), "max_leases": max_leases, "max_queued": max_queued,
        "expires_days": expires_days,
    }  # fmt: skip
    record, token = asyncio.run(_create(url, name, wish))
    if as_json:
        typer.echo(json.dumps(token_json(record) | {"token": token}, indent=2))
        return
    typer.echo(token)
    tell("kept", f"{record.name} ({record.id}, {record.role}); the token itself is not shown again", style="dim")


async def _create(url: str | None, name: str, wish: dict[str, Any]) -> tuple[TokenRecord, str]:
    from pool.access import TokenKeeper
    from pool.audit import AccessJournal
    from pool.client.direct import default_owner
    from pool.store import TokenStore

    async with _opened(url) as connection:
        by = default_owner()
        record, token = await TokenKeeper(TokenStore(connection)).create(name, by=by, **wish)
        facts = {key: str(value) for key, value in token_json(record).items() if value not in (None, [], {})}
        what = f"token {record.name}"
        await AccessJournal(connection).record("token.created", who=by, what=what, result="created", facts=facts)
    return record, token


def list_(*, as_json: Json = False, url: Url = None) -> None:
    """Show all tokens that were ever made, without what they prove."""
    records = asyncio.run(_list(url))
    if as_json:
        typer.echo(json.dumps({"tokens": [token_json(record) for record in records]}, indent=2))
        return
    if not records:
        typer.echo("no token was ever made: a server on loopback lets everybody in, and others do not start")
        return
    from pool.cli.tables import Column, FittingTable, open_console

    table = FittingTable(
        "name", "state", "role", Column("owner", least=8), Column("pools", least=8, leaves=2),
        Column("limits", least=8, leaves=3), Column("last used", leaves=1), Column("id", leaves=4),
    )  # fmt: skip
    for record in records:
        table.add_row(
            record.name, _state(record), record.role, record.owner or "any", ", ".join(record.pools) or "all",
            ", ".join(f"{name} {most}" for name, most in record.limits.items()) or "none",
            _when(record.last_used_at) or "never", record.id,
        )  # fmt: skip
    open_console().print(table)


async def _list(url: str | None) -> list[TokenRecord]:
    from pool.access import TokenKeeper
    from pool.store import TokenStore

    async with _opened(url) as connection:
        return await TokenKeeper(TokenStore(connection)).list()


def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name or id of the token.")],
    *,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; the audit keeps it.")] = "",
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Make a token invalid. Every server notices within about a second; leases that it took go on."""
    record = asyncio.run(_revoke(url, name, reason))
    if as_json:
        typer.echo(json.dumps({"id": record.id, "name": record.name, "revoked": True}, indent=2))
    else:
        typer.echo(f"{record.name} ({record.id}): revoked")


async def _revoke(url: str | None, name: str, reason: str) -> TokenRecord:
    from pool.access import TokenKeeper
    from pool.audit import AccessJournal
    from pool.client.direct import default_owner
    from pool.store import TokenStore

    async with _opened(url) as connection:
        record = await TokenKeeper(TokenStore(connection)).revoke(name)
        await AccessJournal(connection).record(
            "token.revoked", who=default_owner(), what=f"token {record.name}", why=reason, result="revoked",
            facts={"id": record.id},
        )  # fmt: skip
        return record


@asynccontextmanager
async def _opened(url: str | None) -> AsyncIterator[Connection]:
    """Connect to Redis; the private server is started where it does not run, since tokens come before `serve`."""
    from pool.embedded import resolve_url

    refuse_http(url, "tokens are made where they are kept")
    async with opened(await asyncio.to_thread(resolve_url, url)) as connection:
        yield connection


def token_json(record: TokenRecord) -> dict[str, Any]:
    """Return a token as plain JSON types, without what it proves."""

    def moment(seconds: float | None) -> str | None:
        return None if seconds is None else rfc3339(seconds)

    return {
        "id": record.id,
        "name": record.name,
        "role": record.role,
        "owner": record.owner,
        "pools": list(record.pools),
        "limits": dict(record.limits),
        "created_at": moment(record.created_at),
        "created_by": record.created_by,
        "expires_at": moment(record.expires_at),
        "revoked_at": moment(record.revoked_at),
        "last_used_at": moment(record.last_used_at),
    }


def _state(record: TokenRecord) -> str:
    if record.revoked_at is not None:
        return "revoked"
    if record.expires_at is None:
        return "valid"
    over = record.expires_at <= datetime.now(UTC).timestamp()
    return "expired" if over else f"valid until {_when(record.expires_at)}"


def _when(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
