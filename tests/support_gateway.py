"""A gateway in front of servers of the tests' own, which stand for containers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientSession, ClientTimeout, web

from pool.api import ApiServer
from pool.config import Config, HttpOptions
from pool.models import ContainerInfo, GatewayRules, LeaseData, LeaseRef, Outcome, State
from pool.store import Connection, Grant, PoolStore
from tests.support import open_pool, wish

RULES: dict[str, Any] = {
    "scheme": "http", "host_header": "target", "origin": "target", "connections": 100, "connect_timeout_s": 2.0,
    "sandbox": True,
}  # fmt: skip


async def echo(request: web.Request) -> web.StreamResponse:
    """Say what came."""
    body = await request.read()
    headers = [[name, value] for name, value in request.headers.items()]
    return web.json_response(
        {"method": request.method, "path": request.raw_path, "headers": headers, "body": body.decode("latin-1")}
    )


def got(headers: list[list[str]], name: str) -> list[str]:
    return [value for key, value in headers if key.lower() == name.lower()]


@asynccontextmanager
async def serving(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]], **options: Any
) -> AsyncIterator[int]:
    """A server of one handler on loopback; yields its port."""
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1, **options)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def speaking(talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[int]:
    """A server that speaks by hand; yields its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except ConnectionError as error:
            print(f"the other side hung up: {error}")
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@dataclass
class Bench:
    """One pool behind a gateway, and a client."""

    store: PoolStore
    server: ApiServer
    session: ClientSession

    async def add(self, *ports: int, container_id: str = "a", direct: bool = False, **rules: Any) -> None:
        """Make a container available whose ports 3000, 3001, … are these local ones."""
        info = ContainerInfo(
            container_id, f"n-{container_id}", "127.0.0.1", {3000 + n: port for n, port in enumerate(ports)},
            f"http://127.0.0.1:{ports[0]}", gateway=None if direct else GatewayRules(**RULES | rules),
        )  # fmt: skip
        record = await self.store.register(info, spec="s")
        assert await self.store.transition(record, State.AVAILABLE)

    async def lease(self, request_id: str = "r", **changes: object) -> LeaseData:
        grant = await self.store.acquire(
            wish(request_id, **({"wait_s": 0.0, "ttl_s": 60.0, "timeout_s": 600.0} | changes))
        )
        assert isinstance(grant, Grant)
        return grant.lease

    def url(self, lease: LeaseData, path: str = "") -> str:
        return LeaseRef.parse(lease.ref).url(self.server.url) + path

    async def release(self, lease: LeaseData) -> None:
        await self.store.release(LeaseRef.parse(lease.ref), Outcome.PASSED)

    async def revoke(self, lease: LeaseData) -> None:
        record = await self.store.container(lease.container.id)
        assert record is not None
        assert await self.store.transition(record, State.UNHEALTHY, store={"note": "revoked"})

    async def raw(self, data: bytes, *, patience_s: float = 3.0) -> bytes:
        """Send bytes to the gateway as they are; returns what comes back until it hangs up, or has nothing to say."""
        port = int(self.server.url.rsplit(":", 1)[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        came = b""
        try:
            writer.write(data)
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    while piece := await reader.read(65536):
                        came += piece
            return came
        finally:
            writer.close()


@asynccontextmanager
async def gateway_bench(redis_url: str) -> AsyncIterator[Bench]:
    """A pool on a real server, and the gateway of a manager that has nothing else to do."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_pool(redis_url))
        config = Config.model_validate(
            {
                "pools": {store.pool: {"size": 1, "container": {"image": "i"}, "health": {"tcp": None}}},
                "http": {"port": 0},
            }
        )
        assert isinstance(config.http, HttpOptions)
        connection = Connection(redis_url)
        stack.push_async_callback(connection.close)
        server = ApiServer(config, connection, None)
        await server.start()
        stack.push_async_callback(server.close)
        session = await stack.enter_async_context(ClientSession(timeout=ClientTimeout(total=30), auto_decompress=False))
        yield Bench(store, server, session)
