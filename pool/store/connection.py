"""The connection to Redis: runs scripts, survives outages within a deadline, and checks what it talks to."""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,  # noqa: A004 - redis-py's name
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import TimeoutError as LateError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, stop_never, wait_random_exponential

from pool.config.names import NAME_PATTERN
from pool.config.redis_url import RedisUrl, parse_redis_url
from pool.errors import InvalidRequest, StoreError, StoreUnavailable, StoreUnsupported
from pool.redaction import mask_url
from pool.scripts import Script, load_scripts
from pool.store.servers import OneServer, Servers, servers_of

#: Oldest server that has all commands the scripts use (ZADD GT, LPOS, …): https://redis.io/commands
MINIMUM_VERSION = (6, 2)
POOLS_KEY = "cp:pools"
#: Deadline of one command.
COMMAND_TIMEOUT_S = 5.0

#: How long replicas may take to confirm, where `wait_replicas` asks for them; shorter than `COMMAND_TIMEOUT_S`.
_REPLICATION_TIMEOUT_S = 1.0

#: Commands whose reply is a promise: this container is yours, for so long. Lost in a failover, two would hold it. What
#: the others do is either done again (a reset, a reap) or made up for when a lease lapses (a release).
PROMISES = frozenset({"acquire", "acquire_many", "collect", "heartbeat", "extend"})

_AWAY = (
    ConnectionError, LateError, BusyLoadingError, ReadOnlyError, ClusterDownError, TryAgainError, AskError, OSError,
)  # fmt: skip
#: Replies of a server that cannot serve now, but will: without a class of their own, or wrapped by a script's error.
_NOT_NOW = re.compile(
    r"\b(READONLY|UNBLOCKED|NOREPLICAS|MISCONF|BUSY|OOM|MASTERDOWN|CLUSTERDOWN|LOADING|non local key)\b"
)


def check_pool_name(pool: str) -> str:
    """Return a pool's name if it can be one.

    Raises:
        InvalidRequest: It cannot.
    """
    if not isinstance(pool, str) or not re.fullmatch(NAME_PATTERN, pool):
        raise InvalidRequest("pool", pool, "use a name of a-z, 0-9, - _ . that begins and ends with a letter or digit")
    return pool


class _Loading(StoreUnavailable):
    """The server is there, and reads its data from disk."""


def retrying(*, for_s: float | None = None, on: type[StoreUnavailable] = StoreUnavailable) -> AsyncRetrying:
    """Return what calls a function again, with growing and scattered delays, while Redis is away.

    Args:
        for_s: Seconds after which the last error is raised; never when None.
        on: The error after which to call again.
    """
    return AsyncRetrying(
        retry=retry_if_exception_type(on),
        wait=wait_random_exponential(multiplier=0.02, max=1.0),
        stop=stop_never if for_s is None else stop_after_delay(for_s),
        reraise=True,
    )


class Connection:
    """Connections to one Redis: a server, the master that Sentinels name, or a Cluster.

    The client library's own retries are off: they would send a script again whose reply was lost, without our
    knowing. Here a command is sent again on purpose, within `patience_s`, since every command may be sent twice.

    Args:
        url: One of the forms in `docs/redis.md`; with `?wait_replicas=n`, a promise counts once n replicas have it.
        patience_s: How long a command may wait for a server that is away, in seconds. It ends by then, or at the
            deadline of a single command if that is later.
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
        parsed = self._parse(url)
        self._wait_replicas = parsed.wait_replicas
        self._servers: Servers = servers_of(parsed) if redis is None else OneServer(redis)

    def _parse(self, url: str) -> RedisUrl:
        try:
            return parse_redis_url(url)
        except ValueError as error:
            raise InvalidRequest("redis url", self.url, str(error)) from error

    @property
    def split(self) -> bool:
        """Whether two pools may be on different servers, so that one command cannot name keys of both."""
        return self._servers.split

    async def dedicated(self, key: str) -> Redis:
        """Return a client with one connection of its own to the server that has a key, to block on.

        Raises:
            StoreUnavailable: Nobody says which server that is.
        """
        with translated(self.url):
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                return await self._servers.dedicated(key)

    def doubt(self) -> None:
        """Look anew, before the next command, for the server that is due: one of them failed."""
        self._servers.doubt()

    def again(self) -> Connection:
        """Return another connection to the same Redis, with as much patience, to be closed on its own."""
        return Connection(self._url, patience_s=self._patience_s, clock_us=self.clock_us)

    def without_patience(self) -> Connection:
        """Return the same connection for calls that rather fail at once than wait."""
        other = copy.copy(self)
        other._patience_s = 0  # noqa: SLF001 - our own twin
        return other

    async def close(self) -> None:
        """Close all connections."""
        await self._servers.close()

    async def check(self) -> str:
        """Connect and return the server's version; while it loads its data, it is waited for within our patience.

        Raises:
            StoreUnavailable: Nobody answers.
            StoreUnsupported: It is too old, or does not run Lua.
        """
        return await retrying(for_s=self._patience_s, on=_Loading)(self._check_once)

    async def _check_once(self) -> str:
        version = ""
        async with self._guarded():
            for redis in await self._servers.all():
                version = str((await redis.info("server")).get("redis_version", "0"))
                if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < MINIMUM_VERSION:
                    raise StoreUnsupported(
                        f"Redis {version} at {self.url} is too old", hint="the pool needs Redis 6.2 or newer, or Valkey"
                    )
                await self._check_lua(redis)
        return version

    async def _check_lua(self, redis: Redis) -> None:
        """Load the scripts, and see whether they may be run: a script that does not exist says so even of no key."""
        try:
            for script in load_scripts().values():
                await redis.script_load(script.source)
            with suppress(NoScriptError):
                await redis.evalsha("0" * 40, 0)
        except (NoPermissionError, ResponseError) as error:
            raise StoreUnsupported(
                f"the server at {self.url} does not run Lua scripts: {error}",
                hint="use a Redis or Valkey server that allows SCRIPT and EVALSHA",
            ) from error

    async def run(self, name: str, meta: str, arguments: Sequence[str | int | float]) -> tuple[Any, bool]:
        """Run a script and return its reply, and whether it may have run before.

        Raises:
            StoreUnavailable: The server stayed away longer than our patience.
            StoreError: The server refused.
        """
        until = asyncio.get_running_loop().time() + self._patience_s
        try:
            return await self._run_once(name, meta, arguments), False
        except StoreUnavailable as error:
            if self._patience_s <= 0:
                raise
            last = error

        async def again() -> Any:
            nonlocal last
            try:
                return await self._run_once(name, meta, arguments)
            except StoreUnavailable as error:
                last = error
                raise

        try:
            async with asyncio.timeout_at(until):
                return await retrying()(again), True
        except TimeoutError:
            raise last from None

    async def _run_once(self, name: str, meta: str, arguments: Sequence[str | int | float]) -> Any:
        script = load_scripts()[name]
        words = ("" if self.clock_us is None else self.clock_us, *arguments)
        servers = self._servers
        with translated(self.url):  # as in `_guarded`, spelt out: its generators would be a tenth of an acquire
            try:
                async with asyncio.timeout(COMMAND_TIMEOUT_S):
                    if self._wait_replicas and name in PROMISES:
                        return await self._replicated(await servers.owner(meta), script, meta, words)
                    redis = servers.fixed or await servers.client()
                    try:
                        return await redis.evalsha(script.sha, 1, meta, *words)
                    except NoScriptError:
                        return await redis.eval(script.source, 1, meta, *words)
            except BaseException:
                servers.doubt()
                raise

    async def _replicated(self, redis: Redis, script: Script, meta: str, words: Sequence[str | int | float]) -> Any:
        """Run a script, and believe its reply only once enough replicas have what it wrote.

        WAIT is about what its own connection wrote, so both go over one, together. A promise that was not confirmed is
        none: the caller asks again for it, by the same request id, until its patience ends, and then withdraws.
        """
        pipeline = redis.pipeline(transaction=False)
        pipeline.evalsha(script.sha, 1, meta, *words)
        pipeline.execute_command("WAIT", self._wait_replicas, round(_REPLICATION_TIMEOUT_S * 1000))
        reply, copies = await pipeline.execute(raise_on_error=False)
        if isinstance(reply, NoScriptError):
            await redis.script_load(script.source)
            return await self._replicated(redis, script, meta, words)
        for fault in (reply, copies):
            if isinstance(fault, Exception):
                raise fault
        if copies < self._wait_replicas:
            raise StoreUnavailable(
                f"not replicated: {copies} of {self._wait_replicas} replicas of Redis at {self.url} confirmed in time",
                hint="bring the replicas back, or ask for fewer with wait_replicas",
            )
        return reply

    async def scan(self, pattern: str) -> AsyncGenerator[str, None]:
        """Yield the keys of a pattern, on all servers, some of them twice; each step has its own deadline.

        Raises:
            StoreUnavailable: A server does not answer.
        """
        async with self._guarded():
            servers = await self._servers.all()
        for redis in servers:
            cursor = -1
            while cursor:
                async with self._guarded():
                    cursor, keys = await redis.scan(max(cursor, 0), match=pattern, count=1000)
                for key in keys:
                    yield str(key)

    @asynccontextmanager
    async def plain(self) -> AsyncIterator[Redis]:
        """Lend the client, with a deadline and errors translated.

        In a Cluster it sends each command to the node that has its key; it has no pipelines.

        The deadline is ours: the library's `socket_timeout` waits by `asyncio.wait_for`, which in Python 3.11 can
        swallow a cancellation, and so a cancelled request would go on waiting.
        """
        async with self._guarded():
            yield self._servers.fixed or await self._servers.client()

    @asynccontextmanager
    async def _guarded(self) -> AsyncIterator[None]:
        """Give a command its deadline, translate its errors, and after any look anew for the server that is due."""
        with translated(self.url):
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                try:
                    yield
                except BaseException:  # a caller's own deadline tells of a silent server as well
                    self._servers.doubt()
                    raise


class translated:  # noqa: N801 - reads as a word at its place: `with translated(url)`
    """Turn errors of the client library into ours."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or not isinstance(error, (RedisError, OSError)):
            return
        refused = (AuthenticationError, NoPermissionError)
        if isinstance(error, refused) or isinstance(
            error.__cause__, refused
        ):  # while it connects, the library wraps it
            raise StoreError(
                f"Redis at {self._url} refused us: {error}", hint="check user and password in the URL"
            ) from error
        if isinstance(error, _AWAY) or (isinstance(error, ResponseError) and _NOT_NOW.search(str(error))):
            kind = _Loading if isinstance(error, BusyLoadingError) else StoreUnavailable
            raise kind(
                f"Redis at {self._url} does not answer: {str(error) or 'timed out'}",
                hint="start it, or give another URL in redis.url or POOL_URL; leave both empty for a private server",
            ) from error
        raise StoreError(f"Redis at {self._url}: {error}") from error
