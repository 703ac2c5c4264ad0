"""A server of the API over a real Redis, and a plain HTTP client that talks to it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from pool.api import ApiServer
from pool.config import Config, HttpOptions
from pool.models import State
from pool.ports import Runtime
from pool.store import Connection, PoolStore
from tests.support import pool_config


@dataclass
class Reply:
    status: int
    headers: Mapping[str, str]  # names in any case
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text)


@dataclass
class Api:
    """A server, and a session with it."""

    server: ApiServer
    session: aiohttp.ClientSession
    headers: dict[str, str] = field(default_factory=dict)

    async def call(self, method: str, path: str, *, token: str = "", **options: Any) -> Reply:
        headers = self.headers | options.pop("headers", {})
        if token:
            headers["Authorization"] = f"Bearer {token}"
        async with self.session.request(method, self.server.url + path, headers=headers, **options) as response:
            return Reply(response.status, response.headers, await response.text())

    async def take(self, **wish: Any) -> Reply:
        return await self.call("POST", "/v1/leases", json=wish)

    async def release(self, lease: Any) -> Reply:
        return await self.call("DELETE", f"/v1/leases/{lease['id']}", token=lease["token"])


@asynccontextmanager
async def serving(
    redis_url: str, pool: str = "p", *, runtime: Runtime | None = None, config: Config | None = None, **http: Any
) -> AsyncIterator[Api]:
    """A server on a port of its own, for as long as the block lasts."""
    config = config or pool_config("t", pool)
    config = config.model_copy(update={"http": HttpOptions.model_validate({"port": 0, "shutdown_grace_s": 2} | http)})
    connection = Connection(redis_url, patience_s=1)
    server = ApiServer(config, connection, runtime)
    try:
        await server.start()
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(30)) as session:
            yield Api(server, session)
    finally:
        await server.close()
        await connection.close()


async def clean(store: PoolStore, container_id: str) -> None:
    """Do what a manager would with a container that was given back: make it available."""
    record = await store.container(container_id)
    assert record is not None
    if record.state is State.UNHEALTHY:
        assert await store.transition(record, State.RESETTING)
        record = await store.container(container_id)
        assert record is not None
    assert await store.transition(record, State.AVAILABLE)
