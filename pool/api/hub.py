"""Events of all pools, for whoever listens in this process: Redis is read once for all of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Self

import structlog

from pool.errors import StoreError
from pool.models import Event
from pool.store import Connection, ends, follow, pool_names

log = structlog.get_logger()

#: Events that one listener may lag behind.
_BACKLOG = 1000
#: When to try again after Redis refused, in seconds.
_REFUSED_S = 1.0

#: Tells whether somebody wants to hear of an event.
Wants = Callable[[str, Event], bool]


class Subscription:
    """What one listener hears: iterating yields pool and event, until it is closed.

    Attributes:
        overrun: It lagged too far behind and lost events; iterating ends. Whoever must not miss any asks Redis.
    """

    def __init__(self, hub: EventHub, wants: Wants | None) -> None:
        self._hub = hub
        self._wants = wants
        self._queue: deque[tuple[str, Event]] = deque()
        self._news = asyncio.Event()
        self._closed = False
        self.overrun = False

    def put(self, pool: str, event: Event) -> None:
        """Hand an event over; the listener hears of it when it looks next."""
        if self.overrun or (self._wants is not None and not self._wants(pool, event)):
            return
        if len(self._queue) >= _BACKLOG:
            self.overrun = True
        else:
            self._queue.append((pool, event))
        self._news.set()

    def close(self) -> None:
        """Hear nothing more; whoever iterates comes to the end."""
        self._closed = True
        self._hub.drop(self)
        self._news.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[str, Event]:
        while not self._queue:
            if self._closed or self.overrun:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._queue.popleft()


class EventHub:
    """Follows all pools while it is open, and hands each event to all that listen.

    Args:
        connection: To Redis.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._subscriptions: set[Subscription] = set()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to follow: whatever happens from now on is heard.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        known = await ends(self._connection, await self._names())
        self._task = asyncio.create_task(self._follow(known))

    async def close(self) -> None:
        """Follow no longer; all listeners come to their end."""
        for subscription in list(self._subscriptions):
            subscription.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def subscribe(self, wants: Wants | None = None) -> Subscription:
        """Return what hears of every event from now on; close it in the end, it is a context manager.

        Args:
            wants: Chooses events, by pool and event; all of them when None.
        """
        subscription = Subscription(self, wants)
        self._subscriptions.add(subscription)
        return subscription

    def drop(self, subscription: Subscription) -> None:
        """Hand nothing more to a listener."""
        self._subscriptions.discard(subscription)

    async def _follow(self, known: dict[str, str]) -> None:
        while True:
            try:
                async for pool, event in follow(self._connection, self._names, after=known):
                    known[pool] = event.id
                    for subscription in list(self._subscriptions):
                        subscription.put(pool, event)
            except StoreError as error:  # whatever Redis refused, it is worth another try
                log.warning("events.not_followed", why=error.message)
                await asyncio.sleep(_REFUSED_S)

    async def _names(self) -> list[str]:
        return await pool_names(self._connection)
