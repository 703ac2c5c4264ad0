"""Who may start a container now: a few at a time, but nobody waits for one that hangs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

#: A start that takes longer than this costs the engine's host little: it waits for something. Others may begin.
LONGEST_TURN_S = 5.0


class Turns:
    """Lets so many in at a time; a turn ends with the work, or after `LONGEST_TURN_S` while the work goes on."""

    def __init__(self, number: int) -> None:
        self._free = asyncio.Semaphore(number)

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it."""
        await self._free.acquire()
        passed_on = False

        def pass_on() -> None:
            nonlocal passed_on
            if not passed_on:
                passed_on = True
                self._free.release()

        timer = asyncio.get_running_loop().call_later(LONGEST_TURN_S, pass_on)
        try:
            yield
        finally:
            timer.cancel()
            pass_on()
