"""Wake-up hints: one blocking connection for a whole process, however many wait in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from redis.asyncio import Redis

from pool.store.connection import COMMAND_TIMEOUT_S, Connection, translated
from pool.store.servers import close_client

#: A blocked read is renewed this often, so that a connection that died silently is noticed.
_BLOCK_S = 10.0


class WakeListener:
    """Blocks on a process's inboxes, one for each pool that it has to do with.

    A hint says that something changed; what changed has to be asked. So a lost hint costs time, never truth.

    One connection reads the inboxes of all pools. Only in a Cluster, where pools live on different nodes, each has one
    of its own.

    Args:
        connection: Whose server to listen to.
        inbox: The process's name, or `manager`.
    """

    def __init__(self, connection: Connection, inbox: str) -> None:
        self._connection = connection
        self._inbox = inbox
        self._keys: list[str] = []
        self._added = asyncio.Event()
        self._reader: _Reader | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def _key(self, pool: str) -> str:
        return f"cp:{{{pool}}}:in:{self._inbox}"

    def listens_to(self, pool: str) -> bool:
        """Whether a pool was added."""
        return self._key(pool) in self._keys

    async def add(self, pool: str) -> None:
        """Listen for a pool too."""
        if self.listens_to(pool):
            return
        self._keys.append(self._key(pool))
        self._added.set()
        if len(self._keys) > 1 and not self._connection.split:
            async with self._connection.plain() as redis:  # end the read that blocks on the keys known so far
                await redis.rpush(self._keys[0], "")
                await redis.pexpire(self._keys[0], 60_000)

    async def hints(self) -> AsyncIterator[tuple[str, str]]:
        """Yield pool and text of each hint, until cancelled.

        Raises:
            StoreUnavailable: The connection broke; hints may be lost, so ask for the state after reconnecting.
        """
        while not self._keys:
            await self._added.wait()
        if self._connection.split:
            async for heard in self._merged():
                yield heard
        if self._reader is None:
            self._reader = _Reader(self._connection, lambda: self._keys)
        while True:
            if hint := await self._reader.read():
                yield hint

    async def _merged(self) -> AsyncIterator[tuple[str, str]]:
        """Read each inbox over a connection of its own; the first that breaks ends them all."""
        await self._stop()
        heard: asyncio.Queue[tuple[str, str] | None] = asyncio.Queue()
        read: set[str] = set()

        async def listen(key: str) -> None:
            reader = _Reader(self._connection, lambda: [key])
            try:
                while True:
                    if hint := await reader.read():
                        heard.put_nowait(hint)
            finally:
                heard.put_nowait(None)
                await reader.close()

        while True:
            self._added.clear()
            for key in self._keys:
                if key not in read:
                    read.add(key)
                    self._tasks.append(asyncio.create_task(listen(key)))
            hint = await self._next(heard)
            if hint is not None:
                yield hint
            for task in self._tasks:
                if task.done():
                    task.result()

    async def _next(self, heard: asyncio.Queue[tuple[str, str] | None]) -> tuple[str, str] | None:
        """Wait for a hint, or None where a reader ended or a pool was added."""
        waits: list[asyncio.Task[Any]] = [asyncio.create_task(heard.get()), asyncio.create_task(self._added.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return waits[0].result() if waits[0].done() else None
        finally:
            for wait in waits:
                wait.cancel()

    async def _stop(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Close what blocks."""
        await self._stop()
        if self._reader is not None:
            await self._reader.close()


class _Reader:
    """One blocking connection, to the server that has its keys."""

    def __init__(self, connection: Connection, keys: Callable[[], Sequence[str]]) -> None:
        self._connection = connection
        self._keys = keys
        self._redis: Redis | None = None

    async def read(self) -> tuple[str, str] | None:
        """Return pool and text of the next hint; None after a while without any."""
        if self._redis is None:
            self._redis = await self._connection.dedicated(self._keys()[0])
        try:
            with translated(self._connection.url):
                async with asyncio.timeout(_BLOCK_S + COMMAND_TIMEOUT_S):
                    reply = await self._redis.blpop(list(self._keys()), timeout=_BLOCK_S)
        except BaseException:
            await self.close()  # the next read may be due to another server
            self._connection.doubt()
            raise
        key, text = (str(part) for part in reply or ("", ""))
        return (key.split("{", 1)[1].split("}", 1)[0], text) if text else None

    async def close(self) -> None:
        """Close the connection."""
        redis, self._redis = self._redis, None
        if redis is not None:
            await close_client(redis)
