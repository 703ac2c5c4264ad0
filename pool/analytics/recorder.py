"""Who keeps the hours of a pool: the manager that leads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pool.analytics.counting import count_event, count_look
from pool.analytics.folding import pack, unpack
from pool.metrics import Bookkeeper, Hourly
from pool.models import PoolStatus
from pool.store import Additions, Connection, HistoryStore, HourRules, add_fields, hour_of

if TYPE_CHECKING:
    from pool.config import AnalyticsOptions

#: Two looks that are further apart than this, in seconds, did not see what was between them.
_GAP_S = 5.0
#: What looks saw is written down every so often, in seconds: so little is lost with a manager, and little written.
_WRITTEN_EVERY_S = 10.0
#: An hour tells apart so many times the owners that are kept of it, so that those who used most are among them.
_MORE_OWNERS = 10
_TRIES = 3


class Recorder:
    """Counts by the hour, and rolls up hours that are over. Any number of them may do so at once.

    Args:
        connection: To Redis.
        pool: Which pool.
        options: What is kept.
    """

    def __init__(self, connection: Connection, pool: str, options: AnalyticsOptions) -> None:
        self._rules = HourRules(options.keep_days, options.owners * _MORE_OWNERS)
        self._owners = options.owners
        self._store = HistoryStore(connection, pool)
        self.books = Bookkeeper(connection, pool, Hourly(count_event, self._rules))
        self._seen_at: float | None = None
        self._written_at = 0.0
        self._pending = Additions()
        self._peaks: dict[str, tuple[int, int, int]] = {}

    def see(self, status: PoolStatus) -> None:
        """Count what a look at the pool saw."""
        hour = hour_of(status.at)
        if self._seen_at is not None and status.at > self._seen_at:
            self._pending.add(hour, count_look(status, min(status.at - self._seen_at, _GAP_S)))
        self._seen_at = status.at
        self._see_memory(hour, status)

    def _see_memory(self, hour: int, status: PoolStatus) -> None:
        """Note the memory of containers where it is the most of the hour, or the limit has changed."""
        for record in status.containers:
            if (sample := record.sample) is None:
                continue
            at, peak, limit = self._peaks.get(record.id, (-1, -1, -1))
            if at == hour and sample.memory_bytes <= peak and sample.memory_limit_bytes == limit:
                continue
            peak = max(peak, sample.memory_bytes) if at == hour else sample.memory_bytes
            self._peaks[record.id] = (hour, peak, sample.memory_limit_bytes)
            seen = {f"^container|memory|{record.id}": sample.memory_mb}
            if sample.memory_limit_bytes:
                seen[f"=container|limit|{record.id}"] = sample.memory_limit_bytes / 2**20
            self._pending.add(hour, seen)

    async def look(self) -> None:
        """Write down what was seen, if that is due, count what happened, and roll up hours that are over.

        Raises:
            StoreError: Redis is away; the next look makes up for it.
        """
        due = self._seen_at is not None and abs(self._seen_at - self._written_at) >= _WRITTEN_EVERY_S
        if due:
            self._write_down()
        await self.books.look()
        if due:
            await self._roll_up()

    async def close(self) -> None:
        """Write down and count all there is.

        Raises:
            StoreError: Redis is away.
        """
        self._write_down()
        await self.books.look()

    def _write_down(self) -> None:
        for hour, values in self._pending.hours.items():
            self.books.note_hour(hour, values)
        self._pending = Additions()
        self._written_at = self._seen_at or 0.0

    async def _roll_up(self) -> None:
        """Roll up all hours but the one that the pool's clock is in, and again those that something came late for."""
        now = hour_of(self._written_at)
        for hour in await self._store.live_hours():
            if hour != now:
                await self._roll(hour)

    async def _roll(self, hour: int) -> None:
        for _ in range(_TRIES):  # one that is beaten by an addition tries again
            live = await self._store.live(hour)
            if live is None:
                return
            fields = unpack(await self._store.entry(hour))
            add_fields(fields, live.values)
            if await self._store.roll(hour, live.turn, pack(fields, owners=self._owners), self._rules):
                return
