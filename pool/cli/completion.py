"""What the shell offers at the Tab key: names out of the running pools, and words that are always the same.

A shell that waits for a completion hangs, and what goes wrong has no place to be shown: whatever does not answer soon
offers nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import typer

from pool.errors import PoolError
from pool.models import Outcome, PoolStatus, Priority, ResetLevel

if TYPE_CHECKING:
    from pool.client import AsyncClient

#: Longer than any server takes that is there.
_PATIENCE_S = 2.0


def priorities(incomplete: str) -> list[str]:
    """Offer the priorities."""
    return _beginning(incomplete, [priority.label for priority in Priority])


def outcomes(incomplete: str) -> list[str]:
    """Offer the outcomes of a lease."""
    return _beginning(incomplete, [outcome.value for outcome in Outcome])


def levels(incomplete: str) -> list[str]:
    """Offer the levels of a reset."""
    return _beginning(incomplete, [level.label for level in ResetLevel if level])


def event_types(incomplete: str) -> list[str]:
    """Offer the kinds of events, and all their types."""
    from pool.catalogue.events import EVENTS

    kinds = sorted({f"{name.partition('.')[0]}.*" for name in EVENTS})
    return _beginning(incomplete, [*kinds, *sorted(EVENTS)])


def explained(incomplete: str) -> list[str]:
    """Offer the names of all that `poolctl explain` knows."""
    from pool.cli.explain import beginning

    return _beginning(incomplete, sorted({each.name for each in beginning(incomplete)}))


def pools(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the pools there are."""

    async def names(client: AsyncClient) -> list[str]:
        return await client.pools()

    return _beginning(incomplete, _asked(ctx, names))


def many(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the pools, each with an equals sign."""
    return [f"{name}=" for name in pools(ctx, incomplete)]


def containers(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the containers of the pool that is named, or of all."""
    found = _asked(ctx, lambda client: _in_statuses(ctx, client, _container_ids))
    return _beginning(incomplete, found)


def requests(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the requests that wait in the pool that is named, or in all."""
    found = _asked(ctx, lambda client: _in_statuses(ctx, client, _request_ids))
    return _beginning(incomplete, found)


def bundles(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the bundles of evidence on this host."""
    from pool.cli.evidence import bundles_at

    try:
        found = bundles_at(ctx.params.get("config"), ctx.params.get("directory"))
    except (PoolError, OSError):
        return []
    return _beginning(incomplete, [bundle.id for bundle in found])


def _container_ids(status: PoolStatus) -> list[str]:
    return [record.id for record in status.containers]


def _request_ids(status: PoolStatus) -> list[str]:
    return [request.request_id for request in status.queue]


async def _in_statuses(ctx: typer.Context, client: AsyncClient, read: Callable[[PoolStatus], list[str]]) -> list[str]:
    named = ctx.params.get("pool")
    return [name for pool in ([named] if named else await client.pools()) for name in read(await client.status(pool))]


def _asked(ctx: typer.Context, work: Callable[[AsyncClient], Awaitable[list[str]]]) -> list[str]:
    """Ask the pools, by the URL that was given so far."""
    from pool.cli.options import connected

    given = [context.params.get("url") for context in (ctx, ctx.parent) if context is not None]

    async def ask() -> list[str]:
        async with asyncio.timeout(_PATIENCE_S), connected(next(filter(None, given), None), patience_s=0) as client:
            return await work(client)

    try:
        return asyncio.run(ask())
    except (PoolError, OSError):  # of which TimeoutError is one
        return []


def _beginning(incomplete: str, words: list[str]) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]
