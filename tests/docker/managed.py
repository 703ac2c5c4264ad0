"""A pool of sample containers on the real engine, managed in this process, and an engine that can be cut off."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from docker import APIClient

from pool.client import AsyncClient
from pool.config import Config
from pool.manager import Ending, PoolManager
from pool.models import ContainerRecord, State
from pool.ports import LABEL_DEPLOYMENT
from pool.runtimes import DockerRuntime
from pool.store import Connection, PoolStore, read_events
from tests.support import eventually

DEMO = Path(__file__).parents[2] / "config" / "demo.yaml"
POOL = "browsers"
FIRST = f"{POOL}-1"


@dataclass
class Bench:
    """A managed pool, and what a test wants to know of it."""

    config: Config
    store: PoolStore
    client: AsyncClient
    api: APIClient
    manager: asyncio.Task[None]
    since: str

    async def record(self, container_id: str = FIRST) -> ContainerRecord:
        record = await self.store.container(container_id)
        assert record is not None
        return record

    async def name(self, container_id: str = FIRST) -> str:
        return (await self.record(container_id)).info.name

    async def whole(self) -> bool:
        assert not self.manager.done(), self.manager
        return (await self.store.status()).count(State.AVAILABLE) == len(self.config.slots(POOL))

    async def events(self, *kinds: str) -> list[Mapping[str, str]]:
        events = await read_events(self.store.connection, POOL, after=self.since)
        return [event.fields for event in events if event.type in kinds]

    async def moves(self, container_id: str = FIRST) -> list[Mapping[str, str]]:
        return [move for move in await self.events("container.moved") if move["container"] == container_id]

    async def faults(self, container_id: str = FIRST) -> list[str]:
        return [move["fault"] for move in await self.moves(container_id) if "fault" in move]

    async def healed(self, since: ContainerRecord, *, deadline_s: float = 60) -> None:
        """Wait until a container that was recovered is available again."""

        async def again() -> bool:
            assert not self.manager.done(), self.manager
            now = await self.record(since.id)
            return now.state is State.AVAILABLE and now.revision > since.revision

        await eventually(again, deadline_s=deadline_s)

    async def in_state(self, state: State, container_id: str = FIRST, *, deadline_s: float = 60) -> ContainerRecord:
        async def reached() -> bool:
            assert not self.manager.done(), self.manager
            return (await self.record(container_id)).state is state

        await eventually(reached, deadline_s=deadline_s)
        return await self.record(container_id)


def demo_config(deployment: str, changes: Mapping[str, Any]) -> Config:
    """The demo's pool with short times, changed in places."""
    document = yaml.safe_load(DEMO.read_text())
    pool = document["pools"][POOL]
    pool["health"] |= {"interval_s": 0.3, "failures": 2}
    pool["health"]["http"] |= {"timeout_s": 0.5}
    pool["limits"]["adaptive_timeouts"] = False  # other tests' leases were short
    for key, value in changes.items():
        pool[key] = pool.get(key, {}) | value if isinstance(value, dict) else value
    return Config.model_validate(document | {"deployment": deployment})


@asynccontextmanager
async def managed(
    redis_url: str, deployment: str, api: APIClient, runtime: DockerRuntime, **changes: object
) -> AsyncIterator[Bench]:
    """Manage a pool until the test is over, and leave nothing of it behind."""
    config = demo_config(deployment, changes)
    connection = Connection(redis_url)
    client = AsyncClient(redis_url, owner="tester")
    await client.connect()
    ending = Ending()
    manager = PoolManager(config, POOL, runtime, connection)
    running = asyncio.create_task(manager.run(ending))
    ready = asyncio.create_task(manager.ready.wait())
    try:
        await asyncio.wait([ready, running], return_when=asyncio.FIRST_COMPLETED, timeout=60)
        assert ready.done(), running
        history = await read_events(connection, POOL, count=100_000)
        yield Bench(config, PoolStore(connection, POOL), client, api, running, history[-1].id)
    finally:
        ready.cancel()
        await client.close()
        ending.request(remove=True)
        try:
            await running
            await runtime.remove_network(deployment)
        finally:
            await PoolStore(connection, POOL).forget()  # the next test's pool has the same name
            await connection.close()
    mine = {"label": [f"{LABEL_DEPLOYMENT}={deployment}"]}
    assert api.containers(all=True, filters=mine) == []


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
