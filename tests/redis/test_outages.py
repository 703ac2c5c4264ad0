"""Outages of a real server: killed, frozen, emptied, and replies that get lost. Nobody holds what another one has."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from pool.client import AsyncClient, AsyncLease
from pool.errors import AcquireTimeout, AlreadyReleased, LeaseLost, StoreError, StoreUnavailable, UnknownPool
from pool.manager import Ending, PoolManager
from pool.models import State
from pool.scripts import load_scripts
from pool.states import WORK_STATES
from pool.store import Connection, PoolStore, read_events
from pool.testing import MemoryRuntime
from tests.support import add_available, eventually, keeper_of, obedient_shell, pool_config, settings
from tests.support_redis import Server

CONTAINERS = ("a", "b", "c")


@pytest.fixture
async def store(server: Server) -> AsyncIterator[PoolStore]:
    connection = Connection(f"redis://{server.address}", patience_s=20)
    store = PoolStore(connection, "p")
    await store.open(settings(ttl_s=1, claim_ttl_s=0.5), "first")
    yield store
    await connection.close()


@dataclass
class Recorder:
    """Stands beside the containers and sees who uses them; knows nothing of Redis.

    A holder that was told, or told itself, that its lease is lost does not count as one any more.
    """

    users: dict[str, AsyncLease] = field(default_factory=dict)
    uses: int = 0
    overlaps: list[str] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def enter(self, lease: AsyncLease) -> None:
        before = self.users.get(lease.container.id)
        if lease.lost:
            return  # the answer came too late to be used
        if before is not None and not before.lost:
            self.overlaps.append(f"{before!r} and {lease!r}")
        self.users[lease.container.id] = lease
        async with self.changed:
            self.uses += 1
            self.changed.notify_all()

    def leave(self, lease: AsyncLease) -> None:
        if self.users.get(lease.container.id) is lease:
            del self.users[lease.container.id]

    async def reached(self, uses: int) -> None:
        async with asyncio.timeout(60):
            async with self.changed:
                await self.changed.wait_for(lambda: self.uses >= uses)


async def use(client: AsyncClient, recorder: Recorder) -> None:
    """Take a container, use it until a heartbeat or three went by, give it back; again and again."""
    while True:
        with suppress(StoreUnavailable, AcquireTimeout, LeaseLost):
            lease = await client.acquire("p", wait_s=30)
            await recorder.enter(lease)
            try:
                await asyncio.sleep(0.02 if recorder.uses % 4 else 0.5)  # the work
            finally:
                recorder.leave(lease)
            await lease.release()


async def manage(store: PoolStore) -> None:
    """The manager's part, without an engine: reap, and declare clean what waits for it."""
    while True:
        with suppress(StoreError):
            await store.reap()
            for record in (await store.status()).containers:
                if record.state in WORK_STATES:
                    await store.transition(record, State.AVAILABLE)
        await asyncio.sleep(0.01)


@asynccontextmanager
async def in_background(*works: Awaitable[None]) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        yield tasks
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def rested(store: PoolStore) -> bool:
    """Whether every container is free and nobody waits."""
    status = await store.status()
    return status.count(State.AVAILABLE) == len(CONTAINERS) and not status.queue


async def test_kills_in_a_storm_make_no_two_holders_and_lose_no_container(server: Server, store: PoolStore) -> None:
    await add_available(store, *CONTAINERS)
    recorder = Recorder()
    clients = [AsyncClient(f"redis://{server.address}", patience_s=20) for _ in range(4)]
    for client in clients:
        await client.connect()
    try:
        async with in_background(manage(store)):
            async with in_background(*(use(client, recorder) for client in clients for _ in range(5))):
                for kill in range(1, 4):
                    await recorder.reached(25 * kill)
                    await server.kill()
                    await server.start()
                await recorder.reached(120)
            for client in clients:
                await client.close()
            await eventually(lambda: rested(store), deadline_s=30)
    finally:
        for client in clients:
            await client.close()

    assert recorder.overlaps == []
    granted = [
        event for event in await read_events(store.connection, "p", count=20_000) if event.type == "lease.granted"
    ]
    fences = [int(event.fields["fence"]) for event in granted]
    assert fences == sorted(set(fences)), "fences rise through every restart"


async def test_a_frozen_server_lets_calls_fail_in_time_and_holders_know_before_redis_hands_on(
    server: Server, store: PoolStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pool.store.connection.COMMAND_TIMEOUT_S", 0.5)
    await add_available(store, *CONTAINERS)
    url = f"redis://{server.address}"
    recorder, lost = Recorder(), asyncio.Event()
    async with AsyncClient(url, patience_s=30) as holder, AsyncClient(url, patience_s=1) as asker:
        held = [await holder.acquire("p", on_lost=lambda _: lost.set()) for _ in CONTAINERS]
        for lease in held:
            await recorder.enter(lease)
        waiting = asyncio.create_task(holder.acquire("p", wait_s=30))

        async def queued() -> bool:
            return len((await store.status()).queue) == 1

        await eventually(queued)
        server.send(signal.SIGSTOP)
        with pytest.raises(StoreUnavailable):
            await asker.acquire("p", wait_s=10)
        await eventually(lambda: _all_lost(held))
        server.send(signal.SIGCONT)

        async with in_background(manage(store)):
            await recorder.enter(await waiting)
            while recorder.uses < 2 * len(CONTAINERS):  # a grant that came too late to be used does not count
                await recorder.enter(await asker.acquire("p", wait_s=30))

    assert recorder.overlaps == []
    with pytest.raises(LeaseLost):
        held[0].check()


async def test_a_call_cancelled_while_the_server_is_frozen_ends_at_once_and_leaves_nothing(
    server: Server, store: PoolStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pool.store.connection.COMMAND_TIMEOUT_S", 0.5)
    await add_available(store, *CONTAINERS)
    async with AsyncClient(f"redis://{server.address}", patience_s=30) as client:
        async with await client.acquire("p"):
            server.send(signal.SIGSTOP)
            asking = [asyncio.create_task(client.acquire("p", wait_s=30)) for _ in range(5)]

            async def asked() -> bool:
                return len(keeper_of(client).waiters) == len(asking)

            await eventually(asked)
            for task in asking:
                task.cancel()
            async with asyncio.timeout(5):
                results = await asyncio.gather(*asking, return_exceptions=True)
            server.send(signal.SIGCONT)

        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        async with in_background(manage(store)):
            await eventually(lambda: rested(store), deadline_s=20)
    record = await store.container("a")
    assert record is not None
    assert record.state is State.AVAILABLE


async def _all_lost(leases: list[AsyncLease]) -> bool:
    return all(lease.lost for lease in leases)


@dataclass
class Scissors:
    """A proxy that hangs up instead of passing on the reply to a command that it was told to cut.

    Attributes:
        mended: Set while it passes anything on at all.
    """

    port: int
    cut: bytes = b""
    cuts: int = 0
    mended: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            while request := await reader.read(65536):
                doomed = bool(self.cut) and self.cut in request
                if not doomed:
                    await self.mended.wait()
                back.write(request)
                reply = await there.read(65536)
                if doomed:
                    self.cut = b""
                    self.cuts += 1
                    return
                writer.write(reply)
        finally:
            back.close()
            writer.close()

    def cut_next(self, command: str) -> None:
        self.cut = load_scripts()[command].sha.encode()


@pytest.fixture
async def scissors(server: Server) -> AsyncIterator[tuple[Scissors, str]]:
    scissors = Scissors(server.port)
    scissors.mended.set()
    listening = await asyncio.start_server(scissors.serve, "127.0.0.1", 0)
    yield scissors, f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    listening.close()


async def test_a_lost_reply_to_acquire_gives_the_same_lease_once(
    store: PoolStore, scissors: tuple[Scissors, str]
) -> None:
    await add_available(store, *CONTAINERS)
    proxy, url = scissors
    async with AsyncClient(url) as client:
        proxy.cut_next("acquire")
        lease = await client.acquire("p", request_id="mine")

        granted = [e for e in await read_events(store.connection, "p") if e.type == "lease.granted"]
        assert proxy.cuts == 1
        assert [int(event.fields["fence"]) for event in granted] == [lease.fence]
        assert (await store.status()).count(State.ALLOCATED) == 1
        await lease.release()


async def test_a_lease_that_lapsed_before_its_lost_reply_was_asked_for_again_is_replaced_by_another(
    store: PoolStore, scissors: tuple[Scissors, str]
) -> None:
    await add_available(store, "a")
    proxy, url = scissors

    async def lapsed() -> bool:
        record = await store.container("a")
        await store.reap()
        if record is None or record.state is not State.RESETTING:
            return False
        return await store.transition(record, State.AVAILABLE)

    async with AsyncClient(url, patience_s=20) as client:
        proxy.cut_next("acquire")
        proxy.mended.clear()
        asking = asyncio.create_task(client.acquire("p", request_id="mine", ttl_s=0.2, wait_s=30))
        await eventually(lapsed)
        proxy.mended.set()

        lease = await asking
        lease.check()
        assert lease.request_id == "mine~"
        await lease.release()


async def test_a_lost_reply_to_release_is_a_release_and_a_second_one_is_told(
    store: PoolStore, scissors: tuple[Scissors, str]
) -> None:
    await add_available(store, "a")
    proxy, url = scissors
    async with AsyncClient(url) as client:
        lease = await client.acquire("p")
        proxy.cut_next("release")
        await lease.release()

        assert proxy.cuts == 1
        with pytest.raises(AlreadyReleased):
            await client.release(lease.data.ref)
    assert (await store.status()).count(State.CLEANING) == 1


async def test_a_lost_reply_to_the_confirmation_of_a_grant_loses_no_grant(
    store: PoolStore, scissors: tuple[Scissors, str]
) -> None:
    await add_available(store, "a")
    proxy, url = scissors
    async with AsyncClient(url) as client, AsyncClient(url) as other:
        first = await client.acquire("p")
        waiting = asyncio.create_task(other.acquire("p", wait_s=30))

        async def queued() -> bool:
            return len((await store.status()).queue) == 1

        await eventually(queued)
        proxy.cut_next("collect")

        async def cut() -> bool:
            return proxy.cuts == 1

        await first.release()
        async with in_background(manage(store)):
            async with await waiting as second:
                assert second.fence > first.fence
            await eventually(cut)
    granted = [event for event in await read_events(store.connection, "p") if event.type == "lease.granted"]
    assert len(granted) == 2


async def test_a_lost_reply_to_a_heartbeat_does_not_cost_the_lease(
    store: PoolStore, scissors: tuple[Scissors, str]
) -> None:
    await add_available(store, "a")
    proxy, url = scissors
    async with AsyncClient(url) as client:
        lease = await client.acquire("p", ttl_s=2)
        proxy.cut_next("heartbeat")
        granted_until = lease.data.expires_at

        async def renewed() -> bool:
            record = await store.container("a")
            return proxy.cuts == 1 and record is not None and (record.expires_at or 0) > granted_until + 1

        await eventually(renewed)
        assert not lease.lost
        await lease.release()


@dataclass
class Managed:
    """A running manager on an engine in memory."""

    store: PoolStore
    runtime: MemoryRuntime
    name: str

    async def all_available(self) -> bool:
        try:
            return (await self.store.status()).count(State.AVAILABLE) == 2
        except (UnknownPool, StoreError):
            return False


@pytest.fixture
async def managed(server: Server) -> AsyncIterator[Managed]:
    connection = Connection(f"redis://{server.address}", patience_s=1)
    runtime = MemoryRuntime(shell_handler=obedient_shell)
    manager = PoolManager(pool_config("d", "p"), "p", runtime, connection)
    ending = Ending()
    running = asyncio.create_task(manager.run(ending))
    managed = Managed(PoolStore(connection, "p"), runtime, "p")
    await eventually(managed.all_available)
    yield managed
    ending.request()
    await running
    await connection.close()


Loss = Callable[[Server], Awaitable[None]]


async def flush(server: Server) -> None:
    await server.ask("FLUSHALL")


async def restart_empty(server: Server) -> None:
    await server.kill()
    for file in (server.directory / str(server.port)).rglob("*.aof"):
        file.unlink()
    for file in (server.directory / str(server.port)).rglob("*.manifest"):
        file.unlink()
    await server.start()


async def once_it_exists(client: AsyncClient) -> AsyncLease:
    """Ask until the pool is known again: one that lost its data refuses."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await client.acquire("p", wait_s=30)
            except UnknownPool:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("lose", [flush, restart_empty])
async def test_lost_data_end_with_every_container_recreated_and_no_holder_that_is_told_it_holds(
    server: Server, managed: Managed, lose: Loss
) -> None:
    store = managed.store
    before = (await store.status()).incarnation
    async with AsyncClient(f"redis://{server.address}", patience_s=20) as client:
        held = [await client.acquire("p") for _ in range(2)]
        lost_at = time.monotonic()
        await lose(server)

        async with await once_it_exists(client) as again:
            status = await store.status()
            assert status.incarnation != before
            assert again.container.generation == 2
            assert again.fence > max(lease.fence for lease in held), "a stale fence stays stale"
        await eventually(lambda: _all_lost(held))
        assert all(lease._valid_until < lost_at + lease.data.ttl_s for lease in held), "none was renewed"
        for lease in held:
            with pytest.raises(LeaseLost):
                await lease.release()
        await eventually(managed.all_available)

    status = await store.status()
    assert [record.info.generation for record in status.containers] == [2, 2]
    assert len(managed.runtime.containers) == 2
