"""Pools whose slots are held: a second container keeps each one's network, and nobody takes it for one of the pool."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from pool.config import Config
from pool.errors import EngineError, EngineUnavailable, LeaseLost
from pool.health import Prober
from pool.manager.garbage import Garbage
from pool.models import ContainerInfo, ContainerRecord, ResetLevel, State
from pool.ports import EngineContainer, EngineState
from tests.support import eventually, pool_config
from tests.support_manager import Bench, MakeBench, make_bench, running, when

__all__ = ["make_bench"]

#: Only events and hints tell of anything within a test, unless it says otherwise.
QUIET = {"tcp": None, "interval_s": 60}
FIXED = {"image": "any", "ports": [{"container": 3000, "host": 18080}]}


def changed(bench: Bench, **pool_options: object) -> Config:
    return pool_config(bench.config.deployment, bench.pool, **pool_options)


async def reset(bench: Bench, level: ResetLevel) -> ContainerRecord:
    """Reset the first container by hand, and return it as it is then."""
    before = await bench.record()
    wish: dict[str, str | int] = {"reason": "manual", "level": int(level), "note": ""}
    assert await bench.store.transition(before, State.RESETTING, store=wish)
    await eventually(bench.all_available)
    return await bench.record()


async def numbers(bench: Bench, containers: int) -> bool:
    return len(bench.runtime.containers) == containers


async def healed(bench: Bench, since: ContainerRecord) -> ContainerRecord:
    async def again() -> bool:
        now = await bench.record()
        return now.state is State.AVAILABLE and now.revision > since.revision

    await eventually(again)
    return await bench.record()


async def test_each_slot_has_a_holder_that_is_no_container_of_the_pool(make_bench: MakeBench) -> None:
    async with running(make_bench, slot="held") as bench:
        status = await bench.store.status()
        listed = await bench.runtime.list(bench.config.deployment)

        assert [record.id for record in status.containers] == [f"{bench.pool}-1", f"{bench.pool}-2"]
        assert sorted(each.id for each in listed) == ["", "", f"{bench.pool}-1", f"{bench.pool}-2"]
        assert sorted(each.holds for each in listed) == ["", "", f"{bench.pool}-1", f"{bench.pool}-2"]
        for record in status.containers:
            inside, holder = bench.inside(record.id), bench.holder(record.id)
            assert inside.spec.joins == holder.ref
            assert inside.ports == {}
            assert record.info.ports == holder.ports
            assert record.info.url == f"http://127.0.0.1:{holder.ports[3000]}"


@pytest.mark.parametrize("level", [ResetLevel.HARD, ResetLevel.RECREATE])
async def test_a_reset_leaves_the_holder_and_the_url_as_they_are(make_bench: MakeBench, level: ResetLevel) -> None:
    async with running(make_bench, slot="held", health=QUIET) as bench:
        before, holder, inside = await bench.record(), bench.holder(), bench.inside()
        started = holder.started_at

        after = await reset(bench, level)

        assert (bench.holder(), bench.holder().started_at) == (holder, started)
        assert after.info.url == before.info.url
        assert (bench.inside() is inside) == (level is ResetLevel.HARD)
        assert (await bench.facts("container.moved"))[-1]["reset_level"] == level.label


@pytest.mark.parametrize("how", ["crash", "restart", "remove"])
async def test_a_holder_that_ends_takes_its_idle_slot_out_until_both_are_whole(make_bench: MakeBench, how: str) -> None:
    async with running(make_bench, slot="held", health=QUIET) as bench:
        before, holder = await bench.record(), bench.holder()

        match how:
            case "crash":
                bench.runtime.crash(holder.ref)
            case "restart":
                await bench.runtime.restart(holder.ref, grace_s=0)
            case "remove":
                await bench.runtime.remove(holder.ref)
        after = await healed(bench, before)

        states = [move["to"] for move in await bench.facts("container.moved") if move["container"] == before.id]
        assert states[states.index("available") + 1 :][:2] == ["unhealthy", "resetting"]
        assert bench.holder().state is EngineState.RUNNING
        assert bench.inside().spec.joins == bench.holder().ref
        assert (bench.holder() is holder) == (how != "remove")
        assert after.info.ports == bench.holder().ports
        assert len(bench.runtime.containers) == 4


async def test_a_slot_of_which_both_containers_died_is_whole_again(make_bench: MakeBench) -> None:
    async with running(make_bench, slot="held", health=QUIET) as bench:
        before, holder, inside = await bench.record(), bench.holder(), bench.inside()

        for container in (inside, holder):
            bench.runtime.crash(container.ref)
        after = await healed(bench, before)

        assert (bench.holder(), bench.inside()) == (holder, inside)
        assert after.info.ports == holder.ports


async def test_what_happens_to_a_holder_while_nobody_listens_is_found(make_bench: MakeBench) -> None:
    async with running(make_bench, slot="held", health=QUIET) as bench:
        before = await bench.record()
        bench.runtime.fail_next("events", EngineUnavailable("cut off"))

        bench.runtime.crash(bench.holder().ref)
        await healed(bench, before)

        assert bench.holder().state is EngineState.RUNNING


async def test_a_container_that_does_not_turn_healthy_gets_another_holder(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = set()
    honest = Prober.wait_healthy

    async def wait_healthy(self: Prober, container: EngineContainer, info: ContainerInfo, timeout_s: float) -> str:
        return "nobody answers" if container.joins in dead else await honest(self, container, info, timeout_s)

    monkeypatch.setattr(Prober, "wait_healthy", wait_healthy)
    async with running(make_bench, slot="held", health=QUIET) as bench:
        dead.add(bench.holder().ref)

        await reset(bench, ResetLevel.HARD)

        levels = [move["reset_level"] for move in await bench.facts("container.moved") if "reset_level" in move]
        assert levels == ["hard", "recreate"]
        assert bench.holder().ref not in dead
        assert len(bench.runtime.containers) == 4


async def test_the_lease_behind_a_holder_that_ends_is_lost_and_said_to_be(make_bench: MakeBench) -> None:
    async with running(make_bench, slot="held", health=QUIET) as bench:
        lease = await bench.client.acquire(bench.pool)

        bench.runtime.crash(bench.holder(lease.container.id).ref)

        await eventually(lambda: when(lambda: lease.lost))
        with pytest.raises(LeaseLost):
            lease.check()
        await eventually(bench.all_available)


async def test_a_holder_that_cannot_be_started_again_is_replaced(make_bench: MakeBench) -> None:
    async with running(make_bench, slot="held", health=QUIET) as bench:
        before, holder = await bench.record(), bench.holder()
        bench.runtime.fail_next("start", EngineError("its disk is gone"))

        bench.runtime.crash(holder.ref)
        after = await healed(bench, before)

        assert bench.holder() is not holder
        assert after.info.generation == before.info.generation + 1
        assert len(bench.runtime.containers) == 4


async def test_a_frozen_holder_holds_as_well(make_bench: MakeBench) -> None:
    async with running(make_bench, slot="held", health=QUIET) as bench:
        await bench.runtime.pause(bench.holder().ref)

        after = await reset(bench, ResetLevel.HARD)

        assert after.state is State.AVAILABLE
        assert bench.holder().state is EngineState.PAUSED


async def test_the_next_manager_adopts_holders_and_the_leases_behind_them(make_bench: MakeBench) -> None:
    bench = await make_bench(slot="held", health=QUIET)
    await bench.ready()
    lease = await bench.client.acquire(bench.pool)
    await bench.stop()
    created = bench.calls("create")

    await bench.ready()

    assert bench.calls("create") == created
    assert not lease.lost
    assert lease.data.container == (await bench.record(lease.container.id)).info
    await lease.release()
    await eventually(bench.all_available)
    await reset(bench, ResetLevel.RECREATE)
    assert bench.inside().spec.joins == bench.holder().ref
    assert len(bench.runtime.containers) == 4
    await bench.stop()


async def test_the_next_manager_finds_what_happened_to_a_holder_meanwhile(make_bench: MakeBench) -> None:
    bench = await make_bench(slot="held", health=QUIET)
    await bench.ready()
    before = await bench.record()
    await bench.stop()
    await bench.runtime.remove(bench.holder().ref)

    await bench.ready()
    await healed(bench, before)

    assert bench.inside().spec.joins == bench.holder().ref
    await bench.stop()


async def test_a_pool_becomes_held_and_plain_again_container_by_container(make_bench: MakeBench) -> None:
    bench = await make_bench(health=QUIET, container=FIXED)
    await bench.ready()
    await bench.stop()

    for slot, containers in (("held", 4), ("plain", 2)):
        bench.config = changed(bench, health=QUIET, slot=slot, container=FIXED)
        await bench.ready()
        await eventually(partial(numbers, bench, containers))
        await eventually(bench.all_available)
        for record in (await bench.store.status()).containers:
            assert bool(bench.inside(record.id).spec.joins) == (slot == "held")
            assert record.info.url == f"http://127.0.0.1:{18079 + int(record.id[-1])}"
        await bench.stop()
    failed = [
        move for move in await bench.facts("container.moved") if move["to"] == "resetting" and "reset_level" in move
    ]
    assert failed == []


async def test_a_lease_outlives_that_its_pool_is_not_held_any_more(make_bench: MakeBench) -> None:
    bench = await make_bench(slot="held", health=QUIET)
    await bench.ready()
    lease = await bench.client.acquire(bench.pool)
    holder = bench.holder(lease.container.id)
    await bench.stop()
    bench.config = changed(bench, health=QUIET)

    await bench.ready()

    assert holder.running
    assert not lease.lost
    await lease.release()
    await eventually(bench.all_available)
    assert holder.ref not in bench.runtime.containers
    await bench.stop()


async def test_the_holder_of_a_slot_that_is_gone_goes_too(make_bench: MakeBench) -> None:
    bench = await make_bench(slot="held", health=QUIET)
    await bench.ready()
    await bench.stop()
    bench.config = changed(bench, health=QUIET, slot="held", size=1)

    await bench.ready()
    await bench.stop()
    await bench.ready()  # reconciles once more

    assert sorted(each.spec.name for each in bench.runtime.containers.values()) == sorted(
        [bench.inside().spec.name, bench.holder().spec.name]
    )
    await bench.stop()


async def test_removing_a_pool_removes_its_holders(make_bench: MakeBench) -> None:
    bench = await make_bench(slot="held")
    await bench.ready()

    bench.endings[-1].request(remove=True)
    await asyncio.gather(*bench.managers)

    assert bench.runtime.containers == {}


async def test_holders_of_a_former_pool_are_garbage_and_go_after_what_joined_them(make_bench: MakeBench) -> None:
    bench = await make_bench(slot="held", health=QUIET)
    await bench.ready()
    await bench.stop()
    former = f"{bench.pool}-1", f"{bench.pool}-2"
    config = pool_config(bench.config.deployment, f"{bench.pool}x")
    garbage = Garbage(config, bench.runtime, bench.connection)

    found = [item for item in await garbage.look() if item.kind in ("container", "holder")]
    done = await garbage.remove(found)

    assert [item.kind for item in done] == ["container", "container", "holder", "holder"]
    assert {item.fate for item in done} == {"removed"}
    assert {item.why for item in done} == {f"the configuration has no pool {bench.pool!r}"}
    assert not any(each.spec.id in former for each in bench.runtime.containers.values())


async def test_holders_of_what_is_configured_are_no_garbage_although_no_manager_runs(make_bench: MakeBench) -> None:
    bench = await make_bench(slot="held", health=QUIET)
    await bench.ready()
    await bench.stop()

    found = await Garbage(bench.config, bench.runtime, bench.connection).look()

    assert [item for item in found if item.kind in ("container", "holder")] == []


async def test_the_holder_behind_a_lease_is_no_garbage(make_bench: MakeBench) -> None:
    bench = await make_bench(slot="held", health=QUIET, limits={"ttl_s": 30, "claim_ttl_s": 30})
    await bench.ready()
    lease = await bench.client.acquire(bench.pool)
    await bench.stop()
    garbage = Garbage(pool_config(bench.config.deployment, f"{bench.pool}x"), bench.runtime, bench.connection)

    await garbage.remove(await garbage.look())

    left = {each.spec.id for each in bench.runtime.containers.values()}
    assert left == {lease.container.id}
    assert bench.holder(lease.container.id).running
    await lease.release()
