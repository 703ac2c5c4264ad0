"""Time as an argument: code that waits or measures takes a `Clock`, so a test can move it."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What the pool needs to know of time."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean something."""

    def time(self) -> float:
        """Seconds since the epoch."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        """Return the machine's monotonic time in seconds."""
        return time.monotonic()

    def time(self) -> float:
        """Return the machine's wall-clock time in seconds since the epoch."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop."""
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that moves when told to, for tests."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self._moved = asyncio.Event()

    def monotonic(self) -> float:
        """Return the hand-set time in seconds."""
        return self._now

    def time(self) -> float:
        """Return the hand-set time in seconds since the epoch."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move time forward and wake whoever's sleep is over."""
        self._now += seconds
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def sleep(self, seconds: float) -> None:
        """Wait until `advance` has moved time far enough."""
        until = self._now + seconds
        while self._now < until:
            await self._moved.wait()
