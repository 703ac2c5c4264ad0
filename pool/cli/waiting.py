"""Asking for containers at a terminal, whose user wants to see how the queue moves."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from rich.console import Console

from pool.client import AsyncBundle, AsyncClient, AsyncLease
from pool.errors import PoolError

#: No word about waits shorter than this.
_SILENT_S = 0.3
_REFRESH_S = 0.5


async def acquire(client: AsyncClient, pool: str | None, *, request_id: str | None = None, **wish: Any) -> AsyncLease:
    """Get a lease; on a terminal, show on stderr the place in the queue meanwhile. See `AsyncClient.acquire`."""
    request_id = request_id if request_id is not None else secrets.token_hex(8)
    async with _place_shown(client, [pool] if pool else (), request_id):
        return await client.acquire(pool, request_id=request_id, **wish)


async def acquire_many(client: AsyncClient, pools: Mapping[str, int], **wish: Any) -> AsyncBundle:
    """Get a bundle, showing the same. See `AsyncClient.acquire_many`."""
    request_id = secrets.token_hex(8)
    async with _place_shown(client, tuple(pools), request_id):
        return await client.acquire_many(pools, request_id=request_id, **wish)


@asynccontextmanager
async def _place_shown(client: AsyncClient, pools: Iterable[str], request_id: str) -> AsyncIterator[None]:
    console = Console(stderr=True)
    asking = asyncio.create_task(_show_place(console, client, pools, request_id)) if console.is_terminal else None
    try:
        yield
    finally:
        if asking is not None:
            asking.cancel()
            await asyncio.wait([asking])


async def _show_place(console: Console, client: AsyncClient, pools: Iterable[str], request_id: str) -> None:
    await asyncio.sleep(_SILENT_S)
    with console.status("waiting for a container") as line:
        while True:
            with suppress(PoolError):  # whoever asks for the container raises it
                for name in pools or await client.pools():
                    for request in (await client.status(name)).queue:
                        if request.request_id == request_id or request.request_id.startswith(f"{request_id}."):
                            line.update(f"waiting for a container of {name}, position {request.position}")
            await asyncio.sleep(_REFRESH_S)
