"""Idle containers on a real engine: frozen, without any use of CPU, and thawed before their holder sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from pool.models import State
from tests.docker.managed import Bench, Manage, Stopwatch, ask
from tests.support import eventually


@pytest.fixture
async def frozen(manage: Manage) -> AsyncIterator[Bench]:
    async with manage(pause_after_s=0.1) as bench:
        yield bench


async def _all_frozen(bench: Bench) -> bool:
    records = (await bench.store.status()).containers
    states = [bench.api.inspect_container(record.info.name)["State"]["Status"] for record in records]
    return {record.state for record in records} == {State.PAUSED} and set(states) == {"paused"}


async def test_a_holder_gets_a_container_that_runs_although_all_were_frozen(
    frozen: Bench, record_property: Callable[[str, object], None]
) -> None:
    await eventually(lambda: _all_frozen(frozen), deadline_s=30)
    stopwatch = Stopwatch(record_property)

    async with await frozen.client.acquire(frozen.pool, wait_s=0) as lease:
        stopwatch.lap("asked_to_thawed_lease")
        assert await ask(lease.url, "GET", "/")

    await eventually(lambda: _all_frozen(frozen), deadline_s=30)
    assert await frozen.faults(lease.container.id) == []


async def test_a_frozen_container_that_is_killed_is_healed_while_it_is_idle(frozen: Bench) -> None:
    await eventually(lambda: _all_frozen(frozen), deadline_s=30)
    before = await frozen.record()

    frozen.api.kill(before.info.name)

    async def healed() -> bool:
        now = await frozen.record()
        return now.state in (State.AVAILABLE, State.PAUSED) and bool(await frozen.faults())

    await eventually(healed, deadline_s=60)
    await eventually(lambda: _all_frozen(frozen), deadline_s=30)
