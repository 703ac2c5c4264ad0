"""Wake-up hints: one blocking connection for a whole process, however many wait in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from redis.asyncio import Redis

from pool.store.connection import COMMAND_TIMEOUT_S, Connection, translated

#: A blocked read is renewed this often, so that a connection that died silently is noticed.
_BLOCK_S = 10.0


class WakeListener:
    """Blocks on a process's inboxes, one for each pool that it has to do with.

    A hint says that something changed; what changed has to be asked. So a lost hint costs time, never truth.

    Args:
        connection: Whose server to listen to.
        inbox: The process's name, or `manager`.
    """

    def __init__(self, connection: Connection, inbox: str) -> None:
        self._connection = connection
        self._inbox = inbox
        self._keys: list[str] = []
        self._added = asyncio.Event()
        self._redis: Redis | None = None

    async def add(self, pool: str) -> None:
        """Listen for a pool too."""
        key = f"cp:{{{pool}}}:in:{self._inbox}"
        if key in self._keys:
            return
        self._keys.append(key)
        self._added.set()
        if len(self._keys) > 1:
            async with self._connection.plain() as redis:  # end the read that blocks on the keys known so far
                await redis.rpush(self._keys[0], "")
                await redis.pexpire(self._keys[0], 60_000)

    async def hints(self) -> AsyncIterator[tuple[str, str]]:
        """Yield pool and text of each hint, until cancelled.

        Raises:
            StoreUnavailable: The connection broke; hints may be lost, so ask for the state after reconnecting.
        """
        await self._added.wait()
        if self._redis is None:
            self._redis = self._connection.dedicated()
        while True:
            with translated(self._connection.url):
                async with asyncio.timeout(_BLOCK_S + COMMAND_TIMEOUT_S):
                    reply = await self._redis.blpop(self._keys, timeout=_BLOCK_S)
            key, text = (str(part) for part in reply or ("", ""))
            if text:
                yield key.split("{", 1)[1].split("}", 1)[0], text

    async def close(self) -> None:
        """Close the blocking connection."""
        if self._redis is not None:
            await self._redis.aclose()
            await self._redis.connection_pool.disconnect()
            self._redis = None
