"""The counters of a pool, kept beside its events: they outlive whoever counts, and the pool for a while."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pool.store import decode
from pool.store.connection import Connection, check_pool_name
from pool.store.history_store import Additions, HourRules

#: Kept for so long after they were added to last; a pool that is made anew in that time counts on.
_KEPT_MS = 30 * 24 * 3600 * 1000
_TURN, _SEEN = "turn", "seen"


@dataclass(frozen=True, slots=True)
class Counters:
    """What was counted of a pool.

    Attributes:
        turn: Names the last addition; empty before the first.
        seen: The id of the last event that was counted; `-` before the first.
        values: What was counted → how often.
    """

    turn: str = ""
    seen: str = "-"
    values: Mapping[str, int] = field(default_factory=dict)


class MetricsStore:
    """The counters of one pool.

    Args:
        connection: To Redis.
        pool: Whose.
    """

    def __init__(self, connection: Connection, pool: str) -> None:
        self.pool = check_pool_name(pool)
        self._connection = connection
        self._prefix = f"cp:{{{self.pool}}}:"

    async def position(self) -> Counters:
        """Return where the counters stand, without their values."""
        async with self._connection.plain() as redis:
            turn, seen = await redis.hmget(f"{self._prefix}metrics", [_TURN, _SEEN])
        return Counters(str(turn or ""), str(seen or "-"))

    async def read(self) -> Counters:
        """Return the counters."""
        async with self._connection.plain() as redis:
            fields = decode.text(await redis.hgetall(f"{self._prefix}metrics"))
        turn, seen = fields.pop(_TURN, ""), fields.pop(_SEEN, "-")
        return Counters(turn, seen, {name: int(value) for name, value in fields.items()})

    async def count(
        self,
        known: str,
        turn: str,
        *,
        seen: str,
        added: Mapping[str, int],
        hours: Additions | None = None,
        rules: HourRules | None = None,
    ) -> bool:
        """Add to the counters, if nobody else did since the caller read them.

        Args:
            known: The last addition, as the caller read it.
            turn: Names this one; no other may have its name.
            seen: The last event that is counted by now.
            added: What was counted → how often.
            hours: What goes with it to the hours of the pool.
            rules: How those are kept.

        Returns:
            False if somebody else added to them meanwhile.
        """
        flat = [part for pair in added.items() for part in pair]
        by_hour = hours.arguments() if hours and rules else []
        kept, owners = (rules.kept_ms, rules.owners) if rules else (0, 0)
        head = (known, turn, seen, _KEPT_MS, kept, owners, len(flat))
        reply, _ = await self._connection.run("count", f"{self._prefix}meta", (*head, *flat, *by_hour))
        return bool(reply)
