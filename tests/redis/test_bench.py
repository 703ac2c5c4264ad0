"""The benchmark on a real server: that it measures everything and leaves nothing. No time is ever asserted."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from pool.bench import run_allocation, stage
from pool.bench.handoff import WAITERS
from pool.bench.stage import fake_pool, partner
from pool.client import AsyncClient
from pool.embedded import find_server
from pool.errors import PoolError
from pool.models import State
from pool.store import Connection, pool_names
from tests.support import eventually, keeper_of


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


async def left_behind(url: str) -> tuple[list[str], list[str]]:
    """The pools, and the keys without a TTL."""
    connection = Connection(url)
    try:
        names = [name for name in await pool_names(connection) if name.startswith("bench-")]
        async with connection.plain() as redis:
            keys = [str(key) for key in await redis.keys("cp:{bench-*")]
            return names, [key for key in keys if await redis.ttl(key) == -1]
    finally:
        await connection.close()


def test_every_kind_of_work_is_measured_and_the_server_is_left_as_it_was(redis_url: str) -> None:
    told: list[str] = []

    rows = run_allocation(url=redis_url, rounds=10, tell=told.append)

    kinds = [row.name.split(",")[0].split(":")[0] for row in rows]
    assert kinds == ["EVALSHA return 1", "acquire", "release", *["hand-off"] * 5, *["cycles/s"] * 2, "fairness"]
    assert all(row.p50_ms > 0 for row in rows)
    assert [row.goal is not None for row in rows] == [False, True, False, *[True] * 5, False, True, True]
    assert len(told) == 5
    assert asyncio.run(left_behind(redis_url)) == ([], [])


def test_without_a_url_it_runs_on_a_private_server_that_is_gone_afterwards() -> None:
    with stage.server(None) as url:
        state_dir = Path(url.removeprefix("unix://")).parents[1]
        assert find_server(state_dir) is not None

    assert not state_dir.exists()


async def test_containers_of_a_fake_pool_are_handed_over_without_a_reset(redis_url: str) -> None:
    connection = Connection(redis_url)
    try:
        async with fake_pool(connection, 2) as store, AsyncClient(redis_url) as client:
            await (await client.acquire(store.pool)).release()

            assert (await store.status()).count(State.AVAILABLE) == 2
    finally:
        await connection.close()


async def test_a_partner_that_dies_ends_the_benchmark_with_an_error(redis_url: str) -> None:
    async with partner(redis_url) as other:
        os.kill(other._process.pid, signal.SIGKILL)

        with pytest.raises(PoolError, match="second process ended"):
            await other.next()


async def test_a_partner_ends_with_the_pipe_that_it_listens_on(redis_url: str) -> None:
    connection = Connection(redis_url)
    try:
        async with fake_pool(connection, 1) as store:
            async with partner(redis_url) as other:
                await other.send(wait=store.pool, waiters=max(WAITERS) // 100)
                assert (await other.next())["got"] == store.pool

            assert other._process.returncode == 0

            async def empty() -> bool:
                return not (await store.status()).queue

            await eventually(empty)
    finally:
        await connection.close()


async def test_a_grant_seen_twice_does_not_take_the_lease_from_its_holder(redis_url: str) -> None:
    """The answer to a repeated acquire and that to the hint may cross: the second one finds nobody waiting."""
    connection = Connection(redis_url)
    try:
        async with fake_pool(connection, 1) as store, AsyncClient(redis_url) as client:
            lease = await client.acquire(store.pool, request_id="twice")
            answered: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            answered.set_result(None)
            keeper_of(client).waiters[store.pool, "twice"] = answered  # type: ignore[assignment]

            await keeper_of(client).collect(store.pool, ["twice"])
            await asyncio.gather(*keeper_of(client).background)
            del keeper_of(client).waiters[store.pool, "twice"]

            await lease.release()
    finally:
        await connection.close()
