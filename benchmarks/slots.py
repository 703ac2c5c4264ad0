"""Hard resets and recreations of the sample image, with plain and with held slots, by turns in one run.

    python benchmarks/slots.py --rounds 30

It prints milliseconds from the wish to a container that is verified clean, and needs a Docker engine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import product
from pathlib import Path
from statistics import quantiles

import structlog

from pool.bench.stage import server
from pool.config import Config, load_config, parse_config
from pool.errors import EngineError
from pool.manager import Ending, PoolManager
from pool.models import ResetLevel, State
from pool.runtimes import DockerRuntime
from pool.store import Connection, PoolStore

_DEMO = Path(__file__).parents[1] / "config" / "demo.yaml"
_SLOTS = ("plain", "held")
_LEVELS = (ResetLevel.HARD, ResetLevel.RECREATE)
_POLL_S = 0.002


def _config() -> Config:
    """The demo's pool with one container, once with each kind of slot."""
    (demo,) = load_config(_DEMO).pools.values()
    options = demo.model_dump(mode="json", by_alias=True) | {"size": 1}
    pools = {slot: options | {"slot": slot} for slot in _SLOTS}
    return parse_config(json.dumps({"deployment": f"bench-{secrets.token_hex(4)}", "pools": pools}))


@asynccontextmanager
async def _managed(config: Config, runtime: DockerRuntime, connection: Connection) -> AsyncIterator[None]:
    """Manage the pools; in the end nothing is left of them.

    Raises:
        PoolError: They cannot be started.
    """
    ending = Ending()
    managers = [PoolManager(config, pool, runtime, connection) for pool in config.pools]
    running = [asyncio.create_task(manager.run(ending)) for manager in managers]
    ready = asyncio.create_task(_all_ready(managers))
    try:
        await asyncio.wait([ready, *running], return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            raise EngineError("the pools did not start", hint="`deploy/images/build sample` builds their image")
        yield
    finally:
        ready.cancel()
        ending.request(remove=True)
        await asyncio.gather(*running)  # raises what kept them from starting
        await runtime.remove_network(config.deployment)


async def _all_ready(managers: list[PoolManager]) -> None:
    for manager in managers:
        await manager.ready.wait()


async def _reset(store: PoolStore, level: ResetLevel) -> float:
    """Reset the pool's only container; returns the milliseconds until it may be lent."""
    (record,) = (await store.status()).containers
    began = time.monotonic()
    wish: dict[str, str | int] = {"reason": "manual", "level": int(level), "note": ""}
    if not await store.transition(record, State.RESETTING, store=wish):
        raise EngineError(f"{record.id} is in use by something else")
    while True:
        await asyncio.sleep(_POLL_S)
        if (await store.status()).count(State.AVAILABLE):
            return (time.monotonic() - began) * 1000


async def _measure(url: str, rounds: int) -> dict[tuple[str, str], list[float]]:
    times: dict[tuple[str, str], list[float]] = {}
    async with AsyncExitStack() as stack:
        config, connection, runtime = _config(), Connection(url), DockerRuntime()
        stack.push_async_callback(connection.close)
        stack.push_async_callback(runtime.close)
        await stack.enter_async_context(_managed(config, runtime, connection))
        for _, level, slot in product(range(rounds), _LEVELS, _SLOTS):
            times.setdefault((level.label, slot), []).append(await _reset(PoolStore(connection, slot), level))
    return times


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="resets of each kind")
    rounds = max(2, parser.parse_args().rounds)
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with server(None) as url:
        times = asyncio.run(_measure(url, rounds))
    for (level, slot), values in times.items():
        p50, p95 = quantiles(values, n=20)[9::9]
        line = f"{level:9} {slot:6} p50 {p50:5.0f} ms   p95 {p95:5.0f} ms   least {min(values):5.0f} ms\n"
        sys.stdout.write(line)


if __name__ == "__main__":
    main()
