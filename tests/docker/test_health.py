"""Health on a real engine: what is done to containers behind our back is noticed at once, and use is measured."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from docker import APIClient

from pool.errors import LeaseLost
from pool.models import State
from pool.observed import Condition
from tests.docker.managed import Bench, Manage, Stopwatch, ask, finds_nothing
from tests.support import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Probes do not find what these tests look for: they come once, at the start.
RARELY = {"interval_s": 3600}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(manage: Manage) -> AsyncIterator[Bench]:
    """A pool that hears of its containers from the engine only."""
    async with manage(health=RARELY) as bench:
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
    bench: Bench, stopwatch: Stopwatch, how: str
) -> None:
    before = await bench.record()

    doing = asyncio.create_task(asyncio.to_thread(do, bench.api, before.info.name, how))

    async def out_of_rotation() -> bool:
        return (await bench.record()).state is not State.AVAILABLE

    stopwatch.start()
    await eventually(out_of_rotation)
    stopwatch.lap("out_of_rotation")
    await doing
    await bench.healed(before)
    stopwatch.lap("healed")
    assert await bench.faults() == ["paused" if how == "pause" else "crash"]
    async with await bench.client.acquire(bench.pool) as lease:
        await finds_nothing(lease.url)


@pytest.mark.parametrize("how", ["kill", "stop", "remove", "restart"])
async def test_the_holder_of_a_container_that_ends_is_told(bench: Bench, stopwatch: Stopwatch, how: str) -> None:
    told = asyncio.Event()
    lease = await bench.client.acquire(bench.pool, on_lost=lambda _: told.set())
    name = await bench.name(lease.container.id)

    doing = asyncio.create_task(asyncio.to_thread(do, bench.api, name, how))
    stopwatch.start()
    await asyncio.wait_for(told.wait(), 15)
    stopwatch.lap("holder_told")
    await doing

    with pytest.raises(LeaseLost):
        lease.check()
    await eventually(bench.whole, deadline_s=30)


async def test_a_leased_container_that_somebody_paused_is_thawed_and_its_holder_goes_on(
    bench: Bench, stopwatch: Stopwatch
) -> None:
    lease = await bench.client.acquire(bench.pool)
    await ask(lease.url, "POST", "/cookie?name=kept")

    stopwatch.start()
    bench.api.pause(await bench.name(lease.container.id))

    async def thawed() -> bool:
        return len(await bench.events("container.paused_over")) == 1

    await eventually(thawed)
    stopwatch.lap("thawed")
    assert await ask(lease.url, "GET", "/cookie") == "name=kept"
    lease.check()
    await lease.release()
    await eventually(bench.whole)


async def test_memory_that_a_holder_uses_up_is_told_of_and_shown(
    manage: Manage,
) -> None:
    thresholds = {"memory_percent": 60}
    async with manage(thresholds=thresholds, size=1) as bench, await bench.client.acquire(bench.pool) as lease:
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
    bench: Bench, what: str
) -> None:
    if what == "leased":
        lease = await bench.client.acquire(bench.pool)
        await ask(lease.url, "POST", "/grow?mb=80")

        async def told() -> bool:
            return [fact["owner"] for fact in await bench.events("container.out_of_memory")] == ["tester"]

        await eventually(told)
        lease.check()
        await lease.release()
        await eventually(bench.whole)
    else:
        before = await bench.record()
        await ask(before.info.url, "POST", "/grow?mb=80")
        await bench.healed(before)
        assert await bench.faults() == ["out_of_memory"]
