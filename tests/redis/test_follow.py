"""Following event streams: nothing is missed, new pools are picked up, and a Redis that is away is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest
from redis.asyncio import Redis

from pool.models import Event
from pool.store import Connection, PoolStore, ends, follow, pool_names, read_events
from tests.support import open_pool, settings
from tests.support_redis import cluster, one_server


class Heard:
    """What a follower heard so far."""

    def __init__(self) -> None:
        self.all: list[tuple[str, Event]] = []
        self._news = asyncio.Condition()

    async def take(self, events: AsyncIterator[tuple[str, Event]]) -> None:
        async for entry in events:
            async with self._news:
                self.all.append(entry)
                self._news.notify_all()

    def told(self, pool: str) -> list[str]:
        return [event.fields.get("n", "") for name, event in self.all if name == pool and event.type == "test.told"]

    async def until(self, pool: str, said: str) -> None:
        async with self._news, asyncio.timeout(20):
            await self._news.wait_for(lambda: said in self.told(pool))


@asynccontextmanager
async def following(events: AsyncIterator[tuple[str, Event]]) -> AsyncIterator[Heard]:
    heard = Heard()
    task = asyncio.create_task(heard.take(events))
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.wait([task])


async def tell(store: PoolStore, *numbers: int) -> None:
    for number in numbers:
        await store.tell("test.told", {"n": str(number)})


@asynccontextmanager
async def following_from_now(*stores: PoolStore) -> AsyncIterator[Heard]:
    connection, pools = stores[0].connection, [store.pool for store in stores]
    async with following(follow(connection, pools, after=await ends(connection, pools))) as heard:
        yield heard


async def test_events_of_several_pools_are_told_as_they_happen_from_now_on(redis_url: str) -> None:
    async with open_pool(redis_url) as one, open_pool(redis_url) as two:
        await tell(one, 1)
        async with following_from_now(one, two) as heard:
            await tell(one, 2, 3)
            await tell(two, 4)
            await heard.until(one.pool, "3")
            await heard.until(two.pool, "4")

    assert heard.told(one.pool) == ["2", "3"]
    assert heard.told(two.pool) == ["4"]


async def test_what_was_missed_is_told_first(redis_url: str) -> None:
    async with open_pool(redis_url) as store:
        await tell(store, 1, 2, 3)
        first = (await read_events(store.connection, store.pool))[0].id
        async with following(follow(store.connection, [store.pool], after={store.pool: first})) as heard:
            await heard.until(store.pool, "3")

    assert heard.told(store.pool) in (["1", "2", "3"], ["2", "3"])


async def test_a_pool_that_is_opened_later_is_followed_from_its_beginning(redis_url: str) -> None:
    async with open_pool(redis_url) as store:

        async def names() -> list[str]:
            return await pool_names(store.connection)

        after = await ends(store.connection, await names())
        async with following(follow(store.connection, names, after=after)) as heard:
            await tell(store, 0)
            await heard.until(store.pool, "0")  # it looked at the pools
            async with open_pool(redis_url) as late:
                await tell(late, 1, 2)
                await heard.until(late.pool, "2")

    assert heard.told(late.pool) == ["1", "2"]


async def test_one_connection_reads_all_streams(redis_url: str) -> None:
    async with open_pool(redis_url) as one, open_pool(redis_url) as two, following_from_now(one, two) as heard:
        await tell(two, 1)
        await heard.until(two.pool, "1")
        async with Redis.from_url(redis_url, protocol=2, decode_responses=True) as redis:
            readers = [client for client in await redis.client_list() if client["cmd"] == "xread"]

    assert len(readers) == 1


async def test_a_redis_that_was_killed_is_followed_again_without_a_gap() -> None:
    async with one_server() as redis:
        url = f"redis://{redis.address}"
        async with open_pool(url) as store, following_from_now(store) as heard:
            await tell(store, 1, 2)
            await heard.until(store.pool, "2")
            await redis.kill()
            await redis.start()
            await tell(store, 3, 4)
            await heard.until(store.pool, "4")

    assert heard.told(store.pool) == ["1", "2", "3", "4"]


async def test_a_stream_that_was_lost_with_the_data_of_redis_is_followed_from_its_new_beginning() -> None:
    async with one_server() as redis, open_pool(f"redis://{redis.address}") as store:
        later = {store.pool: "9999999999999-0"}  # as after a clock that was wrong
        async with following(follow(store.connection, [store.pool], after=later)) as heard:
            await store.open(settings(), "second")
            await tell(store, 1)
            await heard.until(store.pool, "1")

    assert heard.told(store.pool) == ["1"]


async def test_in_a_cluster_each_pool_is_read_from_its_node() -> None:
    async with cluster() as nodes, aclosing_connection(nodes.url) as connection:
        stores = [PoolStore(connection, name) for name in ("a", "b", "c", "d")]
        for store in stores:
            await store.open(settings(), "first")
        async with following_from_now(*stores) as heard:
            for store in stores:
                await tell(store, 1)
                await heard.until(store.pool, "1")

    assert {pool for pool, _ in heard.all} == {"a", "b", "c", "d"}


@asynccontextmanager
async def aclosing_connection(url: str) -> AsyncIterator[Connection]:
    connection = Connection(url)
    try:
        yield connection
    finally:
        await connection.close()


async def test_ending_leaves_no_connection_behind(redis_url: str) -> None:
    async with open_pool(redis_url) as store:
        events = follow(store.connection, [store.pool])
        async with aclosing(events):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await anext(events)
        async with Redis.from_url(redis_url, protocol=2, decode_responses=True) as redis:
            readers = [client for client in await redis.client_list() if client["cmd"] == "xread"]

    assert readers == []
