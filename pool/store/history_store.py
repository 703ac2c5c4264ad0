"""What is kept of a pool's hours: counters of those that are counted still, one packed entry for each that is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pool.store import decode
from pool.store.connection import Connection, check_pool_name

HOUR_S = 3600
#: Field → value. Fields that begin with ^ keep the greatest, those with = the last; the others are added.
Fields = Mapping[str, float]
_TURN = "turn"
_DAY_MS = 24 * HOUR_S * 1000


@dataclass(frozen=True, slots=True)
class HourRules:
    """How hours are kept.

    Attributes:
        keep_days: For how long, in days that a manager watched.
        owners: How many owners an hour tells apart while it is counted.
    """

    keep_days: int
    owners: int

    @property
    def kept_ms(self) -> int:
        """For how long they stay when nobody adds to them any more, in milliseconds."""
        return self.keep_days * _DAY_MS


@dataclass(frozen=True, slots=True)
class LiveHour:
    """An hour that is counted still.

    Attributes:
        turn: Names the last addition.
        values: Field → value.
    """

    turn: str
    values: Fields


@dataclass(slots=True)
class Additions:
    """What is to be added to hours, by hour."""

    hours: dict[int, dict[str, float]] = field(default_factory=dict)

    def add(self, hour: int, values: Fields) -> None:
        """Add to what is to be added to an hour, by its number since the epoch."""
        if values:
            add_fields(self.hours.setdefault(hour, {}), values)

    def update(self, other: Additions) -> None:
        """Add all that another has."""
        for hour, values in other.hours.items():
            self.add(hour, values)

    def arguments(self) -> list[str]:
        """Return them as the count command takes them."""
        return [
            word
            for hour, values in self.hours.items()
            for name, value in values.items()
            if value
            for word in (str(hour), name, _number(value))
        ]


def add_fields(into: dict[str, float], values: Fields) -> None:
    """Add values to others, field by field, in place.

    >>> sums = {"n": 1.0, "^most": 5.0}
    >>> add_fields(sums, {"n": 2.0, "^most": 3.0, "=last": 7.0})
    >>> sums
    {'n': 3.0, '^most': 5.0, '=last': 7.0}
    """
    for name, value in values.items():
        if name.startswith("="):
            into[name] = value
        elif name.startswith("^"):
            into[name] = max(into.get(name, value), value)
        else:
            into[name] = into.get(name, 0.0) + value


def hour_of(at: float) -> int:
    """Return the number of the hour, since the epoch, that a moment belongs to, in seconds since the epoch."""
    return int(at // HOUR_S)


class HistoryStore:
    """The hours of one pool.

    Args:
        connection: To Redis.
        pool: Whose.
    """

    def __init__(self, connection: Connection, pool: str) -> None:
        self.pool = check_pool_name(pool)
        self._connection = connection
        self._prefix = f"cp:{{{self.pool}}}:"

    async def live_hours(self) -> list[int]:
        """Return the numbers of the hours that are counted still, the earliest first."""
        async with self._connection.plain() as redis:
            return sorted(int(hour) for hour in await redis.smembers(f"{self._prefix}live"))

    async def live(self, hour: int) -> LiveHour | None:
        """Return an hour that is counted still; None where it is not."""
        async with self._connection.plain() as redis:
            fields = decode.text(await redis.hgetall(f"{self._prefix}hour:{hour}"))
        turn = fields.pop(_TURN, "")
        return LiveHour(turn, {name: float(value) for name, value in fields.items()}) if turn else None

    async def entry(self, hour: int) -> str:
        """Return what is kept of an hour that is over; empty where nothing is."""
        async with self._connection.plain() as redis:
            return str(await redis.hget(f"{self._prefix}hours", str(hour)) or "")

    async def entries(self, first: int, last: int) -> dict[int, str]:
        """Return what is kept of hours that are over, from one to another, both included, the earliest first."""
        async with self._connection.plain() as redis:
            known = sorted(int(hour) for hour in await redis.hkeys(f"{self._prefix}hours"))
            wanted = [hour for hour in known if first <= hour <= last]
            if not wanted:
                return {}
            found = await redis.hmget(f"{self._prefix}hours", [str(hour) for hour in wanted])
        return {hour: str(entry) for hour, entry in zip(wanted, found, strict=True) if entry}

    async def roll(self, hour: int, turn: str, entry: str, rules: HourRules) -> bool:
        """Keep an hour that is over as one entry, in place of its counters.

        Args:
            hour: Its number since the epoch.
            turn: The last addition to it that the entry knows.
            entry: All of it.
            rules: For how long it is kept.

        Returns:
            False if somebody else did so meanwhile, or added to it.
        """
        reply, _ = await self._connection.run(
            "roll", f"{self._prefix}meta", (str(hour), turn, entry, rules.keep_days * 24, rules.kept_ms)
        )
        return bool(reply)


def _number(value: float) -> str:
    """Write a number as Redis reads it: exactly to the millionth, and never with an exponent."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
