"""The pools' events, wherever they come from."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pool.cli.options import address, is_http, opened
from pool.models import Event

if TYPE_CHECKING:
    from pool.cli.remote import RemoteFeed
    from pool.store import Connection

_PAGE = 1000


class Feed:
    """The events that Redis keeps, and those to come.

    Args:
        connection: To Redis.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def kept(self, pool: str | None, since_s: float) -> tuple[list[tuple[str, Event]], dict[str, str]]:
        """Return what happened in a pool, or in all, oldest first, and the last event that there is of each pool.

        Args:
            pool: The pool; None for all.
            since_s: Not what happened before, in seconds since the epoch.

        Raises:
            UnknownPool: There is no such pool.
        """
        from pool.store import PoolStore, pool_names, read_events

        if pool is not None:
            await PoolStore(self._connection, pool).status()  # tells an unknown pool from one where nothing happened
        found: list[tuple[str, Event]] = []
        known: dict[str, str] = {}
        for name in [pool] if pool is not None else await pool_names(self._connection):
            known[name] = f"{max(int(since_s * 1000) - 1, 0)}-0"  # the ids are times
            while page := await read_events(self._connection, name, after=known[name], count=_PAGE):
                found += [(name, event) for event in page]
                known[name] = page[-1].id
        return sorted(found, key=lambda each: each[1].at), known

    async def news(self, pool: str | None, known: Mapping[str, str]) -> AsyncGenerator[tuple[str, Event], None]:
        """Yield what happens from then on, in pools that come later, too.

        Args:
            pool: The pool; None for all.
            known: The last event that is known of each pool.
        """
        from pool.store import follow, pool_names

        async def names() -> list[str]:
            return await pool_names(self._connection)

        async for found in follow(self._connection, names if pool is None else [pool], after=known):
            yield found


@asynccontextmanager
async def open_feed(url: str | None) -> AsyncIterator[Feed | RemoteFeed]:
    """Connect to the events, in Redis or over HTTP.

    Raises:
        StoreUnavailable: No URL is given and no private server runs, or nobody answers.
    """
    place = address(url)
    if is_http(place):
        from pool.cli.remote import RemoteFeed, remote

        async with remote(place) as api:
            yield RemoteFeed(api)
        return
    async with opened(place) as connection:
        yield Feed(connection)
