"""A manager on a real server and an engine in memory, for tests of what it does."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from pool.client import AsyncClient
from pool.config import Config
from pool.manager import Ending, PoolManager
from pool.models import ContainerRecord, State
from pool.store import Connection, PoolStore, read_events
from pool.testing import MemoryContainer, MemoryRuntime
from tests.catalogue import expect_known_events
from tests.support import obedient_shell, pool_config


@dataclass
class Bench:
    """A pool with its engine, server and managers."""

    connection: Connection
    runtime: MemoryRuntime
    config: Config
    client: AsyncClient
    endings: list[Ending] = field(default_factory=list)
    managers: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def pool(self) -> str:
        return next(iter(self.config.pools))

    @property
    def store(self) -> PoolStore:
        return PoolStore(self.connection, self.pool)

    def start(self) -> PoolManager:
        manager = PoolManager(self.config, self.pool, self.runtime, self.connection)
        self.endings.append(Ending())
        self.managers.append(asyncio.create_task(manager.run(self.endings[-1])))
        return manager

    async def ready(self) -> None:
        manager = self.start()
        await asyncio.wait_for(asyncio.shield(_first(manager.ready.wait(), self.managers[-1])), 10)

    async def stop(self) -> None:
        for ending in self.endings:
            ending.request()
        await asyncio.gather(*self.managers)
        self.endings.clear()
        self.managers.clear()

    async def record(self, container_id: str | None = None) -> ContainerRecord:
        record = await self.store.container(container_id or f"{self.pool}-1")
        assert record is not None
        return record

    def inside(self, container_id: str | None = None) -> MemoryContainer:
        wanted = container_id or f"{self.pool}-1"
        return next(c for c in self.runtime.containers.values() if c.spec.id == wanted and not c.spec.holds)

    def holder(self, container_id: str | None = None) -> MemoryContainer:
        wanted = container_id or f"{self.pool}-1"
        return next(c for c in self.runtime.containers.values() if c.spec.id == wanted and c.spec.holds)

    def calls(self, name: str) -> int:
        return sum(call == name for call, _ in self.runtime.calls)

    async def all_available(self) -> bool:
        return (await self.store.status()).count(State.AVAILABLE) == 2

    async def facts(self, kind: str) -> list[dict[str, str]]:
        events = await read_events(self.connection, self.pool)
        return [dict(event.fields) for event in events if event.type == kind]


async def _first(waiting: Awaitable[object], task: asyncio.Task[None]) -> None:
    """Wait for something, or raise what ended the task that was to bring it about."""
    future = asyncio.ensure_future(waiting)
    await asyncio.wait([future, task], return_when=asyncio.FIRST_COMPLETED)
    if not future.done():
        future.cancel()
        await task


MakeBench = Callable[..., Awaitable[Bench]]


@pytest.fixture
async def make_bench(redis_url: str) -> AsyncIterator[MakeBench]:
    benches: list[Bench] = []
    connections = []

    async def make(runtime: MemoryRuntime | None = None, **pool_options: object) -> Bench:
        connection = Connection(redis_url, patience_s=1)
        client = AsyncClient(redis_url, owner="tester")
        await client.connect()
        connections.append((connection, client))
        name = uuid.uuid4().hex[:8]
        config = pool_config(f"d{name}", f"p{name}", **pool_options)
        runtime = runtime or MemoryRuntime(shell_handler=obedient_shell)
        benches.append(Bench(connection, runtime, config, client))
        return benches[-1]

    yield make
    for bench in benches:
        for ending in bench.endings:
            ending.request()
        await asyncio.gather(*bench.managers, return_exceptions=True)
        await expect_known_events(bench.connection, bench.pool)
        await bench.store.forget()
    for connection, client in connections:
        await client.close()
        await connection.close()


@asynccontextmanager
async def running(make_bench: MakeBench, **options: object) -> AsyncIterator[Bench]:
    bench = await make_bench(**options)
    await bench.ready()
    yield bench
    await bench.stop()


async def when(condition: Callable[[], bool]) -> bool:
    """What `eventually` waits for, where nothing has to be awaited."""
    return condition()
