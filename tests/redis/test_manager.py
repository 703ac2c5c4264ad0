"""The manager on a real server and an engine in memory: what it does, state by state."""

from __future__ import annotations

import asyncio

import pytest

from pool.errors import ConfigError, LeaseLost, NameTaken, PortTaken, UnknownPool
from pool.manager import Ending, PoolManager
from pool.models import ResetLevel, State
from pool.ports import ContainerSpec, EngineContainer, EngineState
from pool.testing import MemoryContainer, MemoryRuntime
from tests.support import eventually, obedient_shell, pool_config, report_stages
from tests.support_manager import MakeBench, make_bench, running, when

__all__ = ["make_bench"]


async def test_a_manager_starts_its_containers_and_takes_their_baselines(make_bench: MakeBench) -> None:
    async with running(make_bench) as bench:
        status = await bench.store.status()

        assert [record.state for record in status.containers] == [State.AVAILABLE, State.AVAILABLE]
        assert [record.info.generation for record in status.containers] == [1, 1]
        assert status.manager
        assert all([await bench.store.load_baseline(record.id) for record in status.containers])
        for record in status.containers:
            assert record.info.url == f"http://127.0.0.1:{record.info.ports[3000]}"


async def test_a_released_container_is_reset_verified_and_lent_again(make_bench: MakeBench) -> None:
    async with running(make_bench) as bench:
        async with await bench.client.acquire(bench.pool) as lease:
            container = bench.inside(lease.container.id)
            bench.runtime.dirty(container.ref, process="stray", file="/tmp/secret")
        await eventually(bench.all_available)

        moved = (await bench.facts("container.moved"))[-1]
        assert (moved["from"], moved["to"], moved["verified"]) == ("cleaning", "available", "yes")
        assert (moved["reset_level"], moved["reset_reason"]) == ("soft", "on_release")
        assert bench.calls("restart") == 0
        assert await bench.runtime.changes(container.ref) == []


async def test_what_a_soft_reset_leaves_behind_is_found_from_outside_and_escalates(make_bench: MakeBench) -> None:
    def lazy_shell(container: MemoryContainer, script: str) -> object:
        return report_stages(script)

    bench = await make_bench(MemoryRuntime(shell_handler=lazy_shell))  # type: ignore[arg-type]  # returns an ExecResult
    await bench.ready()
    lease = await bench.client.acquire(bench.pool)
    bench.runtime.dirty(bench.inside(lease.container.id).ref, file="/opt/left")
    await lease.release()
    await eventually(bench.all_available)

    levels = [(m["to"], m["reset_level"]) for m in await bench.facts("container.moved") if "reset_level" in m]
    assert levels == [("resetting", "soft"), ("resetting", "hard"), ("available", "recreate")]
    notes = [m["note"] for m in await bench.facts("container.moved") if m["to"] == "resetting"]
    assert all("/opt/left" in note for note in notes)
    assert (await bench.record(lease.container.id)).info.generation == 2
    await bench.stop()


@pytest.mark.parametrize("how", ["failed", "expired"])
async def test_a_failed_or_expired_lease_is_followed_by_a_hard_reset(make_bench: MakeBench, how: str) -> None:
    async with running(make_bench) as bench:
        if how == "failed":
            lease = await bench.client.acquire(bench.pool)
            await lease.release("failed")
        else:
            lease = await bench.client.acquire(bench.pool, timeout_s=0.2)
            await eventually(lambda: when(lambda: lease.lost))
        await eventually(lambda: when(lambda: bench.calls("restart") == 1))
        await eventually(bench.all_available)

        moved = (await bench.facts("container.moved"))[-1]
        assert moved["reset_level"] == "hard"
        assert moved["reset_reason"] == ("on_release" if how == "failed" else "on_expiry")


async def test_a_container_that_never_comes_clean_is_quarantined_with_the_reason(make_bench: MakeBench) -> None:
    bench = await make_bench(reset={"quarantine_after": 2})
    await bench.ready()
    for _ in range(2):
        bench.runtime.fail_next("create", PortTaken("port 1 is taken"))
    await bench.client.reset(bench.pool, f"{bench.pool}-1", level=ResetLevel.RECREATE)

    async def quarantined() -> bool:
        return (await bench.record()).state is State.QUARANTINED

    await eventually(quarantined)
    assert (await bench.record()).note == "port 1 is taken"
    await bench.client.reset(bench.pool, f"{bench.pool}-1", level=ResetLevel.RECREATE)
    await eventually(bench.all_available)
    await bench.stop()


async def test_a_container_that_dies_idle_is_taken_out_and_healed_at_once(make_bench: MakeBench) -> None:
    async with running(make_bench, health={"tcp": None, "interval_s": 60}) as bench:
        bench.runtime.crash(bench.inside().ref)

        await eventually(lambda: when(lambda: bench.calls("restart") == 1))
        await eventually(bench.all_available)

        states = [(m["from"], m["to"]) for m in await bench.facts("container.moved")][-3:]
        assert states == [("available", "unhealthy"), ("unhealthy", "resetting"), ("resetting", "available")]


async def test_a_container_that_dies_leased_ends_its_lease_and_is_healed(make_bench: MakeBench) -> None:
    async with running(make_bench) as bench:
        lease = await bench.client.acquire(bench.pool)
        bench.runtime.crash(bench.inside(lease.container.id).ref)

        await eventually(lambda: when(lambda: lease.lost))
        with pytest.raises(LeaseLost):
            lease.check()
        await eventually(bench.all_available)


async def test_a_container_that_vanished_is_created_anew(make_bench: MakeBench) -> None:
    async with running(make_bench) as bench:
        await bench.runtime.remove(bench.inside().ref)

        async def renewed() -> bool:
            return (await bench.record()).info.generation == 2 and await bench.all_available()

        await eventually(renewed)


async def test_the_next_manager_adopts_everything_leases_included(make_bench: MakeBench) -> None:
    bench = await make_bench()
    await bench.ready()
    lease = await bench.client.acquire(bench.pool)
    await bench.stop()
    created = bench.calls("create")

    await bench.ready()

    assert bench.calls("create") == created
    assert not lease.lost
    assert (await bench.record(lease.container.id)).request_id == lease.request_id
    await lease.release()
    await eventually(bench.all_available)
    await bench.stop()


async def test_work_left_by_a_manager_is_done_by_the_next(make_bench: MakeBench) -> None:
    bench = await make_bench()
    await bench.ready()
    lease = await bench.client.acquire(bench.pool)
    await bench.stop()
    await lease.release()
    assert (await bench.record(lease.container.id)).state is State.CLEANING

    await bench.ready()

    await eventually(bench.all_available)
    await bench.stop()


async def test_a_second_manager_stands_by_and_takes_over(make_bench: MakeBench, redis_url: str) -> None:
    bench = await make_bench()
    await bench.ready()
    second = bench.start()
    leader = (await bench.store.status()).manager
    assert leader

    bench.managers[0].cancel()
    await asyncio.gather(bench.managers[0], return_exceptions=True)
    await asyncio.wait_for(second.ready.wait(), 5)

    assert await bench.all_available()
    bench.managers.pop(0)
    bench.endings.pop(0)
    await bench.stop()


async def test_a_pool_of_another_deployment_is_not_taken_over(make_bench: MakeBench) -> None:
    bench = await make_bench()
    await bench.ready()
    other = pool_config("other", bench.pool)

    with pytest.raises(ConfigError, match=rf"pools\.{bench.pool}: .* deployment '{bench.config.deployment}'"):
        await PoolManager(other, bench.pool, MemoryRuntime(), bench.connection).run(Ending())
    await bench.stop()
    with pytest.raises(ConfigError, match="this is 'other'"):
        await PoolManager(other, bench.pool, MemoryRuntime(), bench.connection).run(Ending())

    assert (await bench.store.status()).deployment == bench.config.deployment


async def test_a_port_that_is_taken_stops_the_start_and_harms_nothing(make_bench: MakeBench) -> None:
    bench = await make_bench()
    bench.runtime.fail_next("start", PortTaken("port 3001 is used by another process"))

    bench.start()
    with pytest.raises(PortTaken, match="3001"):
        await asyncio.wait_for(bench.managers.pop(), 10)

    assert len(bench.runtime.containers) <= 1, "what could not start is gone again"
    assert (await bench.store.status()).manager == "", "and the claim is given up"


async def test_a_name_of_a_foreign_container_stops_the_start(make_bench: MakeBench) -> None:
    bench = await make_bench()
    slot = bench.config.slots(bench.pool)[0]
    options = bench.config.pools[bench.pool].container
    foreign = await bench.runtime.create(
        ContainerSpec("foreign", "x", "x-1", slot.name, 1, "s", {}, options.model_copy(update={"ports": []}))
    )

    bench.start()
    with pytest.raises(NameTaken, match=slot.name):
        await asyncio.wait_for(bench.managers.pop(), 10)

    assert foreign.ref in bench.runtime.containers


async def test_a_changed_configuration_recreates_idle_containers_and_waits_for_leased_ones(
    make_bench: MakeBench,
) -> None:
    bench = await make_bench()
    await bench.ready()
    lease = await bench.client.acquire(bench.pool)
    await bench.stop()
    changed = {"image": "other", "ports": [{"container": 3000, "host": 0}]}
    bench.config = pool_config(bench.config.deployment, bench.pool, container=changed)

    await bench.ready()

    async def renewed() -> bool:
        return sorted(c.spec.options.image for c in bench.runtime.containers.values()) == ["any", "other"]

    await eventually(renewed)
    assert bench.inside(lease.container.id).spec.options.image == "any"
    await lease.release()
    await eventually(bench.all_available)
    assert {c.spec.options.image for c in bench.runtime.containers.values()} == {"other"}
    await bench.stop()


async def test_a_smaller_pool_gives_up_what_no_longer_belongs(make_bench: MakeBench) -> None:
    bench = await make_bench()
    await bench.ready()
    await bench.stop()
    bench.config = pool_config(bench.config.deployment, bench.pool, size=1)

    await bench.ready()

    assert [c.spec.id for c in bench.runtime.containers.values()] == [f"{bench.pool}-1"]
    assert [record.id for record in (await bench.store.status()).containers] == [f"{bench.pool}-1"]
    await bench.stop()


async def test_removing_a_pool_leaves_nothing_of_it(make_bench: MakeBench) -> None:
    bench = await make_bench()
    manager = bench.start()
    await manager.ready.wait()
    lease = await bench.client.acquire(bench.pool)

    bench.endings[0].request(remove=True)

    async def draining() -> bool:
        return (await bench.store.status()).draining

    await eventually(draining)
    assert not lease.lost
    await lease.release()
    await asyncio.gather(*bench.managers)
    assert bench.runtime.containers == {}
    with pytest.raises(UnknownPool):
        await bench.store.status()


async def test_after_redis_lost_its_data_every_container_is_recreated_before_it_is_lent(make_bench: MakeBench) -> None:
    async with running(make_bench) as bench:
        first = (await bench.store.status()).incarnation
        lease = await bench.client.acquire(bench.pool)

        async with bench.connection.plain() as redis:
            await redis.delete(*await redis.keys(f"cp:{{{bench.pool}}}:*"))

        async def anew() -> bool:
            try:
                return (await bench.store.status()).incarnation != first and await bench.all_available()
            except UnknownPool:
                return False

        await eventually(anew)
        assert lease.lost
        assert [r.info.generation for r in (await bench.store.status()).containers] == [2, 2]


async def test_a_reset_in_progress_is_finished_when_the_manager_stops(make_bench: MakeBench) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow_shell(container: MemoryContainer, script: str) -> object:
        if "rm -rf" in script:
            begun.set()
            await go_on.wait()
        return obedient_shell(container, script)

    bench = await make_bench(MemoryRuntime(shell_handler=slow_shell))  # type: ignore[arg-type]  # returns an ExecResult
    await bench.ready()
    lease = await bench.client.acquire(bench.pool)
    await lease.release()
    await begun.wait()

    bench.endings[0].request()
    go_on.set()
    await bench.stop()

    assert (await bench.record(lease.container.id)).state is State.AVAILABLE
    assert {c.state for c in bench.runtime.containers.values()} == {EngineState.RUNNING}


class ShortLived(MemoryRuntime):
    """An engine whose containers end as soon as they are started."""

    async def start(self, ref: str) -> EngineContainer:
        await super().start(ref)
        self.crash(ref, exit_code=1)
        return await self.inspect(ref)


async def test_a_container_that_ends_as_it_starts_is_quarantined_with_its_own_reason(make_bench: MakeBench) -> None:
    bench = await make_bench(ShortLived(), size=1, health={"interval_s": 60}, reset={"quarantine_after": 2})
    bench.start()

    async def quarantined() -> bool:
        try:
            return (await bench.store.status()).count(State.QUARANTINED) == 1
        except UnknownPool:
            return False

    await eventually(quarantined, deadline_s=20)
    assert "exited with code 1" in (await bench.record()).note
    assert len(bench.runtime.containers) == 1, "the one that failed, left for whoever looks"
    await bench.stop()
