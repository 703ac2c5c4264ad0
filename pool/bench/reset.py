"""The benchmark of resets: release → available by level, stage and technique, beside what an engine takes by itself."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from pool.bench.rows import Goal, Row, p50, timed
from pool.bench.site import Poolless, Site, managed, sample_config
from pool.bench.stage import fake_pool, partner, server
from pool.client import AsyncClient, AsyncLease
from pool.config import DockerOptions
from pool.errors import PoolError
from pool.models import Outcome, State
from pool.ports import ShellSession
from pool.reset.recipe import STAGES
from pool.runtimes import DockerRuntime
from pool.store import Connection

#: Restarts and fresh containers take a hundred times as long as soft resets: so many fewer are measured.
_RARE = 5
_IDLE_S, _BUSY_S = 3600.0, 1.0
_PHASES = 3

Tell = Callable[[str], object]
Times = dict[str, list[float]]


def run_reset(*, url: str | None = None, rounds: int = 50, tell: Tell = lambda _: None) -> list[Row]:
    """Measure resets by level, stage and technique, the notice of a death, and what fifty health checks cost. Blocks.

    Everything it makes carries a deployment of its own, and is removed at the end, also after Ctrl-C.

    Args:
        url: The server to keep the state on; a private one, gone afterwards, by default.
        rounds: How often a soft reset is measured; everything else follows from it.
        tell: Called with what is being measured.

    Raises:
        EngineError: There is no engine, or not the sample image.
        StoreError: The server cannot be used, or none could be started.
    """
    with server(url) as address:
        return asyncio.run(_measure(address, rounds, tell))


async def _measure(url: str, rounds: int, tell: Tell) -> list[Row]:
    connection, runtime = Connection(url), DockerRuntime(DockerOptions())
    deployment = f"bench-{secrets.token_hex(4)}"
    try:
        await connection.check()
        await runtime.check()
        async with AsyncExitStack() as stack:
            poolless = Poolless(sample_config(f"{deployment}-x", size=2), runtime)
            site = await stack.enter_async_context(managed(sample_config(deployment), connection, runtime, url))
            stack.push_async_callback(poolless.end)
            await poolless.begin()
            times = await _resets(site, poolless, rounds, tell)
        times["swap"] = await _swaps(connection, url, rounds)
        tell("acquire beside health checks")
        return [*_rows(times), await _beside_checks(url, rounds)]
    finally:
        await runtime.close()
        await connection.close()


async def _resets(site: Site, poolless: Poolless, rounds: int, tell: Tell) -> Times:
    """Measure everything in turns, so that whatever else the machine does hits all alike."""
    times: Times = defaultdict(list)
    lease = await site.lease()
    for number in range(rounds):
        tell(f"resets, {number + 1} of {rounds}")
        times["exec"].append(await poolless.exec_ms())
        lease = await _reset(site, lease, Outcome.PASSED, "soft", times)
        await _techniques(site, times)
        if number % _RARE == 0:
            times["restart"].append(await poolless.restart_ms())
            times["fresh"].append(await poolless.fresh_ms())
            lease = await _reset(site, lease, Outcome.ERROR, "medium", times)
            lease = await _reset(site, lease, Outcome.FAILED, "hard", times)
            took_ms, lease = await site.recreated_ms(lease)
            times["recreate"].append(took_ms)
            await lease.release()
            times["death"].append(await site.missed_ms())
            lease = await site.lease()
    await lease.release()
    return times


async def _reset(site: Site, lease: AsyncLease, outcome: Outcome, level: str, times: Times) -> AsyncLease:
    """Make the container dirty and hand it over.

    Raises:
        PoolError: Another level got it clean.
    """
    await site.use(await site.ref())
    await site.news()
    took_ms, following = await site.handed_over_ms(lease, outcome)
    reset = next(event.fields for event in await site.news() if "verified" in event.fields)
    if reset["reset_level"] != level:
        raise PoolError(f"a {level} reset was to be measured, but a {reset['reset_level']} one was needed")
    times[level].append(took_ms)
    if level == "soft":
        stages = {name: ms for name, (_, ms) in json.loads(reset["stages"]).items()}
        for name in STAGES:
            times[f"stage {name}"].append(stages[name])
        times["verification"].append(float(reset["reset_ms"]) - sum(stages.values()))
    return following


async def _techniques(site: Site, times: Times) -> None:
    """Measure the parts that a reset is made of, and those that it is not, on a clean container."""
    ref = await site.ref()
    shell = await site.runtime.open_shell(ref, user="root")
    try:
        times["shell"].append(await _timed(lambda: _nothing(shell)))
    finally:
        await shell.close()
    times["processes"].append(await _timed(lambda: site.runtime.processes(ref)))
    times["changes"].append(await _timed(lambda: site.runtime.changes(ref)))


async def _swaps(connection: Connection, url: str, rounds: int) -> list[float]:
    """Take the only lent container out of rotation while somebody waits, until that one has the spare instead."""
    times = []
    async with fake_pool(connection, 1, spares=1) as store, AsyncClient(url) as client:
        lease = await client.acquire(store.pool)
        for _ in range(rounds):
            out = await store.container(lease.container.id)
            if out is None:
                raise PoolError(f"the benchmark's container {lease.container.id} is gone")
            waiting = asyncio.create_task(client.acquire(store.pool, wait_s=10))
            while not (await store.status()).queue:
                continue
            begun = time.perf_counter()
            await store.transition(out, State.RESETTING)
            lease = await waiting
            times.append((time.perf_counter() - begun) * 1e3)
            out = await store.container(out.id)
            if out is not None:
                await store.transition(out, State.AVAILABLE)
        await lease.release()
    return times


async def _nothing(shell: ShellSession) -> None:
    await shell.run(":", deadline_s=10)


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    begun = time.perf_counter()
    await work()
    return (time.perf_counter() - begun) * 1e3


def _rows(times: Times) -> list[Row]:
    soft, fresh, restart, execution = times["soft"], times["fresh"], times["restart"], times["exec"]
    return [
        timed("docker exec true", execution),
        timed("docker restart, until it answers", restart),
        timed("fresh container, until it answers, and removed", fresh),
        timed("soft reset: release → available, verified", soft, execution, goal=Goal.within_ms(20)),
        timed("fresh container ÷ soft reset", fresh, soft, goal=Goal.at_least(15)),
        timed("medium reset", times["medium"], fresh),
        timed("hard reset", times["hard"], restart),
        timed("recreation", times["recreate"], fresh),
        timed("swap with a spare: out of rotation → the next one has it", times["swap"]),
        *(timed(f"soft, stage {name}", times[f"stage {name}"]) for name in STAGES),
        timed("soft, verification from outside", times["verification"]),
        timed("a script that does nothing, in an open shell", times["shell"], execution),
        timed("process list from outside", times["processes"], execution),
        timed("changed files from outside", times["changes"], execution),
        timed("server crashed → container out of rotation", times["death"], goal=Goal.within_ms(60)),
    ]


async def _beside_checks(url: str, rounds: int) -> Row:
    """Acquire while the manager of fifty containers checks all of them each second, and while it rests, in turns."""
    idle: list[float] = []
    busy: list[float] = []
    for _ in range(_PHASES):
        idle += await _acquisitions(url, rounds * 4, _IDLE_S)
        busy += await _acquisitions(url, rounds * 4, _BUSY_S)
    name = "acquire while 50 containers are health-checked ÷ idle"
    return timed(name, busy, idle, ratio=p50(busy) / p50(idle), goal=Goal.at_most(1.3))


async def _acquisitions(url: str, number: int, interval_s: float) -> list[float]:
    pool = f"bench-{secrets.token_hex(4)}"
    times = []
    async with partner(url, pool, str(interval_s), module="pool.bench.checked") as other, AsyncClient(url) as client:
        if not (await other.next())["ready"]:
            raise PoolError("the benchmark's second process could not start its pool", hint="it wrote to stderr why")
        for _ in range(number):
            begun = time.perf_counter()
            lease = await client.acquire(pool)
            times.append((time.perf_counter() - begun) * 1e3)
            await lease.release()
    return times
