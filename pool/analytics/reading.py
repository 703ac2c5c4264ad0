"""Reading a pool's past: what is kept of hours that are over, and the one that is counted still."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pool.analytics.folding import fold, unpack
from pool.analytics.history import Span, total
from pool.store import HOUR_S, Connection, HistoryStore, LiveHour, add_fields, hour_of

_TRIES = 5


@dataclass(frozen=True, slots=True)
class History:
    """What is known of a pool, hour by hour.

    Attributes:
        pool: Which pool.
        since: Seconds since the epoch; the beginning of an hour.
        until: Likewise, but in the middle of the hour that is counted still.
        hours: The hours of which something is known, the earliest first.
    """

    pool: str
    since: float
    until: float
    hours: tuple[Span, ...]

    @property
    def sum(self) -> Span:
        """All of it together."""
        return total(self.hours, start=self.since, end=self.until)


async def read_history(connection: Connection, pool: str, *, since: float, until: float) -> History:
    """Return what is known of a pool; whole hours, and the one that is counted still as far as it is.

    Args:
        connection: Where to read.
        pool: The pool's name.
        since: From the hour on that this is in, in seconds since the epoch.
        until: The last moment, by the pool's clock.

    Raises:
        StoreError: Redis is away.
    """
    first, last = hour_of(since), hour_of(until)
    store = HistoryStore(connection, pool)
    live, entries = await _read(store, first, last)
    spans = await asyncio.to_thread(_fold, live, entries, until)  # a month of a large pool takes a second
    return History(pool, float(min(first, last) * HOUR_S), until, spans)


def _fold(live: Mapping[int, LiveHour], entries: Mapping[int, str], until: float) -> tuple[Span, ...]:
    spans = []
    for hour in sorted({*live, *entries}):
        fields = unpack(entries.get(hour, ""))
        if hour in live:
            add_fields(fields, live[hour].values)
        span = fold(hour, fields)
        spans.append(replace(span, end=min(span.end, max(until, span.start))))
    return tuple(spans)


async def _read(store: HistoryStore, first: int, last: int) -> tuple[dict[int, LiveHour], dict[int, str]]:
    """Return live hours and kept ones. One that is rolled up in between would be read twice: then all is read again."""
    live: dict[int, LiveHour] = {}
    entries: dict[int, str] = {}
    for _ in range(_TRIES):
        live = await _live(store, (hour for hour in await store.live_hours() if first <= hour <= last))
        entries = await store.entries(first, last)
        if set(live) <= set(await store.live_hours()):
            break
    return live, entries


async def _live(store: HistoryStore, hours: Iterable[int]) -> dict[int, LiveHour]:
    found = {hour: await store.live(hour) for hour in hours}
    return {hour: live for hour, live in found.items() if live is not None}
