"""A manager with spares, on a real server, with an engine in memory: swaps come before the slow work, not after it."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from pool.client import AsyncLease
from pool.models import Outcome, State
from pool.ports import ContainerSpec, EngineContainer
from pool.testing import MemoryRuntime
from tests.support import eventually, obedient_shell
from tests.support_manager import Bench, MakeBench, make_bench, running

__all__ = ["make_bench"]


class Slow(MemoryRuntime):
    """An engine that restarts and creates nothing while it is told to wait."""

    def __init__(self) -> None:
        super().__init__(shell_handler=obedient_shell)
        self.goes = asyncio.Event()
        self.goes.set()

    async def restart(self, ref: str, *, grace_s: float) -> EngineContainer:
        await self.goes.wait()
        return await super().restart(ref, grace_s=grace_s)

    async def create(self, spec: ContainerSpec) -> EngineContainer:
        await self.goes.wait()
        return await super().create(spec)


def one_and_a_spare(**options: object) -> dict[str, object]:
    return {"runtime": Slow(), "size": 1, "spares": 1, **options}


async def states(bench: Bench) -> Counter[State]:
    return Counter(record.state for record in (await bench.store.status()).containers)


async def whole(bench: Bench) -> bool:
    return await states(bench) == {State.AVAILABLE: 1, State.SPARE: 1}


async def one_frozen_and_a_spare(bench: Bench) -> bool:
    return await states(bench) == {State.PAUSED: 1, State.SPARE: 1}


async def the_first_stands_by(bench: Bench) -> bool:
    found = {record.id: record.state for record in (await bench.store.status()).containers}
    return found == {f"{bench.pool}-1": State.SPARE, f"{bench.pool}-2": State.AVAILABLE}


async def all_well(bench: Bench) -> bool:
    return await states(bench) == {State.AVAILABLE: 1, State.SPARE: 2}


async def only(bench: Bench, state: State) -> str:
    """The id of the one container in a state."""
    [found] = [record.id for record in (await bench.store.status()).containers if record.state is state]
    return found


async def next_one(bench: Bench) -> AsyncLease:
    return await bench.client.acquire(bench.pool, wait_s=10)


async def test_a_pool_starts_with_its_places_filled_and_its_spares_standing_by(make_bench: MakeBench) -> None:
    async with running(make_bench, size=2, spares=1) as bench:
        assert await states(bench) == {State.AVAILABLE: 2, State.SPARE: 1}
        assert len({record.info.name for record in (await bench.store.status()).containers}) == 3


@pytest.mark.parametrize("how", ["hard after a failure", "recycled", "gone", "crash"])
async def test_the_next_one_is_served_while_the_repair_has_not_begun(make_bench: MakeBench, how: str) -> None:
    options = {"recycle": {"max_uses": 1}} if how == "recycled" else {}
    async with running(make_bench, **one_and_a_spare(**options)) as bench:
        assert isinstance(bench.runtime, Slow)
        first = await next_one(bench)
        bench.runtime.goes.clear()
        if how == "gone":
            await bench.runtime.remove(bench.inside(first.container.id).ref)
        elif how == "crash":
            bench.runtime.crash(bench.inside(first.container.id).ref)
        if how != "crash":
            await first.release(Outcome.FAILED if how == "hard after a failure" else Outcome.PASSED)

        async with await next_one(bench) as second:
            assert second.container.id != first.container.id
            assert (await bench.record(first.container.id)).state in (State.RESETTING, State.UNHEALTHY)
            bench.runtime.goes.set()
        await eventually(lambda: whole(bench))

        assert [(s["in"], s["out"]) for s in await bench.facts("container.swapped")][:1] == [
            (second.container.id, first.container.id)
        ]


async def test_a_lease_that_passed_keeps_its_container_in_its_place(make_bench: MakeBench) -> None:
    async with running(make_bench, **one_and_a_spare()) as bench:
        async with await next_one(bench) as lease:
            used = lease.container.id
        async with await next_one(bench) as lease:
            assert lease.container.id == used
        await eventually(lambda: whole(bench))

        assert await bench.facts("container.swapped") == []


async def test_evidence_of_a_failed_lease_is_kept_though_its_container_gives_up_its_place(
    make_bench: MakeBench, tmp_path: object
) -> None:
    evidence = {"causes": ["failed"], "dir": str(tmp_path)}
    async with running(make_bench, **one_and_a_spare(evidence=evidence)) as bench:
        lease = await next_one(bench)
        await lease.release(Outcome.FAILED)
        await eventually(lambda: whole(bench))

        assert [kept["cause"] for kept in await bench.facts("container.evidence")] == ["failed"]


async def test_a_spare_that_dies_is_healed_and_stands_by_again(make_bench: MakeBench) -> None:
    async with running(make_bench, **one_and_a_spare()) as bench:
        spare = await only(bench, State.SPARE)
        before = await bench.record(spare)
        bench.runtime.crash(bench.inside(spare).ref)

        async def healed() -> bool:
            now = await bench.record(spare)
            return now.state is State.SPARE and now.revision > before.revision

        await eventually(healed)
        assert await bench.facts("container.swapped") == []


async def test_a_spare_whose_probes_fail_is_healed_too(make_bench: MakeBench) -> None:
    async with running(make_bench, **one_and_a_spare()) as bench:
        spare = await only(bench, State.SPARE)
        await bench.runtime.pause(bench.inside(spare).ref)

        async def healed() -> bool:
            moves = [move for move in await bench.facts("container.moved") if move["container"] == spare]
            return [move["from"] for move in moves if move.get("fault")] == ["spare"] and await whole(bench)

        await eventually(healed)


async def test_spares_are_not_frozen(make_bench: MakeBench) -> None:
    async with running(make_bench, **one_and_a_spare(pause_after_s=0.01)) as bench:
        await eventually(lambda: one_frozen_and_a_spare(bench))
        spare = await only(bench, State.SPARE)
        bench.runtime.crash(bench.inside(await only(bench, State.PAUSED)).ref)

        async with await next_one(bench) as lease:
            assert lease.container.id == spare


async def test_a_frozen_container_that_is_drained_stands_aside_once_it_is_thawed(make_bench: MakeBench) -> None:
    async with running(make_bench, **one_and_a_spare(pause_after_s=0.01)) as bench:
        await eventually(lambda: one_frozen_and_a_spare(bench))
        drained, spare = await only(bench, State.PAUSED), await only(bench, State.SPARE)

        await bench.client.drain(bench.pool, drained)

        async def stands_aside() -> bool:
            return (await bench.record(drained)).state is State.SPARE

        await eventually(stands_aside)
        async with await next_one(bench) as lease:
            assert lease.container.id == spare


async def test_another_configuration_reaches_spares_before_they_step_in(make_bench: MakeBench) -> None:
    async with running(make_bench, **one_and_a_spare()) as bench:
        await bench.stop()
        pool = bench.config.pools[bench.pool]
        changed = pool.model_copy(update={"container": pool.container.model_copy(update={"labels": {"new": "yes"}})})
        bench.config = bench.config.model_copy(update={"pools": {bench.pool: changed}})

        bench.start()

        async def renewed() -> bool:
            containers = (await bench.store.status()).containers
            return {record.info.labels.get("new") for record in containers} == {"yes"} and await whole(bench)

        await eventually(renewed)
        assert {record.info.generation for record in (await bench.store.status()).containers} == {2}
        assert [move["from"] for move in await bench.facts("container.moved") if move.get("to") == "resetting"] == [
            "spare",
            "available",
        ]


async def test_a_pool_without_its_spare_goes_on_and_forgets_it(make_bench: MakeBench) -> None:
    async with running(make_bench, **one_and_a_spare()) as bench:
        if await only(bench, State.AVAILABLE) == f"{bench.pool}-1":
            bench.runtime.crash(bench.inside(f"{bench.pool}-1").ref)
        await eventually(lambda: the_first_stands_by(bench))
        await bench.stop()
        fewer = bench.config.pools[bench.pool].model_copy(update={"spares": 0})
        bench.config = bench.config.model_copy(update={"pools": {bench.pool: fewer}})

        await bench.ready()

        async def alone() -> bool:
            return await states(bench) == {State.AVAILABLE: 1} and len(bench.runtime.containers) == 1

        await eventually(alone)
        assert [record.id for record in (await bench.store.status()).containers] == [f"{bench.pool}-1"]


async def test_a_container_that_left_the_configuration_gives_up_its_place_when_its_lease_ends(
    make_bench: MakeBench,
) -> None:
    async with running(make_bench, size=1, spares=2) as bench:
        while (ready := await only(bench, State.AVAILABLE)) != f"{bench.pool}-3":
            bench.runtime.crash(bench.inside(ready).ref)
            await eventually(lambda: all_well(bench))
        lease = await next_one(bench)
        assert lease.container.id == f"{bench.pool}-3"
        await bench.stop()
        fewer = bench.config.pools[bench.pool].model_copy(update={"spares": 1})
        bench.config = bench.config.model_copy(update={"pools": {bench.pool: fewer}})
        await bench.ready()
        waiting = asyncio.create_task(next_one(bench))

        await lease.release()

        async with await waiting as following:
            assert following.container.id != lease.container.id
