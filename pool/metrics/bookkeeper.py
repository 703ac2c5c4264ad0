"""Who adds to the counters: the manager that leads a pool, from its events, and what it knows besides."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from pool.metrics.counting import count, field_of
from pool.models import Event
from pool.store import Additions, Connection, Fields, HourRules, MetricsStore, hour_of, read_events, were_trimmed

#: Events read at once.
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Hourly:
    """How events count in the hour in which they happened.

    Attributes:
        count: What an event adds to its hour.
        rules: How hours are kept.
    """

    count: Callable[[Event], Fields]
    rules: HourRules


@dataclass(slots=True)
class _Noted:
    """What is known besides the events."""

    counters: Counter[str] = field(default_factory=Counter)
    hours: Additions = field(default_factory=Additions)

    def update(self, other: _Noted) -> None:
        self.counters.update(other.counters)
        self.hours.update(other.hours)


class Bookkeeper:
    """Counts what happens in a pool. Any number of them may do so at once: each event counts once.

    Args:
        connection: To Redis.
        pool: Which pool.
        hourly: How events count in their hour; None where they do not.
    """

    def __init__(self, connection: Connection, pool: str, hourly: Hourly | None = None) -> None:
        self._connection = connection
        self._pool = pool
        self._hourly = hourly
        self._store = MetricsStore(connection, pool)
        self._name = secrets.token_hex(6)
        self._turns = 0
        self._noted = _Noted()
        self._sent: tuple[str, _Noted] = ("", _Noted())

    def note(self, name: str, *labels: str) -> None:
        """Count what is no event: it is added at the next look, and lost if the process dies before."""
        self._noted.counters[field_of(name, *labels)] += 1

    def note_hour(self, hour: int, values: Fields) -> None:
        """Add to an hour what is no event, by its number since the epoch; likewise at the next look."""
        self._noted.hours.add(hour, values)

    async def look(self) -> None:
        """Count what happened since somebody looked last.

        Raises:
            StoreError: Redis is away; the next look makes up for it.
        """
        while await self._step():
            pass

    async def _step(self) -> bool:
        """Count the next events; returns whether there may be more."""
        position = await self._store.position()
        self._settle(position.turn)
        events = await read_events(self._connection, self._pool, after=position.seen, count=_BATCH)
        sum_ = _Noted()
        sum_.update(self._noted)
        for event in events:
            sum_.counters.update(count(event))
            if self._hourly is not None:
                sum_.hours.add(hour_of(event.at), self._hourly.count(event))
        if events and await were_trimmed(self._connection, self._pool, after=position.seen):
            sum_.counters[field_of("pool_event_gaps_total")] += 1
        if not events and not sum_.counters and not sum_.hours.hours:
            return False
        seen = events[-1].id if events else position.seen
        self._turns += 1
        turn, (self._noted, noted) = f"{self._name}-{self._turns}", (_Noted(), self._noted)
        self._sent = (turn, noted)
        made = await self._store.count(
            position.turn,
            turn,
            seen=seen,
            added=sum_.counters,
            hours=sum_.hours,
            rules=self._hourly.rules if self._hourly else None,
        )
        self._settle(turn if made else "")
        return made and len(events) == _BATCH  # where another manager counts, too: go on after it, at the next look

    def _settle(self, turn: str) -> None:
        """Take back what was noted in our last addition, unless that is the one that was made last.

        So it is not lost when somebody else was first, nor added again when only the reply was lost.
        """
        sent, noted = self._sent
        if sent and sent != turn:
            self._noted.update(noted)
        self._sent = ("", _Noted())
