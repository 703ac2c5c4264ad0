"""Who adds to the counters: the manager that leads a pool, from its events, and what it knows besides."""

from __future__ import annotations

import secrets
from collections import Counter

from pool.metrics.counting import count, field_of
from pool.store import Connection, MetricsStore, event_order, read_events

#: Events read at once.
_BATCH = 500


class Bookkeeper:
    """Counts what happens in a pool. Any number of them may do so at once: each event counts once.

    Args:
        connection: To Redis.
        pool: Which pool.
    """

    def __init__(self, connection: Connection, pool: str) -> None:
        self._connection = connection
        self._pool = pool
        self._store = MetricsStore(connection, pool)
        self._name = secrets.token_hex(6)
        self._turns = 0
        self._noted: Counter[str] = Counter()
        self._sent: tuple[str, Counter[str]] = ("", Counter())

    def note(self, name: str, *labels: str) -> None:
        """Count what is no event: it is added at the next look, and lost if the process dies before."""
        self._noted[field_of(name, *labels)] += 1

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
        if self._sent[0] and position.turn == self._sent[0]:
            self._settle()  # our last addition was made after all, and only its reply was lost
        events = await read_events(self._connection, self._pool, after=position.seen, count=_BATCH)
        added = Counter(self._noted)
        for event in events:
            added.update(count(event))
        if events and await self._trimmed(position.seen):
            added[field_of("pool_event_gaps_total")] += 1
        if not added and not events:
            return False
        self._turns += 1
        self._sent = (f"{self._name}-{self._turns}", Counter(self._noted))
        seen = events[-1].id if events else position.seen
        if await self._store.count(position.turn, self._sent[0], seen=seen, added=added):
            self._settle()
            return len(events) == _BATCH
        self._sent = ("", Counter())
        return False  # another manager counts, too: go on after it, at the next look

    def _settle(self) -> None:
        self._noted -= self._sent[1]
        self._sent = ("", Counter())

    async def _trimmed(self, seen: str) -> bool:
        """Whether events after one that was counted may be gone already."""
        if seen == "-":
            return False
        oldest = await read_events(self._connection, self._pool, count=1)
        return bool(oldest) and event_order(oldest[0].id) > event_order(seen)
