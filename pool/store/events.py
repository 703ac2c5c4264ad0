"""Reading a pool's event stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pool.models import Event
from pool.store.connection import Connection


async def read_events(connection: Connection, pool: str, *, after: str = "-", count: int = 1000) -> list[Event]:
    """Return events of a pool, oldest first.

    Args:
        connection: Where to read.
        pool: The pool's name.
        after: The id of the last event already known; `-` for the beginning of what is kept.
        count: How many at most.
    """
    start = "-" if after == "-" else f"({after}"
    async with connection.plain() as redis:
        entries: Any = await redis.xrange(f"cp:{{{pool}}}:events", start, "+", count=count)
    return [to_event(entry_id, fields) for entry_id, fields in entries]


def to_event(entry_id: str, fields: Mapping[str, str]) -> Event:
    """Read an entry of the stream."""
    facts = dict(fields)
    return Event(id=entry_id, type=facts.pop("type"), at=int(facts.pop("at")) / 1e6, fields=facts)


async def were_trimmed(connection: Connection, pool: str, *, after: str) -> bool:
    """Whether events after a known one may be gone already: the oldest that is kept is younger than it.

    Args:
        connection: Where to read.
        pool: The pool's name.
        after: The id of the last event known; `-` for none, after which nothing is missed.
    """
    if after == "-":
        return False
    oldest = await read_events(connection, pool, count=1)
    return bool(oldest) and event_order(oldest[0].id) > event_order(after)


def event_order(event_id: str) -> tuple[int, int]:
    """Turn an event's id into what compares as the stream orders it; `-` and nothing stand before all."""
    moment, _, number = event_id.partition("-")
    return int(moment or 0), int(number or 0)
