"""The connection to Redis: runs scripts, survives outages within a deadline, and checks what it talks to."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,  # noqa: A004 - redis-py's name
    NoPermissionError,
    NoScriptError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004 - redis-py's name
)
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, stop_never, wait_random_exponential

from pool.config.load import mask_url
from pool.config.options import NAME_PATTERN
from pool.errors import InvalidRequest, StoreError, StoreUnavailable, StoreUnsupported
from pool.scripts import load_scripts

#: Oldest server that has all commands the scripts use (ZADD GT, LPOS, …): https://redis.io/commands
MINIMUM_VERSION = (6, 2)
POOLS_KEY = "cp:pools"
#: Deadline of one command.
COMMAND_TIMEOUT_S = 5.0

_AWAY = (ConnectionError, TimeoutError, BusyLoadingError, OSError)


def check_pool_name(pool: str) -> str:
    """Return a pool's name if it can be one.

    Raises:
        InvalidRequest: It cannot.
    """
    if not isinstance(pool, str) or not re.fullmatch(NAME_PATTERN, pool):
        raise InvalidRequest("pool", pool, "use a name of a-z, 0-9, - _ . that begins and ends with a letter or digit")
    return pool


def retrying(*, for_s: float | None = None) -> AsyncRetrying:
    """Return what calls a function again, with growing and scattered delays, while Redis is away.

    Args:
        for_s: Seconds after which the last error is raised; never when None.
    """
    return AsyncRetrying(
        retry=retry_if_exception_type(StoreUnavailable),
        wait=wait_random_exponential(multiplier=0.02, max=1.0),
        stop=stop_never if for_s is None else stop_after_delay(for_s),
        reraise=True,
    )


class Connection:
    """Connections to one Redis server.

    The client library's own retries are off: they would send a script again whose reply was lost, without our
    knowing. Here a command is sent again on purpose, within `patience_s`, since every command may be sent twice.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        patience_s: How long a command may wait for a server that is away, in seconds.
        redis: A ready client, for tests.
        clock_us: The pool's clock in microseconds, for tests; the server's own when None.
    """

    def __init__(
        self, url: str, *, patience_s: float = 10.0, redis: Redis | None = None, clock_us: int | None = None
    ) -> None:
        self.url = mask_url(url)
        self.clock_us = clock_us
        self._url = url
        self._patience_s = patience_s
        self._redis = redis or self._open(max_connections=16)

    def _open(self, *, max_connections: int) -> Redis:
        try:
            pool = BlockingConnectionPool.from_url(
                self._url,
                max_connections=max_connections,
                timeout=10,
                decode_responses=True,
                protocol=2,
                socket_timeout=None,
                socket_connect_timeout=2.0,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise InvalidRequest("redis url", self.url, f"use redis://, rediss:// or unix:// ({error})") from error
        return Redis(connection_pool=pool)

    def dedicated(self) -> Redis:
        """Return a client with one connection of its own and no read timeout, to block on."""
        return self._open(max_connections=1)

    def without_patience(self) -> Connection:
        """Return the same connection for calls that rather fail at once than wait."""
        return Connection(self._url, patience_s=0, redis=self._redis, clock_us=self.clock_us)

    async def close(self) -> None:
        """Close all connections."""
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def check(self) -> str:
        """Connect and return the server's version.

        Raises:
            StoreUnavailable: Nobody answers.
            StoreUnsupported: It is too old, or does not run Lua.
        """
        async with self.plain() as redis:
            info = await redis.info("server")
            version = str(info.get("redis_version", "0"))
            if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < MINIMUM_VERSION:
                raise StoreUnsupported(
                    f"Redis {version} at {self.url} is too old", hint="the pool needs Redis 6.2 or newer, or Valkey"
                )
            try:
                for script in load_scripts().values():
                    await redis.script_load(script.source)
                await redis.evalsha(load_scripts()["snapshot"].sha, 1, "cp:{}:meta", "")
            except (NoPermissionError, ResponseError) as error:
                raise StoreUnsupported(
                    f"the server at {self.url} does not run Lua scripts: {error}",
                    hint="use a Redis or Valkey server that allows SCRIPT and EVALSHA",
                ) from error
        return version

    async def run(self, name: str, meta: str, arguments: Sequence[str | int | float]) -> tuple[Any, bool]:
        """Run a script and return its reply, and whether it may have run before.

        Raises:
            StoreUnavailable: The server stayed away longer than our patience.
            StoreError: The server refused.
        """
        try:
            return await self._run_once(name, meta, arguments), False
        except StoreUnavailable:
            if self._patience_s <= 0:
                raise
        again = functools.partial(self._run_once, name, meta, arguments)
        return await retrying(for_s=self._patience_s)(again), True

    async def _run_once(self, name: str, meta: str, arguments: Sequence[str | int | float]) -> Any:
        script = load_scripts()[name]
        clock = "" if self.clock_us is None else self.clock_us
        async with self.plain() as redis:
            try:
                return await redis.evalsha(script.sha, 1, meta, clock, *arguments)
            except NoScriptError:
                await redis.script_load(script.source)
                return await redis.evalsha(script.sha, 1, meta, clock, *arguments)

    @asynccontextmanager
    async def plain(self) -> AsyncIterator[Redis]:
        """Lend the client, with a deadline and errors translated.

        The deadline is ours: the library's `socket_timeout` waits by `asyncio.wait_for`, which in Python 3.11 can
        swallow a cancellation, and so a cancelled request would go on waiting.
        """
        with translated(self.url):
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                yield self._redis


class translated:  # noqa: N801 - reads as a word at its place: `with translated(url)`
    """Turn errors of the client library into ours."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or not isinstance(error, (RedisError, OSError)):
            return
        if isinstance(error, (AuthenticationError, NoPermissionError)):
            raise StoreError(
                f"Redis at {self._url} refused us: {error}", hint="check user and password in the URL"
            ) from error
        if isinstance(error, _AWAY):
            raise StoreUnavailable(
                f"Redis at {self._url} does not answer: {str(error) or 'timed out'}",
                hint="start it, or give another URL in redis.url or POOL_URL; leave both empty for a private server",
            ) from error
        raise StoreError(f"Redis at {self._url}: {error}") from error
