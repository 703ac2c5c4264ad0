"""A client whose scripts take a short way: each acquire, release and heartbeat is one."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection

#: Scripts of one client that may run at once; fewer than its pool has connections, so that other commands find one.
_LANES = 8


def pack(*words: str | int | float) -> bytes:
    r"""Write a command as Redis reads it.

    >>> pack("GET", "ü", 7)
    b'*3\r\n$3\r\nGET\r\n$2\r\n\xc3\xbc\r\n$1\r\n7\r\n'
    """
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


class ScriptRedis(Redis):
    """The library's client, but for `evalsha`, which uses connections that stay lent from the pool.

    What the library does around each command (lending and returning a connection under locks, retries, metrics) takes
    longer than a small script. What keeps it correct stays its own: a connection that broke, or whose command was
    cancelled before the reply came, is closed by it, and connected again before the next command.
    """

    def __init__(self, *, connection_pool: ConnectionPool) -> None:
        super().__init__(connection_pool=connection_pool)
        self._idle: list[AbstractConnection] = []
        self._lanes = asyncio.Semaphore(_LANES)

    async def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:
        """Run a script and return its reply."""
        pool = self.connection_pool
        async with self._lanes:
            connection = self._idle.pop() if self._idle else await pool.get_connection()  # type: ignore[no-untyped-call] # the library's
            try:
                if not connection.is_connected or await connection.can_read():  # the server hung up meanwhile
                    await pool.ensure_connection(connection)
                await connection.send_packed_command(pack("EVALSHA", sha, numkeys, *keys_and_args))
                return await connection.read_response()
            finally:
                self._idle.append(connection)
