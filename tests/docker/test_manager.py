"""The manager on a real engine and a real server: used containers come back clean, broken ones come back whole."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.docker.managed import Bench, Manage, ask, finds_nothing
from tests.support import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(manage: Manage) -> AsyncIterator[Bench]:
    async with manage() as bench:
        yield bench


async def leave_dirt(url: str) -> None:
    for path in ("/mcp", "/cookie?name=value", "/cache?name=picture", "/log?line=hello", "/stray"):
        await ask(url, "POST", path)
    await ask(url, "POST", "/file?path=/tmp/.hidden", b"secret")
    await ask(url, "POST", "/file?path=/dev/shm/shared", b"secret")
    found = await ask(url, "GET", "/leftovers")
    assert all(kind in found for kind in ("cookie", "file", "process", "log")), found


async def started_at(bench: Bench, container_id: str) -> tuple[str, str]:
    """The engine's id of a container, and when it was started."""
    found = bench.api.inspect_container(await bench.name(container_id))
    return found["Id"], found["State"]["StartedAt"]


async def test_everything_a_user_left_is_gone_after_a_soft_reset(bench: Bench) -> None:
    used: list[str] = []
    for _ in range(4):
        async with await bench.client.acquire(bench.pool) as lease:
            await finds_nothing(lease.url)
            used.append(lease.container.id)
            await leave_dirt(lease.url)
        await eventually(bench.whole)

    first, second = f"{bench.pool}-1", f"{bench.pool}-2"
    assert sorted(used) == [first, first, second, second]
    after_release = [move for each in (first, second) for move in await bench.resets(each)]
    assert [(m["to"], m["reset_level"], m["verified"]) for m in after_release] == [("available", "soft", "yes")] * 4


async def test_what_no_recipe_wipes_is_found_and_the_container_recreated(bench: Bench) -> None:
    async with await bench.client.acquire(bench.pool) as lease:
        before = await bench.record(lease.container.id)
        await ask(lease.url, "POST", "/file?path=/home/app/own.txt", b"mine")
    await eventually(bench.whole, deadline_s=30)

    resets = await bench.resets(lease.container.id)
    assert [reset["reset_level"] for reset in resets] == ["soft", "hard", "recreate"]
    assert all("/home/app/own.txt" in reset["note"] for reset in resets if reset["to"] == "resetting")
    assert (await bench.record(lease.container.id)).info.generation == before.info.generation + 1


async def test_a_failed_lease_is_followed_by_a_restart_that_leaves_nothing(bench: Bench) -> None:
    lease = await bench.client.acquire(bench.pool)
    await leave_dirt(lease.url)
    before = await started_at(bench, lease.container.id)
    await lease.release("failed")
    await eventually(bench.whole, deadline_s=30)

    after = await started_at(bench, lease.container.id)
    assert before[0] == after[0]
    assert before[1] != after[1]
    for _ in range(2):
        async with await bench.client.acquire(bench.pool) as again:
            await finds_nothing(again.url)


async def test_a_lease_past_its_deadline_is_ended_and_its_container_restarted(bench: Bench) -> None:
    lease = await bench.client.acquire(bench.pool, timeout_s=0.5)
    before = await started_at(bench, lease.container.id)

    async def lost() -> bool:
        return lease.lost

    await eventually(lost)
    await eventually(bench.whole, deadline_s=30)

    assert (await started_at(bench, lease.container.id))[1] != before[1]
