"""Follows a pool while the demo runs: keeps every event, shows the latest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pool.demo.view import Progress
from pool.errors import PoolError, UnknownPool
from pool.models import Event, PoolStatus, State
from pool.store import Connection, PoolStore, read_events

_INTERVAL_S = 0.1
_PAGE = 1000


class Recorder:
    """Keeps a pool's events, all of them, in order.

    Args:
        connection: Where the pool's state is.
        pool: The pool's name.
        progress: What to show them on.
    """

    def __init__(self, connection: Connection, pool: str, progress: Progress) -> None:
        self.events: list[Event] = []
        self.status: PoolStatus | None = None
        self._connection = connection
        self._store = PoolStore(connection, pool)
        self._progress = progress
        self._news = asyncio.Condition()

    async def follow(self) -> None:
        """Read again and again, until cancelled."""
        while True:
            await self.read()
            await asyncio.sleep(_INTERVAL_S)

    async def read(self) -> None:
        """Read what is new."""
        known = len(self.events)
        while True:
            after = self.events[-1].id if self.events else "-"
            page = await read_events(self._connection, self._store.pool, after=after, count=_PAGE)
            self.events += page
            if len(page) < _PAGE:
                break
        try:
            self.status = await self._store.status()
        except UnknownPool:  # the manager has not opened it yet
            self.status = None
        self._progress.show(self.status, self.events[known:])
        async with self._news:
            self._news.notify_all()

    async def until(self, condition: Callable[[PoolStatus], bool], *, within_s: float, what: str) -> None:
        """Wait, while `follow` runs, until the pool is as it should be.

        Raises:
            PoolError: It is not within that many seconds.
        """
        try:
            async with asyncio.timeout(within_s), self._news:
                await self._news.wait_for(lambda: self.status is not None and condition(self.status))
        except TimeoutError:
            states = ", ".join(f"{c.id} is {c.state}" for c in self.status.containers) if self.status else "no pool"
            raise PoolError(f"{what} within {within_s:g} s: {states}") from None


def all_available(status: PoolStatus, size: int) -> bool:
    """Whether every container waits for its next user."""
    return status.count(State.AVAILABLE) == size
