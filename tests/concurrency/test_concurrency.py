"""Many processes against one pool, with kills, frozen clients, changes of mind and a dying Redis; the containers judge.

`tests/concurrency` has the parts: `book.py` the rules, `play.py` what happens. `python -m tests.concurrency` runs
longer.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pool.models import State
from tests.concurrency.play import play
from tests.concurrency.recorder import Stay
from tests.concurrency.scene import POOL, Cast, set_up

pytestmark = pytest.mark.long


@pytest.mark.timeout(300)  # about 20 s each; a machine with other work to do needs its time
@pytest.mark.parametrize(
    ("containers", "on_release", "pace_s"), [(2, "soft", 0.008), (10, "none", 0.05), (100, "soft", 0.5)]
)
async def test_four_processes_of_fifty_tasks_never_share_a_container_and_lose_none_whatever_dies(
    containers: int, on_release: str, pace_s: float, record_property: Callable[[str, object], None]
) -> None:
    async with set_up(Cast(containers, on_release=on_release, pace_s=pace_s)) as scene:
        report = await play(scene)
        events = await scene.events()

    record_property("seen", report.counts)
    print(f"{containers} containers saw {report.counts}; the pool had {dict(events)}")
    happened = {what for what, number in [*report.counts.items(), *events.items()] if number}
    assert {"done", "lost", "broken", "overtaken"} <= happened, "the containers saw it all"
    assert {"request.cancelled", "lease.lost"} <= happened, "and so did the pool"


async def test_a_pool_that_lends_a_container_twice_is_found_out_by_the_recorder() -> None:
    async with set_up(Cast(1, ttl_s=30)) as scene:
        lease = await scene.client.acquire(POOL, owner="first")
        async with Stay(scene.socket, lease, "first") as stay:
            key = f"cp:{{{POOL}}}:"
            async with scene.connection.plain() as redis:  # what no script does: a leased container among the ready
                await redis.hset(f"{key}c:{lease.container.id}", "state", State.AVAILABLE.value)
                await redis.zrem(f"{key}exp", lease.container.id)
                await redis.zadd(f"{key}ready", {lease.container.id: 0})
            second = await scene.client.acquire(POOL, owner="second")
            async with Stay(scene.socket, second, "second"):
                await stay.use()
        report = await scene.report()
        await second.release()

    assert second.container.id == lease.container.id
    assert report.count("overtaken") == 1
    assert len(report.faults) == 2, "the use, and the orderly end of a holder that knew of nothing"
