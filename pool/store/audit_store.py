"""Chains of audit entries: one of each pool, and one of who was let in. They outlive their pool."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from pool.store.connection import Connection, check_pool_name

#: The chain of what belongs to no pool: tokens made and revoked, people turned away. No pool can have this name.
ACCESS = "~access"

#: A chain is kept for so long after its last entry.
_KEPT_MS = 400 * 24 * 3600 * 1000
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Link:
    """One entry of a chain as it is stored.

    Attributes:
        id: The stream's id.
        hash: What the next entry names.
        text: The entry, JSON.
    """

    id: str
    hash: str
    text: str


class AuditStore:
    """One chain.

    Args:
        connection: To Redis.
        pool: Whose chain; or `ACCESS`.
    """

    def __init__(self, connection: Connection, pool: str) -> None:
        self.pool = pool if pool == ACCESS else check_pool_name(pool)
        self._connection = connection
        self._key = f"cp:{{{self.pool}}}:audit"

    async def head(self) -> Link | None:
        """Return the last entry; None where there is none."""
        newest = await self.newest(1)
        return newest[0] if newest else None

    async def newest(self, count: int, *, before: str = "") -> list[Link]:
        """Return the newest entries, newest first; with `before`, those before one that is known."""
        async with self._connection.plain() as redis:
            entries: Any = await redis.xrevrange(self._key, f"({before}" if before else "+", "-", count=count)
        return [_link(entry) for entry in entries]

    async def backwards(self) -> AsyncIterator[Link]:
        """Yield all entries, newest first."""
        before = ""
        while links := await self.newest(_BATCH, before=before):
            for link in links:
                yield link
            before = links[-1].id

    async def append(self, head: str, links: Sequence[tuple[str, str]], *, keep: int) -> bool:
        """Append entries, if the chain still ends with the one that they were built on.

        Args:
            head: The hash of the last entry, as the caller read it; empty for a chain without any.
            links: Hash and text of each entry.
            keep: About how many entries are kept; the oldest go.

        Returns:
            False if somebody else appended meanwhile.
        """
        flat = [part for link in links for part in link]
        reply, _ = await self._connection.run(
            "audit", f"cp:{{{self.pool}}}:meta", (head, max(keep, 1), _KEPT_MS, *flat)
        )
        return bool(reply)

    async def read(self, *, after: str = "", count: int = _BATCH) -> list[Link]:
        """Return entries after one that is known, oldest first; from the beginning where `after` is empty."""
        async with self._connection.plain() as redis:
            entries: Any = await redis.xrange(self._key, f"({after}" if after else "-", "+", count=count)
        return [_link(entry) for entry in entries]

    async def all(self, *, after: str = "") -> AsyncIterator[Link]:
        """Yield all entries after one that is known, oldest first."""
        while links := await self.read(after=after):
            for link in links:
                yield link
            after = links[-1].id


def _link(entry: Any) -> Link:
    entry_id, fields = entry
    return Link(str(entry_id), fields.get("hash", ""), fields.get("entry", ""))
