"""Who writes the chains: the manager of a pool from its events, everybody who lets people in of that."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pool.audit.chain import Head, extend, read_entry
from pool.audit.describe import MANAGER, describe, is_audited
from pool.audit.file import AuditFile
from pool.errors import StoreUnavailable
from pool.models import Event, rfc3339
from pool.redaction import redact
from pool.store import ACCESS, AuditStore, Connection, Link, event_order, read_events, were_trimmed

#: Events read at once; an entry for each, at most, goes to Redis in one script.
_BATCH = 500
#: Entries kept of the chain of who was let in.
_ACCESS_KEPT = 100_000
#: How often to build anew on what others appended meanwhile.
_TRIES = 50


class Auditor:
    """Appends what happened in a pool to its chain, and the chain to a file. Two of them at once do no harm.

    Args:
        connection: To Redis.
        pool: Which pool.
        keep: About how many entries to keep.
        file: Where to append them, too.
        others: Further chains to append to the file, which others write.
    """

    def __init__(
        self,
        connection: Connection,
        pool: str,
        *,
        keep: int,
        file: AuditFile | None = None,
        others: Sequence[str] = (),
    ) -> None:
        self._connection = connection
        self._pool = pool
        self._store = AuditStore(connection, pool)
        self._keep = keep
        self._file = file
        self._filed = [self._store, *(AuditStore(connection, name) for name in others)]
        self._seen = ""

    async def look(self) -> None:
        """Audit what happened since the last look.

        Raises:
            StoreError: Redis is away; the next look goes on where this one was.
        """
        for _ in range(_TRIES):
            if await self._catch_up():
                break
            self._seen = ""  # another manager audits, too, or a look of ours was cut off: go on after what is written
        if self._file is not None:
            for chain in self._filed:
                await self._file.copy(chain)

    async def _catch_up(self) -> bool:
        """Append what is not in the chain yet; returns False if it was appended meanwhile."""
        if not self._seen:
            link = await self._store.head()
            entry = read_entry(link.text) if link else None
            self._seen = str(entry["event"]) if entry and entry.get("event") else "-"
        while events := await read_events(self._connection, self._pool, after=self._seen, count=_BATCH):
            entries = [describe(self._pool, event) for event in events if is_audited(event)]
            if gap := await self._gap(events[0]):
                entries.insert(0, gap)
            if entries and not await self._append(entries):
                return False
            self._seen = events[-1].id
        return True

    async def _gap(self, first: Event) -> dict[str, Any] | None:
        """Return an entry that says so if events were trimmed before they were audited."""
        if not await were_trimmed(self._connection, self._pool, after=self._seen):
            return None
        return {
            "pool": self._pool,
            "at": rfc3339(first.at),
            "event": first.id,
            "type": "audit.gap",
            "who": MANAGER,
            "what": f"pool {self._pool}",
            "why": "the stream of events was trimmed before they were read: no manager audited for too long",
            "result": f"whatever happened from event {self._seen} to {first.id} is not known",
            "facts": {"after": self._seen, "before": first.id},
        }

    async def _append(self, entries: list[dict[str, Any]]) -> bool:
        link = await self._store.head()
        entry = read_entry(link.text) if link else None
        if entry and entry.get("event") and event_order(entry["event"]) > event_order(self._seen):
            return False
        head = _head_of(link)
        if link is None and self._file is not None:
            head = await self._file.head(self._pool)  # Redis lost its data: the file's chain goes on
        links = [(head.hash, text) for head, text in extend(head, entries)]
        return await self._store.append(link.hash if link else "", links, keep=self._keep)


class AccessJournal:
    """Appends to the chain of what belongs to no pool: tokens, and people who were turned away.

    Args:
        connection: To Redis.
        clock: Returns seconds since the epoch.
    """

    def __init__(self, connection: Connection, clock: Callable[[], float] = time.time) -> None:
        self._store = AuditStore(connection, ACCESS)
        self._clock = clock

    async def record(
        self, kind: str, *, who: str, what: str, why: str = "", result: str = "done", facts: Mapping[str, Any] = {}
    ) -> None:
        """Append one entry.

        Args:
            kind: Its type, such as `token.created`.
            who: Who did it.
            what: What it was done to.
            why: Why.
            result: What came of it.
            facts: Further facts.

        Raises:
            StoreError: Redis is away.
        """
        entry = {
            "pool": ACCESS, "at": rfc3339(self._clock()), "event": "", "type": kind, "who": redact(who),
            "what": redact(what), "why": redact(why), "result": redact(result),
            "facts": {name: redact(str(value)) for name, value in facts.items()},
        }  # fmt: skip
        for _ in range(_TRIES):
            link = await self._store.head()
            [(head, text)] = extend(_head_of(link), [entry])
            if await self._store.append(link.hash if link else "", [(head.hash, text)], keep=_ACCESS_KEPT):
                return
        raise StoreUnavailable("the audit of accesses is written by too many at once", hint="try again")


def _head_of(link: Link | None) -> Head:
    """Return where a chain ends; one whose last entry cannot be read goes on from its hash, and will not verify."""
    if link is None:
        return Head()
    entry = read_entry(link.text)
    return Head(entry["n"] if entry else 0, link.hash)
