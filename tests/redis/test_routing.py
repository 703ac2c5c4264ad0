"""A request without a pool goes to one that can serve it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from pool.client import AsyncClient
from pool.config import PoolOptions
from pool.errors import InvalidRequest, RequirementsUnmet
from pool.store import Connection, PoolSettings, PoolStore
from tests.support import add_available

#: Marks the pools of this test among others in the same Redis.
RUN = uuid.uuid4().hex[:8]


@pytest.fixture
async def pools(redis_url: str) -> AsyncIterator[dict[str, PoolStore]]:
    connection = Connection(redis_url)
    stores = {}
    for name, memory in (("small", "128m"), ("big", "1g"), ("twin", "1g")):
        store = PoolStore(connection, f"{name}-{RUN}")
        container = {"image": "i", "memory": memory, "cpus": 1, "labels": {"run": RUN}}
        options = PoolOptions.model_validate({"size": 1, "container": container, "health": {"tcp": None}})
        await store.open(PoolSettings.of(options), "first")
        await add_available(store, f"{name}-1")
        stores[name] = store
    yield stores
    for store in stores.values():
        await store.forget()
    await connection.close()


async def test_a_request_goes_to_a_pool_that_meets_it_and_has_a_container_free(
    client: AsyncClient, pools: dict[str, PoolStore]
) -> None:
    wish = {"min_memory_mb": 512, "labels": {"run": RUN}}

    first = await client.acquire(requirements=wish)
    second = await client.acquire(requirements=wish)

    assert {first.data.pool, second.data.pool} == {pools["big"].pool, pools["twin"].pool}


async def test_what_no_pool_can_serve_is_refused_at_once_saying_why(
    client: AsyncClient, pools: dict[str, PoolStore]
) -> None:
    with pytest.raises(RequirementsUnmet) as caught:
        await client.acquire(requirements={"min_memory_mb": 4096, "labels": {"run": RUN}})

    assert f"small-{RUN}: min_memory_mb 4096: its containers have 128" in str(caught.value)
    assert f"big-{RUN}: min_memory_mb 4096: its containers have 1024" in str(caught.value)


async def test_a_named_pool_has_to_meet_the_requirements_too(client: AsyncClient, pools: dict[str, PoolStore]) -> None:
    with pytest.raises(RequirementsUnmet, match="small"):
        await client.acquire(pools["small"].pool, requirements={"min_memory_mb": 512})
    with pytest.raises(InvalidRequest, match=r"requirements\.memory"):
        await client.acquire(pools["small"].pool, requirements={"memory": 512})
