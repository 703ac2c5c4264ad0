"""The manager on a real engine and a real server: used containers come back clean, broken ones come back whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from docker import APIClient

from pool.client import AsyncClient, AsyncLease
from pool.config import Config, parse_config
from pool.manager import Ending, PoolManager
from pool.models import ContainerRecord, LeaseData, State
from pool.ports import LABEL_DEPLOYMENT
from pool.runtimes import DockerRuntime
from pool.store import Connection, PoolStore, read_events
from tests.support import eventually

DEMO = Path(__file__).parents[2] / "config" / "demo.yaml"
POOL = "browsers"


@dataclass
class Bench:
    """The demo's pool of two, managed in this process."""

    config: Config
    store: PoolStore
    client: AsyncClient
    api: APIClient
    since: str

    async def record(self, container_id: str) -> ContainerRecord:
        record = await self.store.container(container_id)
        assert record is not None
        return record

    async def whole(self) -> bool:
        return (await self.store.status()).count(State.AVAILABLE) == 2

    async def moves(self) -> list[dict[str, str]]:
        events = await read_events(self.store.connection, POOL, after=self.since)
        return [dict(event.fields) for event in events if event.type == "container.moved"]

    async def name(self, container_id: str) -> str:
        return (await self.record(container_id)).info.name


@pytest.fixture
async def bench(
    redis_url: str, deployment: str, docker_api: APIClient, docker_runtime: DockerRuntime, sample_image: str
) -> AsyncIterator[Bench]:
    impatient = (
        DEMO.read_text()
        .replace("interval_s: 1", "interval_s: 0.3")
        .replace("path: /", "timeout_s: 0.5\n        path: /")
    )
    config = parse_config(impatient).model_copy(update={"deployment": deployment})
    connection = Connection(redis_url)
    client = AsyncClient(redis_url, owner="tester")
    await client.connect()
    ending = Ending()
    manager = PoolManager(config, POOL, docker_runtime, connection)
    running = asyncio.create_task(manager.run(ending))
    ready = asyncio.create_task(manager.ready.wait())
    await asyncio.wait([ready, running], return_when=asyncio.FIRST_COMPLETED, timeout=60)
    assert ready.done(), running
    history = await read_events(connection, POOL, count=100_000)
    yield Bench(config, PoolStore(connection, POOL), client, docker_api, history[-1].id)
    await client.close()
    ending.request(remove=True)
    await running
    await docker_runtime.remove_network(deployment)
    await connection.close()
    mine = {"label": [f"{LABEL_DEPLOYMENT}={deployment}"]}
    assert docker_api.containers(all=True, filters=mine) == []
    assert docker_api.networks(filters=mine) == []


async def ask(lease: LeaseData, method: str, path: str, body: bytes = b"") -> str:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
        session.request(method, lease.url + path, data=body) as response,
    ):
        return await response.text()


async def leave_dirt(lease: LeaseData) -> None:
    for path in ("/mcp", "/cookie?name=value", "/cache?name=picture", "/log?line=hello", "/stray"):
        await ask(lease, "POST", path)
    await ask(lease, "POST", "/file?path=/tmp/.hidden", b"secret")
    await ask(lease, "POST", "/file?path=/dev/shm/shared", b"secret")
    found = await ask(lease, "GET", "/leftovers")
    assert all(kind in found for kind in ("cookie", "file", "process", "log")), found


async def test_everything_a_user_left_is_gone_after_a_soft_reset(bench: Bench) -> None:
    seen: set[str] = set()
    for _ in range(4):
        async with await bench.client.acquire(POOL) as lease:
            assert await ask(lease.data, "GET", "/leftovers") == ""
            seen.add(lease.container.id)
            await leave_dirt(lease.data)
        await eventually(bench.whole)

    assert seen == {"browsers-1", "browsers-2"}
    after_release = [move for move in await bench.moves() if move["from"] == "cleaning"]
    assert [(m["to"], m["reset_level"], m["verified"]) for m in after_release] == [("available", "soft", "yes")] * 4


async def test_what_no_recipe_wipes_is_found_and_the_container_recreated(bench: Bench) -> None:
    async with await bench.client.acquire(POOL) as lease:
        await ask(lease.data, "POST", "/file?path=/home/app/own.txt", b"mine")
    await eventually(bench.whole, deadline_s=30)

    moves = [move for move in await bench.moves() if move.get("container") == lease.container.id]
    assert [m["reset_level"] for m in moves if "reset_level" in m] == ["soft", "hard", "recreate"]
    assert all("/home/app/own.txt" in m["note"] for m in moves if m["to"] == "resetting")
    assert (await bench.record(lease.container.id)).info.generation == 2


async def test_a_failed_lease_is_followed_by_a_restart_that_leaves_nothing(bench: Bench) -> None:
    lease = await bench.client.acquire(POOL)
    await leave_dirt(lease.data)
    before = bench.api.inspect_container(await bench.name(lease.container.id))
    await lease.release("failed")
    await eventually(bench.whole, deadline_s=30)

    after = bench.api.inspect_container(await bench.name(lease.container.id))
    assert before["State"]["StartedAt"] != after["State"]["StartedAt"]
    assert before["Id"] == after["Id"]
    for _ in range(2):
        async with await bench.client.acquire(POOL) as again:
            assert await ask(again.data, "GET", "/leftovers") == ""


@pytest.mark.parametrize("how", ["kill", "pause", "stop", "remove", "hang"])
async def test_a_container_broken_behind_our_back_is_healed(bench: Bench, how: str) -> None:
    record = await bench.record("browsers-1")
    name = record.info.name
    match how:
        case "kill":
            bench.api.kill(name)
        case "pause":
            bench.api.pause(name)
        case "stop":
            bench.api.stop(name, timeout=0)
        case "remove":
            bench.api.remove_container(name, force=True)
        case "hang":
            async with aiohttp.ClientSession() as session, session.post(record.info.url + "/hang"):
                pass

    async def healed() -> bool:
        now = await bench.record("browsers-1")
        return now.state is State.AVAILABLE and now.revision > record.revision

    await eventually(healed, deadline_s=60)
    unhealthy = [move for move in await bench.moves() if move["to"] == "unhealthy"]
    assert len(unhealthy) == 1
    assert unhealthy[0]["note"]
    for _ in range(2):
        async with await bench.client.acquire(POOL) as lease:
            assert await ask(lease.data, "GET", "/leftovers") == ""


async def test_the_holder_of_a_killed_container_is_told_and_the_next_gets_a_whole_one(bench: Bench) -> None:
    told = asyncio.Event()
    lease = await bench.client.acquire(POOL, on_lost=lambda _: told.set())

    bench.api.kill(await bench.name(lease.container.id))

    await asyncio.wait_for(told.wait(), 10)
    await eventually(bench.whole, deadline_s=30)


async def test_a_lease_past_its_deadline_is_ended_and_its_container_restarted(bench: Bench) -> None:
    lease = await bench.client.acquire(POOL, timeout_s=0.5)
    before = bench.api.inspect_container(await bench.name(lease.container.id))["State"]["StartedAt"]

    await eventually(_lost(lease), deadline_s=10)
    await eventually(bench.whole, deadline_s=30)

    assert bench.api.inspect_container(await bench.name(lease.container.id))["State"]["StartedAt"] != before


def _lost(lease: AsyncLease) -> Callable[[], Awaitable[bool]]:
    async def lost() -> bool:
        return lease.lost

    return lost
