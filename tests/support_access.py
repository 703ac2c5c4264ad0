"""A Redis of a test's own, since an API token closes every server of its Redis, and an HTTP server on it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from json import loads
from typing import Any

import aiohttp
import pytest

from pool.access import TokenKeeper
from pool.api import ApiServer
from pool.config import Config, HttpOptions
from pool.embedded import temporary_server
from pool.leases import LeaseRef
from pool.store import Connection, PoolStore, TokenStore
from tests.support import add_available, pool_config, settings


@pytest.fixture(scope="module", name="redis_url")
def redis_of_module() -> Iterator[str]:
    """A server for the module that imports this, alone: no other test has pools or tokens in it."""
    with temporary_server() as url:
        yield url


@asynccontextmanager
async def own_redis() -> AsyncIterator[str]:
    """The URL of a server that nobody else uses."""
    with temporary_server() as url:
        yield url


@dataclass
class Site:
    """An HTTP server with one pool of available containers behind it, and without a manager."""

    url: str
    server: ApiServer
    connection: Connection
    store: PoolStore
    http: aiohttp.ClientSession
    redis_url: str

    @property
    def pool(self) -> str:
        return self.store.pool

    def ref(self, token: str) -> LeaseRef:
        """What a lease's token stands for."""
        return LeaseRef.unseal(token)

    async def token(self, name: str = "ci", **wish: Any) -> str:
        """A new API token."""
        return (await TokenKeeper(TokenStore(self.connection)).create(name, **wish))[1]

    async def ask(
        self, method: str, path: str, *, token: str = "", json: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        given = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.http.request(method, self.url + path, json=json, headers=given | (headers or {})) as response:
            body = await response.read()
            return response.status, loads(body) if "json" in response.content_type else None

    async def lease(self, token: str = "", **wish: Any) -> tuple[int, Any]:
        """Ask for a container."""
        return await self.ask("POST", "/v1/leases", token=token, json={"pool": self.pool, "wait_s": 0} | wish)


def site_config(pool: str, **http: Any) -> Config:
    config = pool_config("d" + pool, pool)
    return config.model_copy(update={"http": HttpOptions.model_validate({"port": 0} | http)})


@asynccontextmanager
async def open_site(
    redis_url: str, *containers: str, http: dict[str, Any] | None = None, **limits: object
) -> AsyncIterator[Site]:
    """Serve a pool over HTTP for as long as the block lasts."""
    connection = Connection(redis_url, patience_s=1)
    store = PoolStore(connection, f"t{uuid.uuid4().hex[:8]}")
    server = ApiServer(site_config(store.pool, **(http or {})), connection, None)
    try:
        await store.open(settings(**limits), "first")
        await add_available(store, *containers)
        await server.start()
        async with aiohttp.ClientSession() as session:
            yield Site(server.url, server, connection, store, session, redis_url)
    finally:
        await server.close()
        await store.forget()
        await connection.close()
