"""Verification cannot lie: whatever a reset leaves undone is found from outside. On the real engine, stage by stage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import yaml

from pool.client import AsyncClient
from pool.config import Config
from pool.manager import Ending, PoolManager
from pool.models import LeaseData, State
from pool.reset import recipe
from pool.runtimes import DockerRuntime
from pool.store import Connection, PoolStore, read_events
from tests.support import eventually

DEMO = Path(__file__).parents[2] / "config" / "demo.yaml"
DEMO_POOL = "browsers"

#: For each stage: what a tenant does that it undoes, and what is found if it does not.
DIRT = {
    "terminate_processes": ("/stray", "process /bin/sh /srv/stray"),
    "clear_temporary": ("/file?path=/tmp/.hidden", "file /tmp/.hidden"),
    "clear_caches": ("/cache?name=picture", "file /home/app/cache/picture"),
    "clear_logs": ("/log?line=hello", "file /home/app/logs/server.log (not empty)"),
    "reset_environment": ("/file?path=/home/app/.env", "file /home/app/.env (added)"),
    "validate": ("/file?path=/home/app/own.txt", "file /home/app/own.txt (added)"),
}


@dataclass
class Bench:
    """A pool of one, managed in this process."""

    store: PoolStore
    client: AsyncClient

    async def available(self) -> bool:
        return (await self.store.status()).count(State.AVAILABLE) == 1

    async def resets(self) -> list[dict[str, str]]:
        events = await read_events(self.store.connection, self.store.pool)
        return [dict(event.fields) for event in events if "reset_level" in event.fields]

    async def dirty(self, *paths: str) -> None:
        """Let a tenant do something, give the container back, and wait until it may be lent again."""
        async with await self.client.acquire(self.store.pool) as lease:
            for path in paths:
                await post(lease.data, path)
        await eventually(self.available, deadline_s=30)


async def post(lease: LeaseData, path: str) -> None:
    async with aiohttp.ClientSession() as session, session.post(lease.url + path, data=b"mine") as response:
        assert response.status == 200, await response.text()


Manage = Callable[..., AbstractAsyncContextManager[Bench]]


@pytest.fixture
def manage(redis_url: str, deployment: str, docker_runtime: DockerRuntime, sample_image: str) -> Manage:
    @asynccontextmanager
    async def run(*, container: dict[str, object] | None = None, **reset: object) -> AsyncIterator[Bench]:
        document = yaml.safe_load(DEMO.read_text())
        pool = document["pools"][DEMO_POOL] | {"size": 1}
        pool["container"] |= container or {}
        pool["health"]["http"]["timeout_s"] = 0.5
        given = {"recipe": pool["reset"]["recipe"] | reset.pop("recipe", {})}
        pool["reset"] = given | reset
        config = Config.model_validate(document | {"deployment": deployment, "pools": {deployment: pool}})
        connection, ending = Connection(redis_url), Ending()
        manager = PoolManager(config, deployment, docker_runtime, connection)
        running = asyncio.create_task(manager.run(ending))
        client = AsyncClient(redis_url, owner="tester")
        try:
            await client.connect()
            await asyncio.wait_for(manager.ready.wait(), 60)
            yield Bench(PoolStore(connection, deployment), client)
        finally:
            await client.close()
            ending.request(remove=True)
            await running
            await docker_runtime.remove_network(deployment)
            await connection.close()

    return run


def without(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    """Let a stage do nothing, and say that it succeeded."""
    bodies = recipe.stage_bodies
    monkeypatch.setattr(recipe, "stage_bodies", lambda options: bodies(options) | {stage: ":"})


OWN = {"environment": ["rm -f /home/app/.env"], "validate": ["[ ! -e /home/app/own.txt ]"]}


@pytest.mark.parametrize("stage", DIRT)
async def test_what_a_stage_left_undone_is_found_from_outside_and_cured(
    manage: Manage, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    act, left = DIRT[stage]
    async with manage(recipe=OWN) as bench:
        without(monkeypatch, stage)

        await bench.dirty(act)
        first, *rest = await bench.resets()

        assert (first["reset_level"], first["to"]) == ("soft", "resetting")
        assert first["note"].startswith("left behind: ")
        assert left in first["note"]
        assert rest[-1]["verified"] == "yes"


async def test_with_all_stages_the_same_dirt_is_gone_after_a_soft_reset(manage: Manage) -> None:
    async with manage(recipe=OWN) as bench:
        await bench.dirty(*(act for stage, (act, _) in DIRT.items() if stage != "validate"))

        (reset,) = await bench.resets()

    assert (reset["reset_level"], reset["to"], reset["verified"]) == ("soft", "available", "yes")


async def test_a_check_of_the_recipe_that_fails_is_named(manage: Manage) -> None:
    checks = {"validate": ["echo it is mine >&2; [ ! -e /home/app/own.txt ]"]}
    async with manage(recipe=checks) as bench:
        await bench.dirty("/file?path=/home/app/own.txt")

        first = (await bench.resets())[0]

    assert first["note"] == "stage validate ended with code 1: it is mine"


@pytest.mark.parametrize("stage", ["terminate_processes", "clear_temporary", "clear_caches", "clear_logs"])
async def test_a_fast_verification_finds_all_but_changes_elsewhere(
    manage: Manage, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    act, left = DIRT[stage]
    async with manage(verify="fast") as bench:
        without(monkeypatch, stage)

        await bench.dirty(act, "/file?path=/home/app/elsewhere")
        first = (await bench.resets())[0]

    assert left in first["note"]
    assert "elsewhere" not in first["note"]


async def test_what_the_configuration_ignores_may_stay(manage: Manage) -> None:
    ignored = {"ignore_files": ["/home/app/own*"], "ignore_processes": ["*/srv/stray*"]}
    kept = {"keep_processes": ["server", "nc", "stray"]}
    async with manage(recipe=kept, **ignored) as bench:
        await bench.dirty("/stray", "/file?path=/home/app/own.txt")

        (reset,) = await bench.resets()

    assert (reset["reset_level"], reset["to"]) == ("soft", "available")


async def test_a_medium_reset_ends_workers_that_a_soft_one_spares(manage: Manage) -> None:
    spared = {"keep_processes": ["server", "nc", "chromium"], "medium_kill": ["chrom*"]}
    async with manage(recipe=spared) as bench:
        await bench.dirty("/mcp")

        soft, medium = await bench.resets()

    assert "process" in soft["note"]
    assert "/srv/chromium" in soft["note"]
    assert (medium["reset_level"], medium["to"], medium["verified"]) == ("medium", "available", "yes")


async def test_a_medium_reset_starts_a_hanging_server_again(manage: Manage) -> None:
    server = "/bin/su app -c 'exec /srv/server'"
    restarted = {
        "keep_processes": ["sleep", "nc", "server"],
        "medium_kill": ["nc", "server"],
        "restart": [f"{server} >/dev/null 2>&1 &"],
    }
    supervised = {"entrypoint": ["/bin/sh", "-c", f"{server} & exec sleep 100000"]}
    async with manage(container=supervised, recipe=restarted, soft_timeout_s=2) as bench:
        async with await bench.client.acquire(bench.store.pool) as lease:
            started = (await bench.store.status()).containers[0].info
            await post(lease.data, "/hang")
        await eventually(bench.available, deadline_s=30)

        soft, medium = await bench.resets()

        assert (soft["reset_level"], soft["to"]) == ("soft", "resetting")
        assert (medium["reset_level"], medium["to"], medium["verified"]) == ("medium", "available", "yes")
        assert (await bench.store.status()).containers[0].info == started
