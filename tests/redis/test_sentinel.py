"""Failovers: a master with two replicas and three Sentinels, all real, the master killed or frozen."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pool.client import AsyncClient, AsyncLease
from pool.errors import StoreError, StoreUnavailable
from pool.models import ContainerRecord, State
from pool.store import Connection, PoolStore
from tests.support import add_available, eventually, settings, wish
from tests.support_redis import Watched, watched

CONTAINERS = [f"c{n}" for n in range(40)]


@pytest.fixture
async def servers() -> AsyncIterator[Watched]:
    async with watched() as servers:
        yield servers


@asynccontextmanager
async def pool_at(url: str, *container_ids: str) -> AsyncIterator[PoolStore]:
    connection = Connection(url, patience_s=30)
    store = PoolStore(connection, "p")
    try:
        await store.open(settings(ttl_s=30), "first")
        await add_available(store, *container_ids)
        yield store
    finally:
        await connection.close()


async def only(store: PoolStore) -> ContainerRecord:
    """The pool's container, waited for if its server is away."""
    return (await store.status()).containers[0]


async def test_with_wait_replicas_no_acknowledged_lease_is_lost_when_the_master_is_killed(servers: Watched) -> None:
    url = servers.url + "?wait_replicas=1"
    async with pool_at(url, *CONTAINERS) as store, AsyncClient(url, patience_s=30) as client:
        granted: list[AsyncLease] = []
        enough = asyncio.Event()

        async def grab() -> None:
            while len(granted) < len(CONTAINERS):
                granted.append(await client.acquire("p", wait_s=30))
                if len(granted) == 10:
                    enough.set()

        grabbing = [asyncio.create_task(grab()) for _ in range(5)]
        await enough.wait()
        await servers.data[0].kill()
        await eventually(lambda: _all_granted(granted, grabbing), deadline_s=40)

        held = {record.request_id: record.fence for record in (await store.status()).containers if record.request_id}
        assert len(held) == len(CONTAINERS)
        assert {lease.request_id: lease.fence for lease in granted} == held
        assert not any(lease.lost for lease in granted)
        for task in grabbing:
            task.cancel()
        await asyncio.gather(*grabbing, return_exceptions=True)
        for lease in granted:
            await lease.release()


async def _all_granted(granted: list[AsyncLease], grabbing: list[asyncio.Task[None]]) -> bool:
    for task in grabbing:
        if task.done():
            task.result()
    return len(granted) == len(CONTAINERS)


async def test_a_master_that_froze_and_thawed_too_late_is_not_gone_back_to_and_who_waits_is_served(
    servers: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pool.store.connection.COMMAND_TIMEOUT_S", 1.5)
    async with pool_at(servers.url, "a") as store, AsyncClient(servers.url, patience_s=30) as client:
        lease = await client.acquire("p")
        waiting = asyncio.create_task(client.acquire("p", wait_s=60))

        async def queued() -> bool:
            return len((await store.status()).queue) == 1

        await eventually(queued)
        await eventually(lambda: servers.replicated(2))
        servers.data[0].send(signal.SIGSTOP)
        await lease.release()
        record = await only(store)
        assert record.state is State.CLEANING
        servers.data[0].send(signal.SIGCONT)
        assert await store.transition(record, State.AVAILABLE)

        second = await waiting

        assert second.fence > lease.fence
        assert [r.fence for r in (await store.status()).containers] == [second.fence]
        await second.release()


async def test_a_grant_that_no_replica_confirms_is_refused_and_leaves_no_lease() -> None:
    async with watched(replicas=1, sentinels=0) as servers:
        master, replica = servers.data
        url = f"redis://{master.address}"
        async with pool_at(url, "a") as store, AsyncClient(f"{url}?wait_replicas=1", patience_s=0.5) as client:
            replica.send(signal.SIGSTOP)
            with pytest.raises(StoreUnavailable, match=r"not replicated: 0 of 1 replicas") as caught:
                await client.acquire("p")
            assert "wait_replicas" in caught.value.hint

            async def given_back() -> bool:
                return (await only(store)).state is State.CLEANING

            await eventually(given_back)
            record = await only(store)
            replica.send(signal.SIGCONT)
            assert await store.transition(record, State.AVAILABLE)

            async def replicates() -> bool:
                return await servers.replicated(1)

            await eventually(replicates)
            async with await client.acquire("p") as lease:
                assert lease.fence > record.fence


async def test_a_service_that_no_sentinel_knows_is_named(servers: Watched) -> None:
    connection = Connection(servers.url.replace("/main", "/other"), patience_s=0)
    try:
        with pytest.raises(StoreError, match="No such master"):
            await PoolStore(connection, "p").acquire(wish("r"))
    finally:
        await connection.close()


async def test_sentinels_that_are_frozen_or_gone_hold_nobody_up_while_one_answers(servers: Watched) -> None:
    frozen, gone, _ = servers.sentinels
    frozen.send(signal.SIGSTOP)
    await gone.kill()
    async with pool_at(servers.url, "a") as store:
        assert (await store.status()).count(State.AVAILABLE) == 1


async def test_without_any_sentinel_calls_fail_within_their_patience() -> None:
    connection = Connection("redis+sentinel://127.0.0.1:1,127.0.0.1:2/main", patience_s=0.2)
    try:
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await PoolStore(connection, "p").acquire(wish("r"))
    finally:
        await connection.close()
