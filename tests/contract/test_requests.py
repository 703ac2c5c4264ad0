"""What goes with a request, the check at hand-out, and bundles."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from pool.errors import (
    AcquireTimeout,
    AlreadyReleased,
    InvalidRequest,
    LeaseLost,
    NoneFit,
    RequirementsUnmet,
    UnknownPool,
)
from pool.models import ResetReason, State
from pool.store import PoolStore
from tests.boxes import Box, add_box
from tests.contract.books import is_state, lose, queued, recover, state
from tests.support import eventually, open_pool

# What goes with a request


async def test_metadata_and_label_go_with_the_lease(client: Any, store: PoolStore) -> None:
    said = {"test": "tést_login", "tags": ["a", "b"], "attempt": 2}

    async with await client.acquire(store.pool, metadata=said, label="logins") as lease:
        assert lease.data.metadata == said
        record = await store.container("a")
        assert record is not None
        assert record.metadata == said


async def test_a_label_recommends_a_timeout_from_five_leases_on(client: Any, store: PoolStore) -> None:
    assert await client.timeout_recommendation(store.pool, "log/ins ü") is None
    for _ in range(5):
        await (await client.acquire(store.pool, label="log/ins ü")).release()

    recommended = await client.timeout_recommendation(store.pool, "log/ins ü")

    assert recommended.samples == 5
    assert recommended.timeout_s >= 1
    with pytest.raises(UnknownPool):
        await client.timeout_recommendation("no-such-pool", "x")


async def test_requirements_find_a_pool_or_say_what_each_lacks(client: Any, store: PoolStore) -> None:
    async with await client.acquire(requirements={"min_memory_mb": 1}) as lease:
        assert lease.data.pool == store.pool

    with pytest.raises(RequirementsUnmet, match="label team=qa") as caught:
        await client.acquire(store.pool, requirements={"labels": {"team": "qa"}})
    assert caught.value.hint
    with pytest.raises(InvalidRequest) as invalid:
        await client.acquire(store.pool, requirements={"min_memory": 1})
    assert invalid.value.field == "requirements.min_memory"


# Hand-out


async def test_an_unfit_container_is_passed_over_and_goes_to_recovery(client: Any, redis_url: str) -> None:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_pool(redis_url, on_release="none"))
        bad, good = [await stack.enter_async_context(Box(status)) for status in (500, 200)]
        await add_box(store, bad, "a")
        await add_box(store, good, "b")

        async with await client.acquire(store.pool, wait_s=0) as lease:
            assert lease.container.id == "b"

        record = await store.container("a")
        assert record is not None
        assert (record.state, record.reason) == (State.UNHEALTHY, ResetReason.ON_HEALTH_FAILURE)
        assert record.note.startswith(f"unfit at hand-out: http: GET http://127.0.0.1:{bad.port}/ready: status 500")


async def test_where_none_is_fit_all_that_were_tried_are_named(client: Any, redis_url: str) -> None:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_pool(redis_url, on_release="none"))
        for container_id, status in (("a", 500), ("b", 502)):
            await add_box(store, await stack.enter_async_context(Box(status)), container_id)

        with pytest.raises(NoneFit) as caught:
            await client.acquire(store.pool, max_retries=1)

        assert "a: http: " in str(caught.value)
        assert "status 502" in str(caught.value)
        assert caught.value.retry_after_s > 1


async def test_a_request_that_found_an_unfit_container_waits_on_at_its_place(client: Any, redis_url: str) -> None:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_pool(redis_url, on_release="none"))
        box = await stack.enter_async_context(Box(500))
        await add_box(store, box, "a")
        waiting = asyncio.create_task(client.acquire(store.pool, wait_s=30))
        await eventually(lambda: is_state(store, State.UNHEALTHY))
        assert await queued(store, 1)

        box.status = 200
        await recover(store)

        async with await waiting as lease:
            assert lease.container.id == "a"


# Bundles


async def test_a_bundle_is_leases_of_all_its_pools_given_back_together(client: Any, redis_url: str) -> None:
    async with (
        open_pool(redis_url, "a1", "a2", on_release="none") as a,
        open_pool(redis_url, "b1", on_release="none") as b,
    ):
        wanted = {a.pool: 2, b.pool: 1}
        async with await client.acquire_many(wanted, timeout_s=50, request_id="mine", metadata={"run": 7}) as bundle:
            assert bundle.pools == tuple(sorted(wanted))
            assert sorted(lease.container.id for lease in bundle) == ["a1", "a2", "b1"]
            assert sorted(lease.request_id for lease in bundle[a.pool]) == ["mine.1", "mine.2"]
            assert {round(lease.data.deadline_at - lease.data.granted_at) for lease in bundle} == {50}
            assert all(lease.left_s > 40 for lease in bundle)
            assert all(lease.data.metadata == {"run": 7} for lease in bundle)
            assert (len(bundle), bundle.lost, bundle.released) == (3, False, False)
            bundle.check()

        assert bundle.released
        for store, container_id in ((a, "a1"), (a, "a2"), (b, "b1")):
            assert await state(store, container_id) is State.AVAILABLE
        with pytest.raises(AlreadyReleased):
            await bundle.release()


async def test_a_bundle_waits_until_it_is_complete(client: Any, redis_url: str) -> None:
    async with open_pool(redis_url, "a", "b", on_release="none") as store:
        held = await client.acquire(store.pool)
        waiting = asyncio.create_task(client.acquire_many({store.pool: 2}, wait_s=30, timeout_s=20))
        await eventually(lambda: queued(store, 1))

        await held.release()

        async with await waiting as bundle:
            assert sorted(lease.container.id for lease in bundle) == ["a", "b"]
            assert all(15 < lease.left_s <= 20 for lease in bundle)


async def test_a_bundle_that_is_not_complete_in_time_gives_everything_back(client: Any, redis_url: str) -> None:
    async with open_pool(redis_url, "a", "b", on_release="none") as store:
        async with await client.acquire(store.pool) as lease:
            free = {"a": "b", "b": "a"}[lease.container.id]
            for wait_s in (0, 0.3):
                with pytest.raises(AcquireTimeout):
                    await client.acquire_many({store.pool: 2}, wait_s=wait_s)
                await eventually(lambda: is_state(store, State.AVAILABLE, free))
        await eventually(lambda: queued(store, 0))


async def test_a_bundle_that_can_never_be_had_is_refused(client: Any, store: PoolStore, redis_url: str) -> None:
    with pytest.raises(RequirementsUnmet, match="1 containers"):
        await client.acquire_many({store.pool: 2})
    with pytest.raises(UnknownPool):
        await client.acquire_many({store.pool: 1, "no-such-pool": 1})
    for pools in ({}, {store.pool: 0}, {"No Such": 1}):
        with pytest.raises(InvalidRequest):
            await client.acquire_many(pools)
    assert await state(store) is State.AVAILABLE


@pytest.mark.parametrize("kind", ["async"], indirect=True)
async def test_a_cancelled_bundle_gives_back_what_it_had(client: Any, redis_url: str) -> None:
    async with open_pool(redis_url, "a", "b", on_release="none") as store:
        lease = await client.acquire(store.pool)
        free = {"a": "b", "b": "a"}[lease.container.id]
        waiting = asyncio.create_task(client.acquire_many({store.pool: 2}, wait_s=60))
        await eventually(lambda: queued(store, 1))

        waiting.cancel()

        with pytest.raises(asyncio.CancelledError):
            await waiting
        await eventually(lambda: queued(store, 0))
        await eventually(lambda: is_state(store, State.AVAILABLE, free))
        await lease.release()


async def test_a_bundle_names_the_lease_that_is_lost(client: Any, redis_url: str) -> None:
    async with open_pool(redis_url, "a", "b", on_release="none", ttl_s=1) as store:
        bundle = await client.acquire_many({store.pool: 2})
        await lose(store, "a")

        async def lost() -> bool:
            return bool(bundle.lost)

        await eventually(lost)
        with pytest.raises(LeaseLost, match="'a'"):
            bundle.check()
        with pytest.raises(LeaseLost, match="'a'"):
            await bundle.release()
        assert await state(store, "b") is State.AVAILABLE
