"""Spares on the real engine: whoever waits is served at once, and what broke is repaired without anybody waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from pool.errors import LeaseLost
from pool.models import Outcome, State
from tests.docker.managed import Bench, Manage, Stopwatch, ask, finds_nothing
from tests.support import eventually


@pytest.fixture
async def spared(manage: Manage) -> AsyncIterator[Bench]:
    async with manage(size=1, spares=1, limits={"ttl_s": 5.0}) as bench:
        yield bench


async def whole(bench: Bench) -> bool:
    assert not bench.manager.done(), bench.manager
    status = await bench.store.status()
    return (status.count(State.AVAILABLE), status.count(State.SPARE), len(status.containers)) == (1, 1, 2)


async def somebody_waits(bench: Bench) -> bool:
    return bool((await bench.store.status()).queue)


async def repaired_before(bench: Bench, container_id: str, fence: int) -> bool:
    """Whether a container was verified again before a lease began; only an event later than the grant may say so."""
    kinds = [(e.get("container"), e.get("verified"), e.get("fence")) for e in await bench.events(*_TOLD)]
    granted = next(n for n, (_, _, granted) in enumerate(kinds) if granted == str(fence))
    return any(name == container_id and verified for name, verified, _ in kinds[:granted])


_TOLD = ("container.moved", "lease.granted")


@pytest.mark.parametrize("how", ["expires in 2 s", "killed", "failed"])
async def test_the_next_one_gets_the_spare_and_what_broke_becomes_the_spare(
    spared: Bench, stopwatch: Stopwatch, how: str
) -> None:
    lost = asyncio.Event()
    life_s = 2.0 if how == "expires in 2 s" else None
    first = await spared.client.acquire(spared.pool, timeout_s=life_s, on_lost=lambda _: lost.set())
    await ask(first.url, "POST", "/cookie?name=secret")
    broken = first.container.id
    waiting = asyncio.create_task(spared.client.acquire(spared.pool, wait_s=60))
    await eventually(lambda: somebody_waits(spared))

    stopwatch.start()
    match how:
        case "killed":
            await asyncio.to_thread(spared.api.kill, await spared.name(broken))
        case "failed":
            await first.release(Outcome.FAILED)
    second = await waiting
    stopwatch.lap(f"{how}_to_next_lease")

    assert second.container.id != broken
    assert not await repaired_before(spared, broken, second.fence)
    await finds_nothing(second.url)
    await second.release()
    await eventually(lambda: whole(spared), deadline_s=60)
    stopwatch.lap(f"{how}_to_whole_again")

    assert (await spared.record(broken)).state is State.SPARE
    [swap] = await spared.events("container.swapped")
    assert (swap["in"], swap["out"]) == (second.container.id, broken)
    if how != "failed":
        await asyncio.wait_for(lost.wait(), 15)
        with pytest.raises(LeaseLost):
            first.check()
