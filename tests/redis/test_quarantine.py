"""The manager leaves what is quarantined or draining as it is, whatever happens around it."""

from __future__ import annotations

from pool.models import ContainerRecord, State
from tests.support import eventually, pool_config
from tests.support_manager import Bench, MakeBench, make_bench

__all__ = ["make_bench"]


async def settled(bench: Bench, container_id: str, state: State) -> ContainerRecord:
    async def is_so() -> bool:
        return (await bench.record(container_id)).state is state

    await eventually(is_so)
    return await bench.record(container_id)


async def test_a_quarantined_container_is_kept_as_it_is_and_restored_as_a_new_one(make_bench: MakeBench) -> None:
    bench = await make_bench()
    await bench.ready()
    first = f"{bench.pool}-1"
    box = bench.inside(first)
    bench.runtime.dirty(box.ref, file="/tmp/clue")

    await bench.client.quarantine(bench.pool, first, reason="a look at it")
    bench.runtime.crash(box.ref)  # nobody heals it
    await bench.stop()
    await bench.ready()

    assert (await bench.record(first)).state is State.QUARANTINED
    assert bench.inside(first) is box
    assert "/tmp/clue" in box.files

    await bench.client.restore(bench.pool, first)
    await eventually(bench.all_available)
    assert bench.inside(first) is not box
    assert (await bench.record(first)).info.generation == 2
    await bench.stop()


async def test_a_quarantined_container_survives_changes_of_the_configuration(make_bench: MakeBench) -> None:
    bench = await make_bench()
    await bench.ready()
    second = f"{bench.pool}-2"
    box = bench.inside(second)
    await bench.client.quarantine(bench.pool, second, reason="a look at it")
    await bench.stop()

    for change in ({"container": {"image": "other"}, "health": {"tcp": None}}, {"size": 1}):
        bench.config = pool_config(bench.config.deployment, bench.pool, **change)
        await bench.ready()
        assert (await bench.record(second)).state is State.QUARANTINED
        assert bench.inside(second) is box
        await bench.stop()

    await bench.client.restore(bench.pool, second)
    await bench.ready()

    async def gone() -> bool:
        return await bench.store.container(second) is None and box.ref not in bench.runtime.containers

    await eventually(gone)
    await bench.stop()


async def test_the_holder_of_a_container_quarantined_by_force_is_told_and_the_container_kept(
    make_bench: MakeBench,
) -> None:
    bench = await make_bench()
    await bench.ready()
    lease = await bench.client.acquire(bench.pool)
    box = bench.inside(lease.container.id)

    await bench.client.quarantine(bench.pool, lease.container.id, reason="why", force=True)

    async def lost() -> bool:
        return lease.lost

    await eventually(lost)
    assert (await bench.record(lease.container.id)).state is State.QUARANTINED
    assert bench.inside(lease.container.id) is box
    assert box.running
    await bench.stop()


async def test_a_draining_container_is_reset_after_its_lease_and_stays_free_for_nobody(make_bench: MakeBench) -> None:
    bench = await make_bench(size=1)
    await bench.ready()
    lease = await bench.client.acquire(bench.pool)
    await bench.client.drain(bench.pool, lease.container.id)

    await lease.release()
    record = await settled(bench, lease.container.id, State.AVAILABLE)
    await bench.stop()
    await bench.ready()

    assert record.draining
    assert (await bench.record(lease.container.id)).draining, "a restart of the manager does not take it away"
    await bench.client.resume(bench.pool, lease.container.id)
    async with await bench.client.acquire(bench.pool, wait_s=5):
        pass
    await settled(bench, lease.container.id, State.AVAILABLE)
    await bench.stop()


async def test_an_operators_drain_of_a_pool_outlives_the_manager(make_bench: MakeBench) -> None:
    bench = await make_bench()
    await bench.ready()
    await bench.client.drain(bench.pool)
    await bench.stop()

    await bench.ready()

    assert (await bench.store.status()).draining
    await bench.client.resume(bench.pool)
    assert not (await bench.store.status()).draining
    await bench.stop()
