"""Containers that have served long enough are replaced at the end of a lease; the pool is not emptied for it."""

from __future__ import annotations

import asyncio

from pool.models import State
from pool.ports import ContainerSpec, EngineContainer, Stats
from pool.testing import MemoryRuntime
from tests.support import eventually, obedient_shell
from tests.support_manager import Bench, MakeBench, make_bench, running

__all__ = ["make_bench"]


class Metered(MemoryRuntime):
    """An engine whose containers of the first generation use a lot of memory."""

    async def stats(self, ref: str) -> Stats:
        await super().stats(ref)
        return Stats((200 if self.containers[ref].spec.generation == 1 else 20) << 20, 0, 0, 1)


async def use(bench: Bench, times: int = 1) -> str:
    """Lease a container some times, the same one where there is only one; returns its id."""
    for _ in range(times):
        async with await bench.client.acquire(bench.pool, wait_s=10) as lease:
            used = lease.container.id
    await eventually(lambda: whole(bench))
    return used


async def whole(bench: Bench) -> bool:
    """Whether every container is available."""
    status = await bench.store.status()
    return status.count(State.AVAILABLE) == len(status.containers)


async def recycled(bench: Bench) -> list[tuple[str, str, str]]:
    moves = await bench.facts("container.moved")
    return [(m["reset_level"], m["reset_reason"], m["recycled"]) for m in moves if "recycled" in m]


async def test_after_its_uses_a_container_is_recreated_and_the_event_says_why(make_bench: MakeBench) -> None:
    async with running(make_bench, size=1, recycle={"max_uses": 1}) as bench:
        used = await use(bench)

        assert await recycled(bench) == [("recreate", "on_release", "used 1 times")]
        record = await bench.record(used)
        assert (record.info.generation, record.uses) == (2, 0)
        await use(bench)
        assert (await bench.record(used)).info.generation == 3


async def test_before_its_limit_a_container_is_reset_as_always(make_bench: MakeBench) -> None:
    async with running(make_bench, size=1, recycle={"max_uses": 10}) as bench:
        used = await use(bench, 3)

        assert await recycled(bench) == []
        assert (await bench.record(used)).info.generation == 1


async def test_an_old_container_is_recreated_at_the_end_of_its_next_lease(make_bench: MakeBench) -> None:
    async with running(
        make_bench, size=1, recycle={"max_age_s": 0.05}, health={"tcp": None, "interval_s": 0.02}
    ) as bench:

        async def old() -> bool:
            status = await bench.store.status()
            born_at = status.containers[0].born_at
            return born_at is not None and status.at - born_at > 0.05

        await eventually(old)
        assert (await bench.record()).info.generation == 1, "idle, it is left alone"
        await use(bench)

        assert [why.endswith("s old") for _, _, why in await recycled(bench)] == [True]


async def test_a_container_that_stays_big_after_its_reset_is_recreated(make_bench: MakeBench) -> None:
    bench = await make_bench(Metered(shell_handler=obedient_shell), size=1, recycle={"max_memory_mb": 100})
    await bench.ready()

    used = await use(bench, 2)

    assert await recycled(bench) == [("recreate", "on_release", "uses 200 MiB of memory")]
    assert (await bench.record(used)).info.generation == 2
    await bench.stop()


async def test_without_resets_containers_are_recycled_nevertheless(make_bench: MakeBench) -> None:
    options = {"reset": {"on_release": "none"}, "recycle": {"max_uses": 1}}
    async with running(make_bench, size=1, **options) as bench:
        await use(bench)

        assert await recycled(bench) == [("recreate", "on_release", "used 1 times")]


async def test_the_only_container_is_kept_while_requests_wait(make_bench: MakeBench) -> None:
    async with running(make_bench, size=1, recycle={"max_uses": 1}) as bench:
        lease = await bench.client.acquire(bench.pool)
        waiting = asyncio.create_task(bench.client.acquire(bench.pool, wait_s=10))

        async def queued() -> bool:
            return len((await bench.store.status()).queue) == 1

        await eventually(queued)
        await lease.release()
        second = await waiting
        assert await recycled(bench) == []

        await second.release()
        await eventually(lambda: whole(bench))

        assert await recycled(bench) == [("recreate", "on_release", "used 2 times")], "nobody waited any more"


async def test_of_two_containers_one_at_a_time_is_recycled(make_bench: MakeBench) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    class SlowToCreate(MemoryRuntime):
        """An engine on which the next generation takes as long as a test wants."""

        async def create(self, spec: ContainerSpec) -> EngineContainer:
            if spec.generation > 1:
                begun.set()
                await go_on.wait()
            return await super().create(spec)

    bench = await make_bench(SlowToCreate(shell_handler=obedient_shell), recycle={"max_uses": 1})
    await bench.ready()
    first, second = await bench.client.acquire(bench.pool), await bench.client.acquire(bench.pool)
    await first.release()
    await begun.wait()
    await second.release()

    async def second_is_back() -> bool:
        return (await bench.record(second.container.id)).state is State.AVAILABLE

    await eventually(second_is_back)
    assert (await bench.record(second.container.id)).info.generation == 1
    go_on.set()
    await eventually(lambda: whole(bench))

    assert (await bench.record(first.container.id)).info.generation == 2
    await bench.stop()
