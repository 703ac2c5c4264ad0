"""Keys of pools that are gone are found wherever they are, and nobody else's."""

from __future__ import annotations

import uuid

from redis.asyncio import Redis

from pool.store import Connection, PoolStore, find_orphans, forget_orphans, pool_names
from tests.support import add_available, settings
from tests.support_redis import cluster


async def test_keys_of_pools_that_are_gone_are_found_on_all_nodes_of_a_cluster() -> None:
    async with cluster() as servers:
        connection = Connection(servers.url, patience_s=5)
        live = PoolStore(connection, "live")
        await live.open(settings(), "first")
        await add_available(live, "a")
        gone = [f"gone-{number}" for number in range(12)]
        async with connection.plain() as redis:
            for pool in gone:
                await redis.zadd(f"cp:{{{pool}}}:own", {"somebody": 1})
                await redis.set("cp:{No Pool}:own", "somebody else's")

        orphans = await find_orphans(connection)
        for pool, names in orphans.items():
            assert await forget_orphans(connection, pool, names) == ""

        assert orphans == {pool: ["own"] for pool in gone}
        assert await find_orphans(connection) == {}
        assert len((await live.status()).containers) == 1
        await connection.close()


async def test_keys_of_others_are_left_alone_however_they_are_called(redis_url: str) -> None:
    connection = Connection(redis_url)
    name = f"o{uuid.uuid4().hex[:8]}"
    foreign = [f"cp:{name}:own", f"cp:{{{name}}}", f"xcp:{{{name}}}:own", f"cp:{{{name}..}}:own", f"cp:{{{name}}}x:own"]
    async with connection.plain() as redis:
        for key in foreign:
            await redis.set(key, "1")

    orphans = await find_orphans(connection)

    assert not [pool for pool in orphans if name in pool]
    async with connection.plain() as redis:
        assert await redis.delete(*foreign) == len(foreign)
    await connection.close()


async def test_many_keys_of_others_do_not_keep_the_search_from_ending(redis_url: str) -> None:
    connection = Connection(redis_url)
    name = f"o{uuid.uuid4().hex[:8]}"
    await _fill(redis_url, name, 5000)
    async with connection.plain() as redis:
        await redis.sadd("cp:pools", name)
        await redis.hset(f"cp:{{{name}}}:held", mapping={"somebody": "1"})

    orphans = await find_orphans(connection)
    await forget_orphans(connection, name, orphans[name])

    assert orphans[name] == ["held"]
    assert name not in await pool_names(connection)
    async with connection.plain() as redis:
        await redis.delete(*[f"other:{name}:{number}" for number in range(5000)])
    await connection.close()


async def _fill(redis_url: str, name: str, count: int) -> None:
    async with Redis.from_url(redis_url) as redis:
        await redis.mset({f"other:{name}:{number}": "1" for number in range(count)})
