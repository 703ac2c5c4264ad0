"""What happens on the stage, and what must be true at its end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress

from pool.client import AsyncLease
from pool.errors import LeaseLost
from pool.models import State
from tests.concurrency.book import Report
from tests.concurrency.recorder import Stay
from tests.concurrency.scene import DEADLINE_S, POOL, Scene
from tests.support import eventually


async def begin(scene: Scene) -> None:
    """Start the workers and wait until each of them had a container."""
    names = [str(n) for n in range(scene.cast.workers)]
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(scene.start_worker(name))
    await scene.seen(lambda report: {who.split(".")[0] for who in report.entered} >= set(names), "every worker once")


async def pause_a_holder(scene: Scene) -> None:
    """Freeze a process that holds a container until its lease lapsed and the next one came in; then let it go on.

    It wakes up in the middle of its use. That it does nothing more is what the book checks.
    """
    name = await scene.catch_holder()
    await scene.seen(lambda report: _overtaken(report, name), f"somebody in the place of the frozen worker {name}")
    scene.workers[name].send_signal(signal.SIGCONT)
    await scene.seen(lambda report: not _overtaken(report, name), f"worker {name} knows that its lease is lost")


def _overtaken(report: Report, name: str) -> bool:
    return any(overtaken and who.startswith(f"{name}.") for _, who, overtaken in report.inside)


async def kill_a_holder(scene: Scene) -> None:
    """End a process that holds a container with `kill -9`, and start another in its place."""
    name = await scene.catch_holder()
    await scene.kill_worker(name)
    await scene.start_worker(name)


async def kill_redis_briefly(scene: Scene) -> None:
    """Kill the server and start it again at once."""
    scene.kill_redis()
    scene.restart_redis()


async def kill_redis_until_leases_lapse(scene: Scene) -> None:
    """Keep the server away until a holder that is cut off knows that its lease is lost; then the next one comes in."""
    lease = await scene.client.acquire(POOL, priority="critical", wait_s=120)
    async with Stay(scene.socket, lease, "director") as stay:
        scene.kill_redis()
        await eventually(lambda: _lost_in_use(lease, stay), deadline_s=DEADLINE_S)
        scene.restart_redis()
        await scene.seen(lambda report: _overtaken_at(report, lease), "the next one in the lost container")


async def _lost_in_use(lease: AsyncLease, stay: Stay) -> bool:
    """Use a container to the last moment of its lease."""
    with suppress(LeaseLost):
        await stay.use()
    return lease.lost


def _overtaken_at(report: Report, lease: AsyncLease) -> bool:
    return any(container == lease.container.id and overtaken for container, _, overtaken in report.inside)


#: All that is done to the crowd.
DISTURBANCES = (pause_a_holder, kill_a_holder, kill_redis_briefly, kill_a_holder, kill_redis_until_leases_lapse)


async def everybody_served_again(scene: Scene) -> None:
    """Wait until every single task got a container since now."""
    before: Mapping[str, int] = (await scene.report()).entered
    tasks = [f"{worker}.{n}" for worker in scene.workers for n in range(scene.cast.tasks)]

    def served(report: Report) -> bool:
        return all(report.entered.get(who, 0) > before.get(who, 0) for who in tasks)

    await scene.seen(served, "every task once more")


async def end(scene: Scene) -> Report:
    """End the workers, check that nothing is left of them and that every container can be lent; return the record."""
    await scene.end_workers()
    await _all_back(scene)
    async with AsyncExitStack() as stack:
        asked = (scene.client.acquire(POOL, wait_s=120) for _ in range(scene.cast.containers))
        leases = [await stack.enter_async_context(lease) for lease in await asyncio.gather(*asked)]
        assert len({lease.container.id for lease in leases}) == scene.cast.containers
        for number, lease in enumerate(leases):
            async with Stay(scene.socket, lease, f"last-{number}"):
                lease.check()
    await _all_back(scene)
    report = await scene.report()
    assert report.faults == []
    assert report.inside == []
    return report


async def _all_back(scene: Scene) -> None:
    size = scene.cast.containers
    await scene.settled(
        lambda status: status.count(State.AVAILABLE) == size and not status.queue, "all containers back, nobody waiting"
    )
    sets = {"ready": size, "exp": 0, "work": 0, "q": 0, "wdl": 0}
    async with scene.connection.plain() as redis:
        assert {name: await redis.zcard(f"cp:{{{POOL}}}:{name}") for name in sets} == sets
        assert [await redis.hlen(f"cp:{{{POOL}}}:{name}") for name in ("held", "queued")] == [0, 0]


async def play(scene: Scene) -> Report:
    """The whole of it, in order."""
    await begin(scene)
    for disturb in DISTURBANCES:
        await disturb(scene)
    await everybody_served_again(scene)
    return await end(scene)
