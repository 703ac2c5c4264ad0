"""Health on a real engine: what is done to containers behind our back is noticed at once, and use is measured."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from docker import APIClient

from pool.errors import LeaseLost
from pool.models import State
from pool.observed import Condition
from pool.runtimes import DockerRuntime
from tests.docker.managed import Bench, Stopwatch, ask, finds_nothing, managed
from tests.support import eventually

#: Probes do not find what these tests look for: they come once, at the start.
RARELY = {"interval_s": 3600}


@pytest.fixture
def stopwatch(record_property: Callable[[str, object], None]) -> Stopwatch:
    return Stopwatch(record_property)


@pytest.fixture
async def watched(
    redis_url: str, deployment: str, docker_api: APIClient, docker_runtime: DockerRuntime, sample_image: str
) -> AsyncIterator[Bench]:
    """A pool that hears of its containers from the engine only."""
    async with managed(redis_url, deployment, docker_api, docker_runtime, health=RARELY) as bench:
        yield bench


def do(api: APIClient, name: str, how: str) -> None:
    match how:
        case "kill":
            api.kill(name)
        case "stop":
            api.stop(name, timeout=1)
        case "pause":
            api.pause(name)
        case "remove":
            api.remove_container(name, force=True)
        case "restart":
            api.restart(name, timeout=0)


@pytest.mark.parametrize("how", ["kill", "stop", "pause", "remove", "restart"])
async def test_what_happens_to_an_idle_container_is_noticed_by_events_alone_and_healed(
    watched: Bench, stopwatch: Stopwatch, how: str
) -> None:
    before = await watched.record()

    doing = asyncio.create_task(asyncio.to_thread(do, watched.api, before.info.name, how))

    async def out_of_rotation() -> bool:
        return (await watched.record()).state is not State.AVAILABLE

    stopwatch.start()
    await eventually(out_of_rotation)
    stopwatch.lap("out_of_rotation")
    await doing
    await watched.healed(before)
    stopwatch.lap("healed")
    assert await watched.faults() == ["paused" if how == "pause" else "crash"]
    async with await watched.client.acquire("browsers") as lease:
        await finds_nothing(lease.url)


@pytest.mark.parametrize("how", ["kill", "stop", "remove", "restart"])
async def test_the_holder_of_a_container_that_ends_is_told(watched: Bench, stopwatch: Stopwatch, how: str) -> None:
    told = asyncio.Event()
    lease = await watched.client.acquire("browsers", on_lost=lambda _: told.set())
    name = await watched.name(lease.container.id)

    doing = asyncio.create_task(asyncio.to_thread(do, watched.api, name, how))
    stopwatch.start()
    await asyncio.wait_for(told.wait(), 15)
    stopwatch.lap("holder_told")
    await doing

    with pytest.raises(LeaseLost):
        lease.check()
    await eventually(watched.whole, deadline_s=30)


async def test_a_leased_container_that_somebody_paused_is_thawed_and_its_holder_goes_on(
    watched: Bench, stopwatch: Stopwatch
) -> None:
    lease = await watched.client.acquire("browsers")
    await ask(lease.url, "POST", "/cookie?name=kept")

    stopwatch.start()
    watched.api.pause(await watched.name(lease.container.id))

    async def thawed() -> bool:
        return len(await watched.events("container.paused_over")) == 1

    await eventually(thawed)
    stopwatch.lap("thawed")
    assert await ask(lease.url, "GET", "/cookie") == "name=kept"
    lease.check()
    await lease.release()
    await eventually(watched.whole)


async def test_memory_that_a_holder_uses_up_is_told_of_and_shown(
    redis_url: str, deployment: str, docker_api: APIClient, docker_runtime: DockerRuntime, sample_image: str
) -> None:
    async with managed(
        redis_url, deployment, docker_api, docker_runtime, thresholds={"memory_percent": 60}
    ) as bench, await bench.client.acquire("browsers") as lease:  # fmt: skip
        await ask(lease.url, "POST", "/grow?mb=48")

        async def told() -> bool:
            return len(await bench.events("container.memory_high")) == 1

        await eventually(told)
        record = await bench.record(lease.container.id)
        assert record.conditions == {Condition.MEMORY_HIGH}
        assert record.sample is not None
        assert record.sample.memory_percent is not None
        assert 60 <= record.sample.memory_percent < 95
        lease.check()


@pytest.mark.parametrize("what", ["idle", "leased"])
async def test_a_process_killed_for_memory_recovers_an_idle_container_and_is_told_of_in_a_leased_one(
    watched: Bench, what: str
) -> None:
    if what == "leased":
        lease = await watched.client.acquire("browsers")
        await ask(lease.url, "POST", "/grow?mb=80")

        async def told() -> bool:
            return [fact["owner"] for fact in await watched.events("container.out_of_memory")] == ["tester"]

        await eventually(told)
        lease.check()
        await lease.release()
        await eventually(watched.whole)
    else:
        before = await watched.record()
        await ask(before.info.url, "POST", "/grow?mb=80")
        await watched.healed(before)
        assert await watched.faults() == ["out_of_memory"]
