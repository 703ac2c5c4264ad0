"""The four clients, for tests that are the same for all: on Redis and over HTTP, asynchronous and synchronous."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from pool.api import ApiServer
from pool.client import AsyncClient, Bundle, Client, Lease
from pool.config import Config
from pool.store import Connection
from tests.support import pool_config

#: What blocks in the synchronous client, and is awaited in the other.
_BLOCKING = frozenset(
    {
        "acquire", "acquire_many", "close", "detach", "drain", "explain", "extend", "pools", "quarantine", "queue",
        "release", "reset", "restore", "resume", "status", "timeout_recommendation",
    }
)  # fmt: skip


class Threaded:
    """A synchronous client, lease or bundle whose blocking calls are awaited: tests read the same for both kinds."""

    def __init__(self, wrapped: Any, threads: ThreadPoolExecutor) -> None:
        self._wrapped = wrapped
        self._threads = threads

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._wrapped, name)
        return functools.partial(self._await, found) if name in _BLOCKING and callable(found) else found

    async def _await(self, work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        call = functools.partial(work, *arguments, **options)
        result = await asyncio.get_running_loop().run_in_executor(self._threads, call)
        return Threaded(result, self._threads) if isinstance(result, Lease | Bundle) else result

    def __iter__(self) -> Iterator[Any]:
        return iter(self._wrapped)

    def __getitem__(self, pool: str) -> Any:
        return self._wrapped[pool]

    def __len__(self) -> int:
        return len(self._wrapped)

    async def __aenter__(self) -> Threaded:
        return self

    async def __aexit__(self, *left_by: Any) -> None:
        await self._await(self._wrapped.__exit__, *left_by)


@asynccontextmanager
async def open_client(kind: str, url: str, **options: Any) -> AsyncIterator[Any]:
    """A connected client of one kind, `async` or `sync`, to call as if it were the former."""
    if kind == "async":
        async with AsyncClient(url, **options) as client:
            yield client
        return
    with ThreadPoolExecutor(40, thread_name_prefix="sync-client") as threads:
        make = functools.partial(Client, url, **options)
        wrapped = Threaded(await asyncio.get_running_loop().run_in_executor(threads, make), threads)
        try:
            yield wrapped
        finally:
            await wrapped.close()


def api_config(**http: Any) -> Config:
    """The configuration of a server on a port that the system chooses, of a pool that nobody manages."""
    config = pool_config("contract", "unmanaged")
    return Config.model_validate(config.model_dump(mode="json", exclude_unset=True) | {"http": {"port": 0} | http})


@asynccontextmanager
async def api_server(redis_url: str, **http: Any) -> AsyncIterator[ApiServer]:
    """A manager's HTTP server, without managers."""
    connection = Connection(redis_url, patience_s=1.0)
    server = ApiServer(api_config(**http), connection, None)
    await server.start()
    try:
        yield server
    finally:
        await server.close()
        await connection.close()
