"""The pool on a Redis Cluster of three masters: real servers, pools on different nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.crc import key_slot

from pool.client import AsyncClient
from pool.errors import StoreError, StoreUnavailable
from pool.models import State
from pool.store import Connection, PoolStore, WakeListener, pool_names
from tests.support import add_available, eventually, settings, wish
from tests.support_redis import Cluster, cluster

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers() -> AsyncIterator[Cluster]:
    async with cluster() as servers:
        yield servers


@pytest_asyncio.fixture(loop_scope="module")
async def connection(servers: Cluster) -> AsyncIterator[Connection]:
    connection = Connection(servers.url)
    yield connection
    await connection.close()


def meta(pool: str) -> str:
    return f"cp:{{{pool}}}:meta"


def names(prefix: str) -> list[str]:
    """Pools that live on three different nodes."""
    thirds: dict[int, str] = {}
    for n in range(1000):
        thirds.setdefault(key_slot(meta(f"{prefix}{n}").encode()) // 5461, f"{prefix}{n}")
    return [thirds[third] for third in range(3)]


async def open_pool(connection: Connection, pool: str) -> PoolStore:
    store = PoolStore(connection, pool)
    await store.open(settings(ttl_s=30), "first")
    await add_available(store, "a")
    return store


async def hand_back(store: PoolStore) -> None:
    """The manager's part."""
    record = await store.container("a")
    assert record is not None
    assert record.state is State.CLEANING
    assert await store.transition(record, State.AVAILABLE)


async def test_pools_on_different_nodes_are_lent_waited_for_and_given_back_by_one_client(
    servers: Cluster, connection: Connection
) -> None:
    stores = [await open_pool(connection, name) for name in names("w")]
    assert set(names("w")) <= set(await pool_names(connection))
    async with AsyncClient(servers.url) as client:
        await connection.check()
        first = [await client.acquire(store.pool) for store in stores]
        waiting = [asyncio.create_task(client.acquire(store.pool, wait_s=30)) for store in stores]

        async def queued() -> bool:
            return all([len((await store.status()).queue) == 1 for store in stores])

        await eventually(queued)
        for lease, store in zip(first, stores, strict=True):
            await lease.release()
            await hand_back(store)
        second = [await task for task in waiting]

        assert all(later.fence > earlier.fence for earlier, later in zip(first, second, strict=True))
        for lease in second:
            await lease.release()


async def test_a_slot_that_moved_is_followed(servers: Cluster, connection: Connection) -> None:
    pool = names("m")[0]
    slot = key_slot(meta(pool).encode())
    await PoolStore(connection, pool).reap()  # so that the connection has looked up where the slots are
    await servers.move(slot, servers.nodes[1])

    store = await open_pool(connection, pool)

    assert await servers.nodes[1].ask("EXISTS", meta(pool)) == 1
    assert (await store.status()).count(State.AVAILABLE) == 1


async def test_a_slot_on_the_move_counts_as_away_and_never_as_an_empty_pool(
    servers: Cluster, connection: Connection
) -> None:
    pool = names("n")[0]
    store = await open_pool(connection, pool)
    slot = key_slot(meta(pool).encode())
    source, target = servers.nodes[:2]
    source_id, target_id = str(await source.ask("CLUSTER", "MYID")), str(await target.ask("CLUSTER", "MYID"))
    await target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
    await source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
    keys = await source.ask("CLUSTER", "GETKEYSINSLOT", slot, 1000)
    assert isinstance(keys, list)
    await source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)

    with pytest.raises(StoreUnavailable):
        await PoolStore(connection.without_patience(), pool).acquire(wish("r"))

    await servers.move(slot, target)
    assert (await store.status()).count(State.AVAILABLE) == 1
    await store.acquire(wish("r"))


async def test_what_is_about_no_key_has_to_be_asked_of_each_node(connection: Connection) -> None:
    with pytest.raises(StoreError, match="each node"):
        async with connection.plain() as redis:
            await redis.keys("*")


async def test_wait_replicas_is_asked_of_the_node_that_has_the_pool(servers: Cluster, connection: Connection) -> None:
    pool = names("x")[2]
    store = await open_pool(connection, pool)
    careful = Connection(servers.url + "?wait_replicas=1", patience_s=0)
    try:
        with pytest.raises(StoreUnavailable, match="not replicated: 0 of 1"):
            await PoolStore(careful, pool).acquire(wish("r"))
    finally:
        await careful.close()

    assert await store.cancel("r", "token-r") == "released"


async def test_hints_of_pools_on_different_nodes_reach_one_listener_also_those_added_later(
    connection: Connection,
) -> None:
    first, second, third = names("h")
    listener = WakeListener(connection, "process")
    await listener.add(first)
    await listener.add(second)
    hints = listener.hints()

    async def hear(pool: str) -> tuple[str, str]:
        async with connection.plain() as redis:
            await redis.rpush(f"cp:{{{pool}}}:in:process", "something")
        return await asyncio.wait_for(anext(hints), 20)

    assert await hear(first) == (first, "something")
    assert await hear(second) == (second, "something")
    await listener.add(third)
    assert await hear(third) == (third, "something")
    await listener.close()
