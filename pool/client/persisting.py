"""What a request does when it fails: it gives back what it had, or asks again for what was lost without its doing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from pool.client.fitting import Vanished, timed_out
from pool.client.holding import Holding
from pool.errors import UnknownPool
from pool.store import RequestSpec

#: How often a client looks whether a pool that was lost with the data of Redis is there again.
_REOPEN_POLL_S = 0.1

T = TypeVar("T")


class Withdrawable(Protocol):
    """What can be taken back: one request, or several together."""

    @property
    def open(self) -> bool:
        """Whether the pool may hold something for it that is to be given back."""

    @property
    def holds(self) -> bool:
        """Whether it has a container."""

    async def withdraw(self) -> None:
        """Take it back, whatever became of it."""


async def withdraw(keeper: Holding, asks: Sequence[Withdrawable], error: BaseException) -> None:
    """Give back what was asked for; before it is asked for again, that is done, else it would stand in its own way."""
    due = sorted((ask for ask in asks if ask.open), key=lambda ask: ask.holds)
    if not due:  # what still waits goes first, else it would be served with what the others give back
        return

    async def one_by_one() -> None:
        for ask in due:
            await ask.withdraw()

    work = keeper.in_background(one_by_one())
    if isinstance(error, Vanished):
        await asyncio.shield(work)


async def persist(
    keeper: Holding, pool: str, request: RequestSpec, once: Callable[[RequestSpec, float], Awaitable[T]]
) -> T:
    """Try once, and again for as long as the request may wait, each time under a new id, where Redis lost it."""
    until = time.monotonic() + request.wait_s
    wait_s, lost = request.wait_s, None
    known = False
    keeper.begin_asking()
    try:
        while True:
            try:
                return await once(request, until)
            except Vanished:
                known, lost = True, None
            except UnknownPool as error:
                if not known:
                    raise
                lost = error
                await asyncio.sleep(min(_REOPEN_POLL_S, max(until - time.monotonic(), 0)))
            left = until - time.monotonic()
            if left <= 0:
                raise lost or timed_out(pool, wait_s)
            request = replace(request, request_id=f"{request.request_id}~", wait_s=left)
    finally:
        keeper.end_asking()
