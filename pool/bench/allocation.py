"""The benchmark of allocation: every figure beside what bare Redis does in the same run, taken in turns with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

from redis.asyncio import Redis

from pool.bench.handoff import hand_off
from pool.bench.rows import Goal, Row, timed
from pool.bench.stage import fake_pool, on_server
from pool.client import AsyncClient
from pool.store import Connection

_LANES = (1, 8)
_GREEDY_CLIENTS = 8
_GREEDY_CONTAINERS = 2
_BATCHES = 10

Tell = Callable[[str], object]
Step = Callable[[], Awaitable[object]]


def run_allocation(*, url: str | None = None, rounds: int = 1000, tell: Tell = lambda _: None) -> list[Row]:
    """Measure acquire, release, hand-off, cycles and fairness. Blocks.

    Args:
        url: The server to measure on; a private one, gone afterwards, by default.
        rounds: How often acquire and release are measured; everything else follows from it.
        tell: Called with what is being measured.

    Raises:
        StoreError: The server cannot be used, or none could be started.
        PoolError: The benchmark's second process failed.
    """

    async def measure(address: str, connection: Connection) -> list[Row]:
        floor = Floor(connection)
        await floor.load()
        tell("acquire and release")
        rows = await _acquire_release(address, connection, floor, rounds)
        tell("hand-off between two processes")
        rows += await hand_off(address, connection, rounds=max(rounds // 5, 2))
        for lanes in _LANES:
            tell(f"cycles, {lanes} at once")
            rows.append(await _cycles(address, connection, floor, rounds, lanes))
        tell("fairness")
        rows.append(await _fairness(address, connection, rounds))
        return rows

    return on_server(url, measure)


class Floor:
    """The least a command costs in the client library: a script that does nothing, on a connection like the pool's."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sha = ""

    async def load(self) -> None:
        """Make the script known to the server."""
        async with self._connection.plain() as redis:
            self._sha = str(await redis.script_load("return 1"))

    async def measure_ms(self) -> float:
        """Run it once; returns how long that took."""
        async with self._connection.plain() as redis:
            begun = time.perf_counter()
            await Redis.evalsha(redis, self._sha, 0)  # the library's own way, not the pool's shorter one
            return (time.perf_counter() - begun) * 1e3


async def _acquire_release(url: str, connection: Connection, floor: Floor, rounds: int) -> list[Row]:
    warm_up = max(rounds // 20, 1)
    floors, acquires, releases = [], [], []
    async with fake_pool(connection, 1) as store, AsyncClient(url) as client:
        for number in range(rounds + warm_up):
            floor_ms = await floor.measure_ms()
            asked = time.perf_counter()
            lease = await client.acquire(store.pool)
            got = time.perf_counter()
            await lease.release()
            gone = time.perf_counter()
            if number >= warm_up:
                floors.append(floor_ms)
                acquires.append((got - asked) * 1e3)
                releases.append((gone - got) * 1e3)
    return [
        timed("EVALSHA return 1", floors),
        timed("acquire, free pool", acquires, floors, goal=Goal.at_most(1.8)),
        timed("release", releases, floors),
    ]


async def _cycles(url: str, connection: Connection, floor: Floor, rounds: int, lanes: int) -> Row:
    """Compare rates of acquire + release with those of two bare scripts, batch by batch."""
    each = max(rounds // _BATCHES // lanes, 1)
    async with fake_pool(connection, lanes) as store, AsyncClient(url) as client:

        async def two_scripts() -> None:
            await floor.measure_ms()
            await floor.measure_ms()

        async def cycle() -> None:
            await (await client.acquire(store.pool)).release()

        floor_s = ours_s = 0.0
        floors: list[float] = []
        times: list[float] = []
        for _ in range(_BATCHES):
            floor_s += await _side_by_side(two_scripts, lanes, each, floors)
            ours_s += await _side_by_side(cycle, lanes, each, times)
    name = f"cycles/s, {lanes} connection{'s' * (lanes > 1)}: {len(times) / ours_s:,.0f} ÷ {len(floors) / floor_s:,.0f}"
    return timed(name, times, floors, ratio=floor_s / ours_s, goal=Goal.at_least(0.8) if lanes > 1 else None)


async def _side_by_side(step: Step, lanes: int, each: int, times_ms: list[float]) -> float:
    """Take a step again and again in several tasks at once; returns the seconds until all are done."""

    async def lane() -> None:
        for _ in range(each):
            begun = time.perf_counter()
            await step()
            times_ms.append((time.perf_counter() - begun) * 1e3)

    begun = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(lanes)))
    return time.perf_counter() - begun


async def _fairness(url: str, connection: Connection, rounds: int) -> Row:
    """Let greedy clients, which release and ask again at once, fight for too few containers."""
    waits: list[float] = []
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(fake_pool(connection, _GREEDY_CONTAINERS))
        clients = [await stack.enter_async_context(AsyncClient(url)) for _ in range(_GREEDY_CLIENTS)]
        counts = [0] * len(clients)

        async def greedy(number: int) -> None:
            while sum(counts) < rounds:
                begun = time.perf_counter()
                async with await clients[number].acquire(store.pool):
                    waits.append((time.perf_counter() - begun) * 1e3)
                    counts[number] += 1

        await asyncio.gather(*(greedy(number) for number in range(len(clients))))
    return timed(_greedy_name(counts), waits, ratio=min(counts) / max(counts), goal=Goal.at_least(0.95))


def _greedy_name(counts: Sequence[int]) -> str:
    name = f"fairness, {_GREEDY_CLIENTS} greedy clients, {_GREEDY_CONTAINERS} containers"
    return f"{name}: {min(counts)} ÷ {max(counts)}"
