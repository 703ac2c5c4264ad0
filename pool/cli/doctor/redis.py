"""Whether Redis is what the pool can rely on."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Any

from pool.cli.doctor.advice import check_past
from pool.cli.doctor.finding import Finding, fail, failed, judged, ok, warn
from pool.cli.doctor.finding import size as in_words
from pool.embedded import find_binary
from pool.errors import PoolError
from pool.redaction import mask_url
from pool.store import Connection, PoolStore, pool_names

_PINGS = 50
_SLOW_MS = 5.0
_VERY_SLOW_MS = 50.0
_SKEW_S = 2.0
_FULL = 0.9


def check_no_redis() -> Finding:
    """Return what becomes of a pool without a URL and without a private server: `serve` starts one."""
    try:
        binary = find_binary()
    except PoolError as error:
        return failed("redis", error)
    return ok("redis", f"no URL is given and no private server runs; `poolctl serve` starts {binary}")


async def check_redis(url: str) -> list[Finding]:
    """Ask a server about itself, change nothing, and return what there is to say."""
    try:
        connection = Connection(url, patience_s=0)
    except PoolError as error:
        return [failed("redis", error)]
    try:
        version = await connection.check()
        found = [ok("redis", f"version {version} at {mask_url(url)}")]
        async with connection.plain() as redis:
            facts: Mapping[str, Any] = await redis.info()
        found += [*_durability(facts), *_memory(facts)]
        found += [await _latency(connection), await _clock(connection)]
        found += await _pools(connection)
    except PoolError as error:
        return [failed("redis", error)]
    finally:
        await connection.close()
    return found


def _durability(facts: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield whether what was acknowledged survives a crash, and whether the server could write it so far."""
    yield judged(
        "redis.aof",
        "on" if facts.get("aof_enabled") else "off: if Redis restarts, leases are lost and all containers are reset",
        "CONFIG SET appendonly yes, and in redis.conf",
        poor=not facts.get("aof_enabled"),
    )
    broken = [
        name
        for name in ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")
        if facts.get(name, "ok") != "ok"
    ]
    yield judged(
        "redis.persistence",
        f"its last write failed: {', '.join(broken)}" if broken else "no errors",
        "see its log: most often the disk is full, or its directory may not be written to",
        bad=bool(broken),
    )


def _memory(facts: Mapping[str, Any]) -> Iterator[Finding]:
    used, limit = int(facts.get("used_memory", 0)), int(facts.get("maxmemory", 0))
    policy = str(facts.get("maxmemory_policy", "noeviction"))
    yield judged(
        "redis.eviction",
        f"{policy}" + ("" if policy == "noeviction" else ": leases and queues would be thrown away"),
        "CONFIG SET maxmemory-policy noeviction, and in redis.conf",
        bad=policy != "noeviction" and limit > 0,
        poor=policy != "noeviction",
    )
    yield judged(
        "redis.memory",
        f"{in_words(used)} used" + (f" of {in_words(limit)}" if limit else ", no limit"),
        "raise maxmemory, or give the pool a server of its own: at the limit, nothing is granted any more",
        poor=bool(limit) and used > _FULL * limit,
    )


async def _latency(connection: Connection) -> Finding:
    async with connection.plain() as redis:
        times = []
        for _ in range(_PINGS):
            began = time.perf_counter()
            await redis.ping()
            times.append((time.perf_counter() - began) * 1000)
    p50 = statistics.median(times)
    return judged(
        "redis.latency",
        f"p50 {p50:.2f} ms, longest {max(times):.1f} ms, of {_PINGS}",
        "put it nearer, or see `redis-cli --latency` and SLOWLOG: each acquire and release takes this long",
        bad=p50 > _VERY_SLOW_MS,
        poor=p50 > _SLOW_MS,
    )


async def _clock(connection: Connection) -> Finding:
    async with connection.plain() as redis:
        before = time.time()
        seconds, microseconds = await redis.time()
        after = time.time()
    there = int(seconds) + int(microseconds) / 1e6
    return skew("redis.clock", there - after if there > after else min(there - before, 0.0))


def skew(check: str, ahead_s: float) -> Finding:
    """Return how far another clock is from ours, in seconds."""
    return judged(
        check,
        f"{abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} ours" if abs(ahead_s) >= 0.1 else "as ours",
        "let NTP keep both: leases are safe, since only the clock of Redis counts, but times in logs will not agree",
        poor=abs(ahead_s) > _SKEW_S,
    )


async def _pools(connection: Connection) -> list[Finding]:
    """Return of each pool whether somebody manages it, what is out of rotation, and what its last day says."""
    found = []
    for name in await pool_names(connection):
        store = PoolStore(connection, name)
        status = await store.status()
        found += await check_past(store, status)
        if not status.manager:
            found.append(warn(f"pool.{name}", "no active manager", "start one: `poolctl serve CONFIG`"))
            continue
        away = [record.id for record in status.containers if record.state in ("quarantined", "unhealthy")]
        if away and len(away) == len(status.containers):
            found.append(fail(f"pool.{name}", "no container is in rotation", f"see `poolctl status {name}`"))
        else:
            out = f", {', '.join(away)} not in rotation" if away else ""
            seen = f"{len(status.containers)} containers{out}; managed by {status.manager}"
            found.append(judged(f"pool.{name}", seen, f"see `poolctl status {name}`", poor=bool(away)))
    return found
