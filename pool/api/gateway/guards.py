"""The guards of all leases that are in use through this gateway."""

from __future__ import annotations

import asyncio
import contextvars
from typing import NamedTuple

from pool.api.gateway.guard import Guard, ending
from pool.api.hub import EventHub
from pool.api.problems import Problem
from pool.errors import InvalidRequest, Unauthenticated
from pool.leases import LeaseRef
from pool.models import Event, RequestState
from pool.store import Connection, PoolStore

#: Before listening anew, after events were lost.
_RESUME_S = 0.1
#: The events with which a lease ends: `lease.released`, `lease.lost` and their like.
_ENDS = {f"lease.{state}": state for state in RequestState if state not in (RequestState.GRANTED, RequestState.LEASED)}


class _Key(NamedTuple):
    pool: str
    request_id: str
    fence: int


class Guards:
    """Keeps one guard for each lease that is in use, and ends it when an event says so.

    Args:
        connection: To Redis.
        hub: What happens in all pools.
    """

    def __init__(self, connection: Connection, hub: EventHub) -> None:
        self._connection = connection.without_patience()
        self._hub = hub
        self._guards: dict[_Key, Guard] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Task[None] | None = None
        self._closing = False

    def start(self) -> None:
        """Begin to listen."""
        self._listening = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Cut off whatever is open."""
        self._closing = True
        for guard in list(self._guards.values()):
            guard.end(_closing())
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def admit(self, ref: LeaseRef) -> Guard:
        """Return the guard of a lease that holds.

        Raises:
            Unauthenticated: There is no such lease, or the secret is another one.
            LeaseLost, AlreadyReleased: It has ended.
            StoreError: Redis does not answer, and the lease is not in use.
        """
        key = _Key(ref.pool, ref.request_id, ref.fence)
        guard = self._guards.get(key)
        if guard is None or guard.retired:
            guard = self._begin(key, ref)
            await guard.known()
            self._fence_off(key, guard)
        await guard.known()
        if not guard.proves(ref):
            raise _unknown()
        if guard.ended is not None:
            raise guard.ended
        return guard

    def _begin(self, key: _Key, ref: LeaseRef) -> Guard:
        """Keep a guard from before the lease is read: no end is missed of which Redis tells after its answer."""
        try:
            store = PoolStore(self._connection, ref.pool)
        except InvalidRequest as error:
            raise _unknown() from error
        guard = self._guards[key] = Guard(ref, store)
        if self._closing:
            guard.end(_closing())
        # Whoever asks first is not the one whose request the rest is about: nothing of it goes into the logs.
        self._tasks.add(task := asyncio.create_task(guard.watch(), context=contextvars.Context()))

        def drop(_: object) -> None:
            self._tasks.discard(task)
            if self._guards.get(key) is guard:
                del self._guards[key]

        task.add_done_callback(drop)
        return guard

    def _fence_off(self, key: _Key, guard: Guard) -> None:
        """End former leases of a container that a later one reaches, should no event have told of their end yet."""
        if guard.ended is not None:
            return
        for former, other in self._guards.items():
            if former.pool == key.pool and former.fence < key.fence and other.shares(guard):
                other.end(ending(former.request_id, RequestState.LOST))

    async def _listen(self) -> None:
        while True:
            with self._hub.subscribe(_is_end) as events:
                for guard in self._guards.values():  # events may have been lost before
                    guard.doubt()
                async for pool, event in events:
                    self._hear(pool, event)
            await asyncio.sleep(_RESUME_S)

    def _hear(self, pool: str, event: Event) -> None:
        key = _Key(pool, event.fields.get("request", ""), int(event.fields.get("fence", "0")))
        if guard := self._guards.get(key):
            guard.end(ending(key.request_id, _ENDS[event.type]))


def _is_end(_: str, event: Event) -> bool:
    return event.type in _ENDS


def _unknown() -> Unauthenticated:
    return Unauthenticated("no lease has this token", hint="use the gateway_url of a lease that you hold")


def _closing() -> Problem:
    detail, hint = "the server is shutting down", "ask again, here or at another manager"
    return Problem(503, "shutting_down", detail, hint=hint, retry_after_s=1.0)
