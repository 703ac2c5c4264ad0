"""Released → the next waiter, in another process, has it; beside a bare BLPOP/RPUSH hand-off."""

from __future__ import annotations

import secrets
import time
from contextlib import AsyncExitStack

from pool.allocator import build_request
from pool.bench.rows import Goal, Row, p50, timed
from pool.bench.stage import Partner, fake_pool, partner
from pool.client import AsyncClient, AsyncLease
from pool.models import Priority
from pool.store import Connection, PoolStore, Waiting

WAITERS = (1, 10, 100, 1000)
_GOAL = Goal.at_most(1.5)
_OWNER = "holder"


class _Bare:
    """An item handed over by bare Redis: one process pushes, another one blocks."""

    def __init__(self, connection: Connection, other: Partner) -> None:
        self._connection = connection
        self._other = other
        self._key = f"cp:bench:{secrets.token_hex(8)}"

    async def prepare(self) -> None:
        await self._other.send(pop=self._key)

    async def measure_ms(self) -> float:
        async with self._connection.plain() as redis:
            begun = time.monotonic_ns()
            await redis.rpush(self._key, "x")
        return float((await self._other.next())["at_ns"] - begun) / 1e6


class _Ours:
    """A container handed over by the pool, with a number of waiters in the queue."""

    def __init__(self, client: AsyncClient, store: PoolStore, other: Partner, waiters: int) -> None:
        self._client = client
        self._store = store
        self._other = other
        self._waiters = waiters
        self._lease: AsyncLease | None = None

    async def prepare(self) -> None:
        """Take the container, and have all the others wait for it."""
        self._lease = await self._client.acquire(self._store.pool, owner=_OWNER)
        await self._other.send(wait=self._store.pool, waiters=self._waiters)
        while len((await self._store.status()).queue) < self._waiters:
            continue

    async def measure_ms(self) -> float:
        assert self._lease is not None  # noqa: S101 - prepared before
        begun = time.monotonic_ns()
        await self._lease.release()
        took_ms = float((await self._other.next())["at_ns"] - begun) / 1e6
        await self._take_back()
        return took_ms

    async def _take_back(self) -> None:
        """Enter the queue before the waiters, and only then have the holder give the container back."""
        request = build_request(
            process=self._client.process,
            priority=Priority.CRITICAL,
            owner=_OWNER,
            wait_s=60.0,
            ttl_s=None,
            timeout_s=None,
        )
        answer = await self._store.acquire(request)
        assert isinstance(answer, Waiting)  # noqa: S101 - the other process has the pool's only container
        await self._other.send(go=self._store.pool)
        self._lease = await self._client.acquire(
            self._store.pool, priority=Priority.CRITICAL, owner=_OWNER, request_id=request.request_id
        )


async def hand_off(url: str, connection: Connection, *, rounds: int) -> list[Row]:
    """Measure hand-offs between two processes with short and long queues, in turns so that drift hits all.

    Args:
        url: Where both processes find the pools.
        connection: The same server.
        rounds: How often each is measured.
    """
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(AsyncClient(url))
        stores = {count: await stack.enter_async_context(fake_pool(connection, 1)) for count in WAITERS}
        other = await stack.enter_async_context(partner(url))
        bare = _Bare(connection, other)
        ours = {count: _Ours(client, store, other, count) for count, store in stores.items()}
        await bare.prepare()
        for side in ours.values():
            await side.prepare()
        floor: list[float] = []
        times: dict[int, list[float]] = {count: [] for count in WAITERS}
        for _ in range(rounds):
            floor.append(await bare.measure_ms())
            for count, side in ours.items():
                times[count].append(await side.measure_ms())
    rows = [
        timed(f"hand-off, {count:,} waiter{'s' * (count > 1)}", times[count], floor, goal=_GOAL) for count in WAITERS
    ]
    growth = p50(times[1000]) / p50(times[10])
    return [*rows, timed("hand-off, 1,000 ÷ 10 waiters", times[1000], times[10], ratio=growth, goal=Goal.at_most(1.3))]
