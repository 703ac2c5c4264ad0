"""Containers that are frozen while nobody needs them: on a real server, with an engine in memory."""

from __future__ import annotations

import asyncio

import pytest

from pool.errors import AcquireTimeout, WrongState
from pool.models import State
from pool.ports import EngineState
from tests.support import eventually
from tests.support_manager import Bench, MakeBench, make_bench, running

__all__ = ["make_bench"]

_FOREVER_S = 3600


async def _frozen(bench: Bench, count: int = 2) -> bool:
    states = [container.state for container in bench.runtime.containers.values()]
    return (await bench.store.status()).count(State.PAUSED) == count == states.count(EngineState.PAUSED)


async def test_idle_containers_are_frozen_and_thawed_for_whoever_asks(make_bench: MakeBench) -> None:
    async with running(make_bench, pause_after_s=0.01) as bench:
        await eventually(lambda: _frozen(bench))

        async with await bench.client.acquire(bench.pool, wait_s=20) as lease:
            assert bench.inside(lease.container.id).state is EngineState.RUNNING
            lease.check()

        await eventually(lambda: _frozen(bench))


async def test_a_request_that_does_not_wait_gets_a_frozen_container_too(make_bench: MakeBench) -> None:
    async with running(make_bench, pause_after_s=0.01) as bench:
        await eventually(lambda: _frozen(bench))

        leases = await asyncio.gather(*(bench.client.acquire(bench.pool, wait_s=0) for _ in range(2)))

        assert {bench.inside(lease.container.id).state for lease in leases} == {EngineState.RUNNING}
        for lease in leases:
            await lease.release()


async def test_a_container_that_died_frozen_is_healed_before_it_is_lent(make_bench: MakeBench) -> None:
    async with running(make_bench, pause_after_s=0.01) as bench:
        await eventually(lambda: _frozen(bench))
        for container in list(bench.runtime.containers.values()):
            container.thawed.set()
            bench.runtime.crash(container.ref, exit_code=137)

        async with await bench.client.acquire(bench.pool, wait_s=30) as lease:
            assert bench.inside(lease.container.id).state is EngineState.RUNNING


async def test_what_was_frozen_runs_on_when_the_configuration_freezes_none(make_bench: MakeBench) -> None:
    async with running(make_bench, pause_after_s=0.01) as bench:
        await eventually(lambda: _frozen(bench))
        await bench.stop()
        pool = bench.config.pools[bench.pool].model_copy(update={"pause_after_s": None})
        bench.config = bench.config.model_copy(update={"pools": {bench.pool: pool}})

        await bench.ready()

        await eventually(bench.all_available)
        assert {container.state for container in bench.runtime.containers.values()} == {EngineState.RUNNING}


async def test_a_container_lent_while_it_was_being_frozen_is_not_left_frozen(make_bench: MakeBench) -> None:
    """The freeze hangs in the engine; meanwhile another manager takes over, thaws, and lends the container."""
    async with running(make_bench, pause_after_s=_FOREVER_S) as bench:
        record = await bench.record()
        assert await bench.store.transition(record, State.PAUSED)
        await bench.runtime.pause(bench.inside(record.id).ref)

        leases = [await bench.client.acquire(bench.pool, wait_s=20) for _ in range(2)]

        for lease in leases:
            assert bench.inside(lease.container.id).state is EngineState.RUNNING
            await lease.release()


async def test_what_an_operator_pauses_stays_frozen_whoever_waits_until_it_is_unpaused(make_bench: MakeBench) -> None:
    async with running(make_bench) as bench:
        one, two = f"{bench.pool}-1", f"{bench.pool}-2"
        await bench.client.pause(bench.pool, one, reason="a look at it")
        await bench.client.pause(bench.pool, one)
        await eventually(lambda: _is_frozen(bench, one))

        async with await bench.client.acquire(bench.pool) as lease:
            assert lease.container.id == two
            with pytest.raises(AcquireTimeout):
                await bench.client.acquire(bench.pool, wait_s=0)
            waiting = asyncio.create_task(bench.client.acquire(bench.pool, wait_s=20))
            with pytest.raises(WrongState, match="allocated, not free"):
                await bench.client.pause(bench.pool, two)
            assert bench.inside(one).state is EngineState.PAUSED

            await bench.client.unpause(bench.pool, one)
            async with await waiting as other:
                assert other.container.id == one
                assert bench.inside(one).state is EngineState.RUNNING
        with pytest.raises(WrongState, match="not paused"):
            await bench.client.unpause(bench.pool, one)


async def test_a_manager_that_takes_over_keeps_frozen_what_an_operator_paused(make_bench: MakeBench) -> None:
    async with running(make_bench, pause_after_s=0.01) as bench:
        one = f"{bench.pool}-1"
        await eventually(lambda: _frozen(bench))
        await bench.client.pause(bench.pool, one)
        await bench.stop()
        container = bench.inside(one)
        await bench.runtime.unpause(container.ref)
        await bench.ready()

        await eventually(lambda: _is_frozen(bench, one))


async def _is_frozen(bench: Bench, container_id: str) -> bool:
    record = await bench.record(container_id)
    return record.state is State.PAUSED and bench.inside(container_id).state is EngineState.PAUSED
