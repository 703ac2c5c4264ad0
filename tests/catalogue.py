"""Holds what happened in tests against the catalogue of events: every type known, every fact told of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pool.catalogue.events import EVENTS
from pool.models import Event
from pool.store import Connection, read_events

#: More than the stream of any test has.
_ALL = 50_000


def strangers(events: Iterable[Event]) -> list[str]:
    """Types that the catalogue does not have, and facts that it does not tell of; those of tests' own are left out."""
    return sorted({strange for event in events for strange in unexplained(event.type, event.fields)})


def unexplained(kind: str, facts: Mapping[str, str]) -> list[str]:
    """What the catalogue does not know of one event."""
    if kind in EVENTS:
        return [f"{kind}: {name}" for name in facts if name not in EVENTS[kind].facts]
    return [] if kind.startswith("test.") else [kind]


async def expect_known_events(connection: Connection, pool: str) -> None:
    """Fail if something happened in a pool that the catalogue does not explain."""
    strange = strangers(await read_events(connection, pool, count=_ALL))
    assert not strange, f"not in pool/catalogue/events.py: {strange}"
