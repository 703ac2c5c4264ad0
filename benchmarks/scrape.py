"""What a scrape of `/metrics` costs with many containers: all of it, and its parts, beside `/healthz`.

    python benchmarks/scrape.py --containers 100 --rounds 50

It prints milliseconds. Containers are such that only Redis knows of; each is sampled, and requests wait.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from statistics import quantiles

import aiohttp
import structlog

from pool.api import ApiServer
from pool.bench.stage import fake_pool, server
from pool.config import parse_config
from pool.metrics import Bookkeeper, Tally
from pool.metrics.exposition import Scrape, render
from pool.models import LeaseRef, Outcome, Priority
from pool.observed import Sample
from pool.store import Connection, Grant, MetricsStore, Observation, PoolStore, RequestSpec

_CONFIG = """{
  "http": {"port": 0}, "pools": {"none": {"size": 1, "container": {"image": "none"}, "health": {"tcp": null}}}
}"""
_LEASES = 500
_MIB = 2**20


def _wish(name: str, *, wait_s: float = 0.0) -> RequestSpec:
    return RequestSpec(name, "token", "bench", "bench", Priority.NORMAL, wait_s=wait_s, liveness_s=3600)


async def _populate(store: PoolStore, waiting: int) -> float:
    """Lend containers often, fill the pool and its queue, sample all; returns how many events a second were counted."""
    for number in range(_LEASES):
        granted = await store.acquire(_wish(f"past-{number}"))
        if isinstance(granted, Grant):
            await store.release(LeaseRef.parse(granted.lease.ref), Outcome.PASSED)
    status = await store.status()
    sample = Sample(100 * _MIB, 512 * _MIB, cpu_percent=12.5, pids=40, full_in_s=900.0)
    await store.observe([Observation(record.id, sample) for record in status.containers])
    await store.lead("bench", ttl_s=3600, info="bench")
    for number in range(len(status.containers) + waiting):
        await store.acquire(_wish(f"now-{number}", wait_s=3600))
    started = time.perf_counter()
    await Bookkeeper(store.connection, store.pool).look()
    seconds = time.perf_counter() - started
    counted = (await MetricsStore(store.connection, store.pool).read()).values
    return sum(number for name, number in counted.items() if name.startswith("pool_events_total")) / seconds


async def _time(rounds: int, work: Callable[[], Awaitable[object]]) -> list[float]:
    """Return how long each round took, in milliseconds, after one that does not count."""
    await work()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        await work()
        times.append((time.perf_counter() - started) * 1000)
    return times


def _show(name: str, times: list[float]) -> None:
    marks = quantiles(times, n=20)
    sys.stdout.write(f"{name:<44} p50 {marks[9]:7.2f}   p95 {marks[18]:7.2f}\n")


async def _measure(url: str, containers: int, rounds: int, waiting: int) -> None:
    connection = Connection(url)
    api = ApiServer(parse_config(_CONFIG), connection, None)
    try:
        async with fake_pool(connection, containers) as store, aiohttp.ClientSession() as session:
            rate = await _populate(store, waiting)
            counters = MetricsStore(connection, store.pool)
            await api.start()

            async def get(path: str) -> bytes:
                async with session.get(api.url + path) as response:
                    return await response.read()

            status, counted = await store.status(), await counters.read()

            async def write() -> None:
                render(Scrape("bench", [(status, Tally(counted.values))], redis_up=True), "")

            sys.stdout.write(
                f"{containers} containers, {waiting} waiting, {len(await get('/metrics')) / 1024:.0f} KiB\n"
            )
            _show("GET /healthz", await _time(rounds, lambda: get("/healthz")))
            _show("GET /metrics", await _time(rounds, lambda: get("/metrics")))
            _show("  of it: the pool's status from Redis", await _time(rounds, store.status))
            _show("  of it: its counters from Redis", await _time(rounds, counters.read))
            _show("  of it: computing and writing", await _time(rounds, write))
            sys.stdout.write(f"events counted a second: {rate:.0f}\n")
    finally:
        await api.close()
        await connection.close()


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="a Redis server that nobody else uses; a private one where none is given")
    parser.add_argument("--containers", type=int, default=100)
    parser.add_argument("--waiting", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=50)
    wish = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with server(wish.url) as url:
        asyncio.run(_measure(url, wish.containers, wish.rounds, wish.waiting))


if __name__ == "__main__":
    main()
