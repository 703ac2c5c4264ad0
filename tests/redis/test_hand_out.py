"""The check at hand-out, on real sockets: an unfit container costs its finder neither lease nor place."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

import pytest

from pool.client import AsyncClient
from pool.errors import AcquireTimeout, NoneFit
from pool.manager import Ending, PoolManager
from pool.models import ContainerInfo, ContainerRecord, HandOutCheck, ResetReason, State
from pool.store import Connection, PoolStore, read_events
from pool.testing import MemoryRuntime
from tests.support import eventually, obedient_shell, pool_config, settings


class Box:
    """Stands for a container: a socket that answers every GET with a status, once it may."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._serving: list[asyncio.Task[None] | None] = []

    async def __aenter__(self) -> Box:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.may_answer.set()
        self._server.close()
        await asyncio.gather(*filter(None, self._serving))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.append(asyncio.current_task())
        request = await reader.read(65536)
        if request:
            self.asked += 1
            await self.may_answer.wait()
            writer.write(b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % self.status)
        writer.close()
        with suppress(ConnectionError):  # whoever asked may have left
            await writer.wait_closed()

    async def is_asked(self) -> bool:
        return self.asked > 0


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[PoolStore]:
    """An open pool without containers."""
    connection = Connection(redis_url)
    store = PoolStore(connection, f"t{uuid.uuid4().hex[:8]}")
    await store.open(settings(ttl_s=1, claim_ttl_s=1, on_release="none"), "first")
    yield store
    await store.forget()
    await connection.close()


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(redis_url, owner="tester") as client:
        yield client


async def add(store: PoolStore, box: Box, container_id: str, *, kind: str = "http", timeout_s: float = 30.0) -> None:
    """Make a box a free container whose pool wants it checked."""
    check = HandOutCheck(kind, box.port, timeout_s, "/ready", (200,), {"X-Probe": "1"})
    info = ContainerInfo(
        container_id, container_id, "127.0.0.1", {80: box.port}, f"http://127.0.0.1:{box.port}", hand_out=check
    )
    assert await store.transition(await store.register(info, spec="s"), State.AVAILABLE)


async def boxes(stack: AsyncExitStack, store: PoolStore, *statuses: int) -> list[Box]:
    """Make free containers a, b, c … that answer with these."""
    made = [await stack.enter_async_context(Box(status)) for status in statuses]
    for box, container_id in zip(made, "abcdef", strict=False):
        await add(store, box, container_id)
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
        await add(store, box, "a", kind=kind)

    with pytest.raises(NoneFit, match="a: " + kind):
        await client.acquire(store.pool, max_retries=0)


async def test_a_container_that_does_not_answer_in_time_is_unfit(client: AsyncClient, store: PoolStore) -> None:
    async with Box(200) as box:
        await add(store, box, "a", timeout_s=0.1)
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
