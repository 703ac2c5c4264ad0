"""A pool of sample containers on the real engine, managed in this process, and an engine that can be cut off."""

from __future__ import annotations

import asyncio
import io
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml
from docker import APIClient

from pool.client import AsyncClient
from pool.config import Config, DockerOptions
from pool.manager import Ending, PoolManager
from pool.models import ContainerRecord, State
from pool.runtimes import DockerRuntime
from pool.store import Connection, PoolStore, read_events
from tests.catalogue import expect_known_events
from tests.docker.cleaning import left_of, remove_deployment
from tests.support import eventually

DEMO = Path(__file__).parents[2] / "config" / "demo.yaml"
DEMO_POOL = "browsers"


@dataclass(frozen=True)
class Bench:
    """A managed pool, and what a test wants to know of it.

    Attributes:
        pool: Its name, and its deployment's; no other pool has it.
        since: The event that those of this test come after.
    """

    config: Config
    pool: str
    redis_url: str
    store: PoolStore
    client: AsyncClient
    api: APIClient
    runtime: DockerRuntime
    manager: asyncio.Task[None]
    since: str

    @property
    def first(self) -> str:
        """The id of the first container."""
        return f"{self.pool}-1"

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Self]:
        """One test's turn with a pool that many share: it begins whole, and what the test has leased ends with it."""
        await eventually(self.whole, deadline_s=60)
        async with AsyncClient(self.redis_url, owner="tester") as client:
            yield replace(self, client=client, since=await newest_event(self.store))

    async def record(self, container_id: str = "") -> ContainerRecord:
        record = await self.store.container(container_id or self.first)
        assert record is not None
        return record

    async def name(self, container_id: str = "") -> str:
        return (await self.record(container_id)).info.name

    async def whole(self) -> bool:
        assert not self.manager.done(), self.manager
        return (await self.store.status()).count(State.AVAILABLE) == len(self.config.slots(self.pool))

    async def events(self, *kinds: str) -> list[Mapping[str, str]]:
        events = await read_events(self.store.connection, self.pool, after=self.since)
        return [event.fields for event in events if event.type in kinds]

    async def moves(self, container_id: str = "") -> list[Mapping[str, str]]:
        mine = container_id or self.first
        return [move for move in await self.events("container.moved") if move["container"] == mine]

    async def resets(self, container_id: str = "") -> list[Mapping[str, str]]:
        return [move for move in await self.moves(container_id) if "reset_level" in move]

    async def faults(self, container_id: str = "") -> list[str]:
        return [move["fault"] for move in await self.moves(container_id) if "fault" in move]

    async def healed(self, since: ContainerRecord, *, deadline_s: float = 60) -> None:
        """Wait until a container that was recovered is available again."""

        async def again() -> bool:
            assert not self.manager.done(), self.manager
            now = await self.record(since.id)
            return now.state is State.AVAILABLE and now.revision > since.revision

        await eventually(again, deadline_s=deadline_s)

    async def in_state(self, state: State, container_id: str = "", *, deadline_s: float = 60) -> ContainerRecord:
        async def reached() -> bool:
            assert not self.manager.done(), self.manager
            return (await self.record(container_id)).state is state

        await eventually(reached, deadline_s=deadline_s)
        return await self.record(container_id)


#: Manages a pool with the changes that a test wants; see `managed`.
Manage = Callable[..., AbstractAsyncContextManager[Bench]]


def demo_config(deployment: str, changes: Mapping[str, Any]) -> Config:
    """The demo's pool under the name of its deployment, with short times, changed in places."""
    document = yaml.safe_load(DEMO.read_text())
    pool = document["pools"][DEMO_POOL]
    pool["health"] |= {"interval_s": 0.3, "failures": 2}
    pool["health"]["http"] |= {"timeout_s": 0.5}
    pool["limits"]["adaptive_timeouts"] = False  # other tests' leases were short
    pool["thresholds"] = {"forecast_horizon_s": None}  # and what they used up is no trend
    for key, value in changes.items():
        pool[key] = pool.get(key, {}) | value if isinstance(value, dict) else value
    if pool.get("access", "direct") != "direct":
        document["http"] = {"port": 0}
    return Config.model_validate(document | {"deployment": deployment, "pools": {deployment: pool}})


async def newest_event(store: PoolStore) -> str:
    return (await read_events(store.connection, store.pool, count=100_000))[-1].id


@asynccontextmanager
async def managed(
    redis_url: str, api: APIClient, runtime: DockerRuntime | None = None, **changes: object
) -> AsyncIterator[Bench]:
    """Manage a pool until the block is over, and leave nothing of it behind.

    Args:
        redis_url: Where its state lives.
        api: The engine.
        runtime: The manager's way to the engine; one to the machine's own when None.
        changes: What is different from the demo's pool.
    """
    name = f"t-{uuid.uuid4().hex[:8]}"
    async with AsyncExitStack() as stack:
        if runtime is None:
            runtime = DockerRuntime(DockerOptions())
            stack.push_async_callback(runtime.close)
        connection = Connection(redis_url)
        stack.push_async_callback(connection.close)
        stack.push_async_callback(asyncio.to_thread, remove_deployment, api, name)
        ending, config = Ending(), demo_config(name, changes)
        manager = PoolManager(config, name, runtime, connection)
        running = asyncio.create_task(manager.run(ending))
        ready = asyncio.create_task(manager.ready.wait())
        try:
            await asyncio.wait([ready, running], return_when=asyncio.FIRST_COMPLETED, timeout=60)
            assert ready.done(), running
            store = PoolStore(connection, name)
            async with AsyncClient(redis_url, owner="tester") as client:
                since = await newest_event(store)
                yield Bench(config, name, redis_url, store, client, api, runtime, running, since)
        finally:
            ready.cancel()
            ending.request(remove=True)
            await running
        await expect_known_events(connection, name)
        await runtime.remove_network(name)
        assert left_of(api, name) == []


async def ask(url: str, method: str, path: str, body: bytes = b"") -> str:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
        session.request(method, url + path, data=io.BytesIO(body)) as response,
    ):
        return await response.text()


class Stopwatch:
    """Records how long things took, in the report of the test that they belong to; no test asserts it."""

    def __init__(self, record_property: Callable[[str, object], None]) -> None:
        self._record = record_property
        self._began = time.monotonic()

    def start(self) -> None:
        self._began = time.monotonic()

    def lap(self, what: str) -> None:
        milliseconds = round((time.monotonic() - self._began) * 1000)
        self._record(f"{what}_ms", milliseconds)
        print(f"{what}: {milliseconds} ms")


async def finds_nothing(url: str) -> None:
    """Whoever leases a container finds nothing in it. A probe that comes in just then shows for a moment."""

    async def empty() -> bool:
        return await ask(url, "GET", "/leftovers") == ""

    await eventually(empty)
