"""The commands that take containers out of rotation and give them back, as their users run them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from pool.client import Client
from pool.errors import PoolDraining, UnknownContainer
from pool.models import LeaseRef, Outcome, State
from pool.store import PoolStore
from tests.poolctl import Poolctl, hold, one_container, only
from tests.support import wish


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[PoolStore]:
    async with one_container(redis_url) as store:
        yield store


async def test_a_container_is_quarantined_with_a_reason_and_restored(poolctl: Poolctl, store: PoolStore) -> None:
    done = await poolctl("quarantine", "a", "--pool", store.pool, "--reason", "a look at the leak")
    shown = await poolctl("status", store.pool, "--json")
    restored = await poolctl("restore", "a", "--pool", store.pool)

    assert (done.code, done.out) == (0, "a: quarantined; `docker` knows it as n-a\n")
    [container] = json.loads(shown.out)["pools"][0]["containers"]
    assert (container["state"], container["note"]) == ("quarantined", "a look at the leak")
    assert restored.code == 0
    assert "no active manager" in restored.err
    assert (await only(store)).state is State.RESETTING


async def test_a_leased_container_is_quarantined_only_by_force(poolctl: Poolctl, store: PoolStore) -> None:
    await hold(store)

    refused = await poolctl("quarantine", "a", "-p", store.pool, "--reason", "why")
    forced = await poolctl("quarantine", "a", "-p", store.pool, "--reason", "why", "--force")

    assert refused.code == 2
    assert "error: container 'a' is leased by 'owner'" in refused.err
    assert forced.code == 0
    assert (await only(store)).state is State.QUARANTINED


async def test_mistakes_about_a_quarantine_are_told(poolctl: Poolctl, store: PoolStore) -> None:
    without = await poolctl("quarantine", "a", "-p", store.pool)
    empty = await poolctl("quarantine", "a", "-p", store.pool, "--reason", " ")
    unknown = await poolctl("quarantine", "z", "-p", store.pool, "--reason", "why")
    available = await poolctl("restore", "a", "-p", store.pool)

    assert [each.code for each in (without, empty, unknown, available)] == [2, 2, 2, 2]
    assert "reason: ' ' is not allowed" in empty.err
    assert "there is no container 'z'" in unknown.err
    assert "available, not quarantined" in available.err
    assert all("Traceback" not in each.err for each in (without, empty, unknown, available))


async def test_a_draining_container_is_shown_and_resumed(poolctl: Poolctl, store: PoolStore) -> None:
    lease = await hold(store)

    drained = await poolctl("drain", store.pool, "a")
    shown = await poolctl("status", store.pool)
    await store.release(LeaseRef.parse(lease.ref), Outcome.PASSED)
    resumed = await poolctl("resume", store.pool, "a")

    assert (drained.code, drained.out) == (0, "a: draining\na is still leased by owner\n")
    assert "allocated (draining)" in shown.out
    assert (resumed.code, resumed.out) == (0, "a: resumed\n")
    assert not (await only(store)).draining


async def test_a_draining_pool_refuses_until_it_is_resumed(poolctl: Poolctl, store: PoolStore) -> None:
    drained = await poolctl("drain", store.pool)
    with pytest.raises(PoolDraining):
        await store.acquire(wish("r1"))
    container = await poolctl("resume", store.pool, "a")
    resumed = await poolctl("resume", store.pool)

    assert (drained.code, resumed.code) == (0, 0)
    assert "itself is draining" in container.err
    assert await store.acquire(wish("r2"))


async def test_what_is_not_there_can_be_neither_drained_nor_resumed(poolctl: Poolctl, store: PoolStore) -> None:
    for command in ("drain", "resume"):
        container, pool = await asyncio.gather(poolctl(command, store.pool, "z"), poolctl(command, f"{store.pool}x"))

        assert (container.code, pool.code) == (2, 2)
        assert "no container 'z'" in container.err
        assert f"{store.pool}x" in pool.err


async def test_the_synchronous_client_does_the_same(redis_url: str, store: PoolStore) -> None:
    def work() -> list[State]:
        with Client(redis_url) as client:
            client.drain(store.pool, "a")
            client.resume(store.pool, "a")
            client.drain(store.pool)
            client.resume(store.pool)
            client.quarantine(store.pool, "a", reason="why")
            quarantined = client.status(store.pool).containers[0].state
            client.restore(store.pool, "a")
            with pytest.raises(UnknownContainer):
                client.drain(store.pool, "z")
            return [quarantined, client.status(store.pool).containers[0].state]

    assert await asyncio.to_thread(work) == [State.QUARANTINED, State.RESETTING]
