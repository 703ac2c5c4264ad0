"""The check at hand-out, on real sockets: an unfit container costs its finder neither lease nor place."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from pool.client import AsyncClient
from pool.errors import AcquireTimeout, NoneFit
from pool.manager import Ending, PoolManager
from pool.models import ContainerInfo, ContainerRecord, ResetReason, State
from pool.store import Connection, PoolStore, read_events
from pool.testing import MemoryRuntime
from tests.boxes import Box, add_box
from tests.support import eventually, obedient_shell, open_pool, pool_config


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[PoolStore]:
    """An open pool without containers."""
    async with open_pool(redis_url, ttl_s=1, claim_ttl_s=1, on_release="none") as store:
        yield store


async def boxes(stack: AsyncExitStack, store: PoolStore, *statuses: int) -> list[Box]:
    """Make free containers a, b, c … that answer with these."""
    made = [await stack.enter_async_context(Box(status)) for status in statuses]
    for box, container_id in zip(made, "abcdef", strict=False):
        await add_box(store, box, container_id)
    return made


async def record_of(store: PoolStore, container_id: str) -> ContainerRecord:
    record = await store.container(container_id)
    assert record is not None
    return record


async def is_queued(store: PoolStore, length: int) -> bool:
    return len((await store.status()).queue) == length


async def test_a_container_that_is_fit_is_asked_once_and_handed_out(
    client: AsyncClient, store: PoolStore, stack: AsyncExitStack
) -> None:
    [box] = await boxes(stack, store, 200)

    async with await client.acquire(store.pool) as lease:
        assert lease.url == f"http://127.0.0.1:{box.port}"
        assert box.asked == 1


async def test_an_unfit_container_goes_to_recovery_and_the_next_good_one_comes_at_once(
    client: AsyncClient, store: PoolStore, stack: AsyncExitStack
) -> None:
    bad, _ = await boxes(stack, store, 500, 200)

    async with await client.acquire(store.pool, wait_s=0) as lease:
        assert lease.container.id == "b"

    record = await record_of(store, "a")
    assert (record.state, record.reason) == (State.UNHEALTHY, ResetReason.ON_HEALTH_FAILURE)
    url = f"http://127.0.0.1:{bad.port}/ready"
    assert record.note == f"unfit at hand-out: http: GET {url}: status 500, not one of [200]"


@pytest.mark.parametrize("kind", ["tcp", "http"])
async def test_a_container_on_which_nobody_listens_is_unfit(client: AsyncClient, store: PoolStore, kind: str) -> None:
    async with Box(200) as box:
        await add_box(store, box, "a", kind=kind)

    with pytest.raises(NoneFit, match="a: " + kind):
        await client.acquire(store.pool, max_retries=0)


async def test_a_container_that_does_not_answer_in_time_is_unfit(client: AsyncClient, store: PoolStore) -> None:
    async with Box(200) as box:
        await add_box(store, box, "a", timeout_s=0.1)
        box.may_answer.clear()

        with pytest.raises(NoneFit, match="a: http: GET"):
            await client.acquire(store.pool, wait_s=0, max_retries=0)


async def test_a_request_that_found_an_unfit_container_keeps_its_place(
    client: AsyncClient, store: PoolStore, stack: AsyncExitStack
) -> None:
    good, bad = await boxes(stack, store, 200, 500)
    bad.may_answer.clear()
    held = await client.acquire(store.pool)
    first = asyncio.create_task(client.acquire(store.pool, wait_s=30, request_id="first"))
    await eventually(bad.is_asked)
    later = asyncio.create_task(client.acquire(store.pool, wait_s=30, request_id="later"))
    await eventually(lambda: is_queued(store, 1))

    bad.may_answer.set()
    await eventually(lambda: is_queued(store, 2))
    assert [entry.request_id for entry in (await store.status()).queue] == ["first", "later"]
    await held.release()

    async with await first as lease:
        assert (lease.container.id, later.done()) == ("a", False)
    await (await later).release()
    assert good.asked == 3


async def test_where_none_is_fit_all_are_sent_to_recovery_and_named(
    client: AsyncClient, store: PoolStore, stack: AsyncExitStack
) -> None:
    await boxes(stack, store, 500, 502, 503, 200)

    with pytest.raises(NoneFit) as caught:
        await client.acquire(store.pool)

    for container_id, status in (("a", 500), ("b", 502), ("c", 503)):
        assert f"{container_id}: http: " in str(caught.value)
        record = await record_of(store, container_id)
        assert (record.state, f"status {status}" in record.note) == (State.UNHEALTHY, True)
    assert (caught.value.code, caught.value.retry_after_s > 0) == ("none_fit", True)
    assert (await record_of(store, "d")).state is State.AVAILABLE, "two more are tried by default"


async def test_a_wait_that_ends_after_an_unfit_container_tells_of_it(
    client: AsyncClient, store: PoolStore, stack: AsyncExitStack
) -> None:
    await boxes(stack, store, 500)

    with pytest.raises(AcquireTimeout, match=r"not fit: a: http: .* status 500"):
        await client.acquire(store.pool, wait_s=0.3)

    await eventually(lambda: is_queued(store, 0))


async def test_a_pool_that_wants_no_check_gets_none(
    client: AsyncClient, store: PoolStore, stack: AsyncExitStack
) -> None:
    box = await stack.enter_async_context(Box(500))
    info = ContainerInfo("a", "a", "127.0.0.1", {80: box.port}, f"http://127.0.0.1:{box.port}")
    assert await store.transition(await store.register(info, spec="s"), State.AVAILABLE)

    async with await client.acquire(store.pool):
        assert box.asked == 0


async def test_heartbeats_keep_the_lease_while_the_container_is_asked(
    client: AsyncClient, store: PoolStore, stack: AsyncExitStack
) -> None:
    [box] = await boxes(stack, store, 200)
    box.may_answer.clear()
    acquiring = asyncio.create_task(client.acquire(store.pool, ttl_s=0.3))

    async def renewed() -> bool:
        assert await store.reap() == (0, 0, 0)
        record = await record_of(store, "a")
        return (record.expires_at or 0) > (record.granted_at or 0) + 1

    await eventually(renewed)
    box.may_answer.set()

    async with await acquiring as lease:
        lease.check()


async def test_a_call_cancelled_while_the_container_is_asked_gives_it_back(
    client: AsyncClient, store: PoolStore, stack: AsyncExitStack
) -> None:
    [box] = await boxes(stack, store, 200)
    box.may_answer.clear()
    acquiring = asyncio.create_task(client.acquire(store.pool))
    await eventually(box.is_asked)

    acquiring.cancel()

    with pytest.raises(asyncio.CancelledError):
        await acquiring

    async def given_back() -> bool:
        return (await record_of(store, "a")).state is not State.ALLOCATED

    await eventually(given_back)


async def test_a_lease_lost_while_its_container_is_asked_is_replaced(
    client: AsyncClient, store: PoolStore, stack: AsyncExitStack
) -> None:
    bad, _ = await boxes(stack, store, 500, 200)
    bad.may_answer.clear()
    acquiring = asyncio.create_task(client.acquire(store.pool))
    await eventually(bad.is_asked)

    assert await store.transition(await record_of(store, "a"), State.UNHEALTHY, store={"note": "it died"})
    bad.may_answer.set()

    async with await acquiring as lease:
        assert lease.container.id == "b"
    assert (await record_of(store, "a")).note == "it died"


async def test_a_bundle_passes_over_an_unfit_container(
    client: AsyncClient, store: PoolStore, stack: AsyncExitStack
) -> None:
    await boxes(stack, store, 200, 500, 200)

    async with await client.acquire_many({store.pool: 2}, timeout_s=5) as bundle:
        assert {lease.container.id for lease in bundle} == {"a", "c"}
        assert {lease.data.deadline_at - lease.data.granted_at for lease in bundle} == {5}


async def test_a_bundle_without_enough_fit_containers_gives_the_others_back(
    client: AsyncClient, store: PoolStore, stack: AsyncExitStack
) -> None:
    await boxes(stack, store, 200, 500)

    with pytest.raises(NoneFit, match="b: http: "):
        await client.acquire_many({store.pool: 2}, max_retries=0)

    async def given_back() -> bool:
        return (await record_of(store, "a")).state is not State.ALLOCATED

    await eventually(given_back)
    assert (await record_of(store, "b")).state is State.UNHEALTHY


async def test_what_a_client_finds_unfit_its_manager_brings_back(redis_url: str, stack: AsyncExitStack) -> None:
    box = await stack.enter_async_context(Box(200))
    deployment = f"d{uuid.uuid4().hex[:8]}"
    config = pool_config(
        deployment,
        deployment,
        size=None,
        containers=[{"id": f"{deployment}-1", "ports": {3000: box.port}}],
        health={"tcp": None, "http": {"path": "/ready", "status": [200]}, "hand_out": "http", "interval_s": 60},
    )
    connection = Connection(redis_url)
    store = PoolStore(connection, deployment)
    manager = PoolManager(config, deployment, MemoryRuntime(shell_handler=obedient_shell), connection)
    ending = Ending()
    running = asyncio.create_task(manager.run(ending))

    async def told_of(kind: str) -> bool:
        return any(event.type == kind for event in await read_events(connection, deployment))

    try:
        await eventually(lambda: told_of("container.available"))
        async with AsyncClient(redis_url) as client:
            box.status = 500
            acquiring = asyncio.create_task(client.acquire(deployment, wait_s=30))
            await eventually(lambda: told_of("lease.unfit"))
            box.status = 200

            async with await acquiring as lease:
                assert lease.container.id == f"{deployment}-1"
    finally:
        ending.request()
        await running
        await store.forget()
        await connection.close()
