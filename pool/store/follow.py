"""What happens in pools, as it happens: their event streams, read over one connection that waits for news."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from redis.asyncio import Redis

from pool.errors import StoreUnavailable
from pool.models import Event
from pool.store.connection import COMMAND_TIMEOUT_S, Connection, retrying, translated
from pool.store.events import event_order, to_event
from pool.store.servers import close_client

#: How often to look for new pools; a read that waits is renewed then.
_LOOK_S = 1.0
#: Entries of one read from each pool.
_BATCH = 500

#: Between two reads: where much happens, one read brings all of it, instead of one for each event.
_PAUSE_S = 0.02

#: The pools to follow, or what tells them whenever it is asked.
Pools = Sequence[str] | Callable[[], Awaitable[Sequence[str]]]


async def follow(
    connection: Connection, pools: Pools, *, after: Mapping[str, str] | None = None
) -> AsyncGenerator[tuple[str, Event], None]:
    """Yield the events of pools, of each in their order, until cancelled. It outlives a Redis that is away for a while.

    Args:
        connection: Whose server to read; each caller has a connection of its own there, in a Cluster one for each pool.
        pools: Which pools, or what returns their names: then new ones are followed from their beginning.
        after: The last event known of a pool; of the others, what happens from now on. What was trimmed from the stream
            since then is missing without notice.

    Raises:
        StoreError: Redis refuses, which no patience helps against.
    """
    source = (_Split if connection.split else _Streams)(connection, pools, dict(after or {}))
    try:
        while True:
            for entry in await _patiently(source.read):
                yield entry
            await asyncio.sleep(_PAUSE_S)
    finally:
        await source.close()


async def _patiently(read: Callable[[], Awaitable[list[tuple[str, Event]]]]) -> list[tuple[str, Event]]:
    """Read, and where Redis is away again and again until it is back."""
    try:
        return await read()
    except StoreUnavailable:
        entries: list[tuple[str, Event]] = await retrying()(read)
        return entries


async def ends(connection: Connection, pools: Sequence[str]) -> dict[str, str]:
    """Return the newest event of each pool, for `follow` to go on after it.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    async with connection.plain() as redis:
        return {pool: await _newest(redis, pool) for pool in pools}


async def _newest(redis: Redis, pool: str) -> str:
    found: Any = await redis.xrevrange(_key(pool), count=1)
    return str(found[0][0]) if found else "0-0"


class _Streams:
    """The streams of one server.

    Args:
        connection: To it.
        pools: Which.
        positions: The last event that is known of each pool; those that are not there are begun at their end.
    """

    def __init__(self, connection: Connection, pools: Pools, positions: dict[str, str]) -> None:
        self._connection = connection
        self._pools = pools
        self._positions = positions
        self._names: Sequence[str] = ()
        self._looked = self._next_looked = ""
        self._redis: Redis | None = None
        self._look_at = 0.0

    async def read(self) -> list[tuple[str, Event]]:
        """Return what happened since the last read; nothing where nothing did for a while.

        Raises:
            StoreUnavailable: The server is away. The next read goes on where this one was to begin.
        """
        try:
            if asyncio.get_running_loop().time() >= self._look_at:
                await self._look()
            if not self._names:
                await asyncio.sleep(_LOOK_S)
                return []
            return await self._read()
        except BaseException:
            await self.close()
            self._connection.doubt()
            raise

    async def _look(self) -> None:
        """Find new pools. They are begun where the last look ended, so that nothing of theirs is missed."""
        self._names = list(await self._pools() if callable(self._pools) else self._pools)
        async with self._connection.plain() as redis:
            if callable(self._pools):
                clock: Any = await redis.time()
                self._next_looked = f"{clock[0]}{clock[1] // 1000:03}-0"
            for name in self._names:
                if self._redis is None or name not in self._positions:
                    self._positions[name] = await self._begin(redis, name)
        self._looked = self._next_looked
        self._look_at = asyncio.get_running_loop().time() + _LOOK_S

    async def _begin(self, redis: Redis, name: str) -> str:
        """Return after which event to go on: a stream that was lost with Redis' data begins anew, and so do we."""
        end = await _newest(redis, name)
        known = self._positions.get(name, self._looked or end)
        return known if event_order(known) <= event_order(end) or name not in self._positions else "0-0"

    async def _read(self) -> list[tuple[str, Event]]:
        if self._redis is None:
            self._redis = await self._connection.dedicated(_key(self._names[0]))
        streams: Any = {_key(name): self._positions[name] for name in self._names}
        with translated(self._connection.url):
            async with asyncio.timeout(_LOOK_S + COMMAND_TIMEOUT_S):
                reply: Any = await self._redis.xread(streams, count=_BATCH, block=round(_LOOK_S * 1000))
        found = []
        for key, entries in reply or ():
            name = key.split("{", 1)[1].split("}", 1)[0]
            found += [(name, to_event(entry_id, fields)) for entry_id, fields in entries]
            self._positions[name] = entries[-1][0]
        return found

    async def close(self) -> None:
        """Close the connection that waits; the next read opens it again."""
        redis, self._redis, self._look_at = self._redis, None, 0.0
        if redis is not None:
            await close_client(redis)


class _Split:
    """Streams of a Cluster, whose pools are on different nodes: each is read by a task and over a connection."""

    def __init__(self, connection: Connection, pools: Pools, positions: dict[str, str]) -> None:
        self._connection = connection
        self._pools = pools
        self._positions = positions
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._looked = False
        self._found: asyncio.Queue[tuple[str, Event]] = asyncio.Queue(_BATCH)

    async def read(self) -> list[tuple[str, Event]]:
        """Return one event, or nothing where none came for a while.

        Raises:
            StoreUnavailable: Nobody says which pools there are.
        """
        for name in await self._pools() if callable(self._pools) else self._pools:
            if name not in self._tasks:
                if self._looked:  # a new pool, so all of it is news
                    self._positions.setdefault(name, "0-0")
                self._tasks[name] = asyncio.create_task(self._follow(name))
        self._looked = True
        for task in self._tasks.values():
            if task.done():
                task.result()
        try:
            async with asyncio.timeout(_LOOK_S):
                return [await self._found.get()]
        except TimeoutError:
            return []

    async def _follow(self, name: str) -> None:
        after = {name: self._positions[name]} if name in self._positions else {}
        streams = _Streams(self._connection, [name], after)
        try:
            while True:
                for entry in await _patiently(streams.read):
                    await self._found.put(entry)
                await asyncio.sleep(_PAUSE_S)
        finally:
            await streams.close()

    async def close(self) -> None:
        """End the tasks."""
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _key(pool: str) -> str:
    return f"cp:{{{pool}}}:events"
