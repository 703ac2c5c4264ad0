"""A Redis that is away for a while, or comes back empty: who waits within its time gets what it came for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from pool.client import AsyncClient
from pool.errors import StoreUnavailable, UnknownPool
from pool.store import Connection, Grant, PoolStore, RequestSpec, Waiting
from tests.support import add_available, eventually, settings
from tests.support_redis import Server

LOADING = b"-LOADING Redis is loading the dataset in memory\r\n"


@pytest.fixture
async def store(server: Server) -> AsyncIterator[PoolStore]:
    connection = Connection(f"redis://{server.address}", patience_s=20)
    store = PoolStore(connection, "p")
    await store.open(settings(), "first")
    await add_available(store, "a")
    yield store
    await connection.close()


class Loader:
    """A proxy that says that the server still loads its data, until it is told otherwise."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.loaded = False
        self.refused = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._server.port)
        with suppress(ConnectionError):
            while request := await reader.read(65536):
                if not self.loaded:
                    self.refused += 1
                    writer.write(LOADING * max(request.count(b"\r\n*") + 1, 1))
                    continue
                back.write(request)
                writer.write(await there.read(65536))
        back.close()
        writer.close()


@pytest.fixture
async def loader(server: Server) -> AsyncIterator[tuple[Loader, str]]:
    loader = Loader(server)
    listening = await asyncio.start_server(loader.serve, "127.0.0.1", 0)
    yield loader, f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    listening.close()


async def test_a_client_waits_for_a_server_that_loads_its_data(loader: tuple[Loader, str]) -> None:
    proxy, url = loader
    client = AsyncClient(url, patience_s=20)
    connecting = asyncio.create_task(client.connect())

    async def refused_twice() -> bool:
        return proxy.refused > 1

    await eventually(refused_twice)
    proxy.loaded = True

    await connecting
    assert await client.pools() == []
    await client.close()


async def test_a_client_waits_for_a_loading_server_no_longer_than_its_patience(loader: tuple[Loader, str]) -> None:
    with pytest.raises(StoreUnavailable, match="loading"):
        await AsyncClient(loader[1], patience_s=0.2).connect()


async def test_a_lease_granted_after_an_outage_longer_than_its_ttl_is_not_lost_on_arrival(
    server: Server, store: PoolStore
) -> None:
    async with AsyncClient(f"redis://{server.address}", patience_s=20) as client:
        await server.kill()
        asked_at = time.monotonic()
        acquiring = asyncio.create_task(client.acquire("p", ttl_s=0.5, request_id="mine"))

        async def outlasted() -> bool:
            return time.monotonic() > asked_at + 0.6

        await eventually(outlasted)
        await server.start()

        async with await acquiring as lease:
            lease.check()
            assert lease.request_id == "mine"


async def test_a_waiter_whose_pool_was_lost_gets_its_container_once_the_pool_is_open_again(
    server: Server, store: PoolStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    missed = asyncio.Event()
    acquire = PoolStore.acquire

    async def watched(store: PoolStore, request: RequestSpec) -> Grant | Waiting:
        try:
            return await acquire(store, request)
        except UnknownPool:
            missed.set()
            raise

    monkeypatch.setattr(PoolStore, "acquire", watched)
    async with AsyncClient(f"redis://{server.address}") as client:
        await client.acquire("p")
        waiting = asyncio.create_task(client.acquire("p", wait_s=30))
        brief = asyncio.create_task(client.acquire("p", wait_s=2))

        async def both_wait() -> bool:
            return len((await store.status()).queue) == 2

        await eventually(both_wait)
        await server.ask("FLUSHALL")
        await asyncio.wait_for(missed.wait(), 20)
        with pytest.raises(UnknownPool):
            await brief
        await store.open(settings(), "second")
        await add_available(store, "a")

        async with await waiting as lease:
            assert lease.container.id == "a"
