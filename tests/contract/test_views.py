"""What a client sees of a pool, and what an operator does with it."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from pool.errors import (
    AcquireTimeout,
    ClientClosed,
    InvalidRequest,
    PoolDraining,
    RequestConflict,
    UnknownContainer,
    WrongState,
)
from pool.models import Priority, ResetLevel, ResetReason, State
from pool.store import PoolStore
from tests.contract.books import queued
from tests.support import add_available, eventually, open_pool

# What there is to see


async def test_the_status_is_the_same_for_all(client: Any, store: PoolStore) -> None:
    async with await client.acquire(store.pool, owner="run-1", metadata={"n": 1}, label="l") as lease:
        waiting = asyncio.create_task(client.acquire(store.pool, wait_s=60, request_id="next", priority="high"))
        await eventually(lambda: queued(store, 1))
        await store.degrade("", "too much", facts={})

        seen, true = await client.status(store.pool), await store.status()

        [container], [expected] = seen.containers, true.containers
        for name in (
            "id", "state", "revision", "fence", "owner", "request_id", "priority", "metadata", "reason", "outcome",
            "level", "failures", "uses", "note", "draining", "last_owner", "last_request_id", "conditions",
        ):  # fmt: skip
            assert getattr(container, name) == getattr(expected, name), name
        for name in ("since", "granted_at", "deadline_at"):
            assert getattr(container, name) == pytest.approx(getattr(expected, name), abs=0.002), name
        assert container.info == expected.info
        for name in ("pool", "incarnation", "draining", "manager", "facts", "degraded", "deployment"):
            assert getattr(seen, name) == getattr(true, name), name
        [entry] = seen.queue
        assert (entry.request_id, entry.owner, entry.priority, entry.position, entry.effective, entry.first) == (
            "next", "tester", Priority.HIGH, 1, Priority.HIGH, False,
        )  # fmt: skip
        assert seen.count(State.ALLOCATED) == 1
        assert store.pool in await client.pools()
        assert lease.data.token not in str(seen)
    await (await waiting).release()


async def test_spares_are_no_places(client: Any, redis_url: str) -> None:
    async with open_pool(redis_url, "a", "b", "c", size=2, spares=1) as store:
        seen = await client.status(store.pool)

        assert (seen.places, seen.count(State.AVAILABLE), seen.count(State.SPARE)) == (2, 2, 1)


async def test_a_client_tells_who_waits_and_why(client: Any, store: PoolStore) -> None:
    async with await client.acquire(store.pool) as lease:
        waiting = asyncio.create_task(client.acquire(store.pool, wait_s=60, request_id="mine", priority="high"))
        await eventually(lambda: queued(store, 1))

        [entry] = await client.queue(store.pool)

        assert (entry.request.request_id, entry.request.owner) == ("mine", "tester")
        assert entry.estimated_wait_s is not None
        assert entry.waits_for == "Next in line, containers: 1 leased"
        assert (await client.explain(store.pool, "mine")).startswith("Next in line, containers: 1 leased; its turn")
        assert await client.explain(store.pool, lease.request_id) == "It holds a."
        with pytest.raises(RequestConflict, match="nobody"):
            await client.explain(store.pool, "nobody")
    await (await waiting).release()


# What an operator does


async def test_a_reset_can_be_asked_for_unless_somebody_holds_the_container(client: Any, store: PoolStore) -> None:
    async with await client.acquire(store.pool):
        with pytest.raises(WrongState, match="allocated by 'tester'"):
            await client.reset(store.pool, "a")

    await client.reset(store.pool, "a", level=ResetLevel.HARD)

    record = await store.container("a")
    assert record is not None
    assert (record.state, record.reason, record.level) == (State.RESETTING, ResetReason.MANUAL, ResetLevel.HARD)
    with pytest.raises(UnknownContainer, match="'nobody'"):
        await client.reset(store.pool, "nobody")


async def test_quarantine_and_restore_and_what_they_refuse(client: Any, store: PoolStore) -> None:
    lost: list[str] = []
    lease = await client.acquire(store.pool, on_lost=lambda lease: lost.append(lease.container.id))
    with pytest.raises(WrongState, match="leased by 'tester'"):
        await client.quarantine(store.pool, "a", reason="odd")
    with pytest.raises(InvalidRequest, match="reason"):
        await client.quarantine(store.pool, "a", reason=" ")
    with pytest.raises(WrongState, match="not quarantined"):
        await client.restore(store.pool, "a")

    await client.quarantine(store.pool, "a", reason="odd", force=True)

    record = await store.container("a")
    assert record is not None
    assert (record.state, record.note) == (State.QUARANTINED, "odd")

    async def told() -> bool:
        return lost == ["a"]

    await eventually(told)
    assert lease.lost
    await client.restore(store.pool, "a")
    record = await store.container("a")
    assert record is not None
    assert (record.state, record.level) == (State.RESETTING, ResetLevel.RECREATE)


async def test_a_draining_container_and_pool_lend_nothing_until_they_are_resumed(client: Any, store: PoolStore) -> None:
    await add_available(store, "b")
    await client.drain(store.pool, "a")
    async with await client.acquire(store.pool, wait_s=0) as lease:
        assert lease.container.id == "b"
        with pytest.raises(AcquireTimeout):
            await client.acquire(store.pool, wait_s=0)
    await client.resume(store.pool, "a")
    await client.drain(store.pool)
    assert (await client.status(store.pool)).draining
    with pytest.raises(PoolDraining):
        await client.acquire(store.pool)

    await client.resume(store.pool)

    await (await client.acquire(store.pool, wait_s=0)).release()
    with pytest.raises(UnknownContainer):
        await client.drain(store.pool, "nobody")


# Forks


@pytest.mark.parametrize("kind", ["async"], indirect=True)
async def test_a_client_notices_that_its_process_forked(
    client: Any, store: PoolStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        pid = os.getpid()
        patch.setattr(os, "getpid", lambda: pid + 1)
        with pytest.raises(ClientClosed, match="forked"):
            await client.acquire(store.pool)

    await (await client.acquire(store.pool)).release()
