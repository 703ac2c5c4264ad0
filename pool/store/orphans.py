"""Keys of pools that Redis does not know any more."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pool.config.names import NAME_PATTERN
from pool.store.connection import POOLS_KEY, Connection
from pool.store.pool_store import PoolStore, pool_names

_KEY = re.compile(r"cp:\{([^}]*)\}:(.+)", re.DOTALL)
#: Tells how a request ended, to whoever asks again; it expires by itself.
_REQUEST = "r:"
#: These tell the story of a pool, and expire once it is gone.
_STORY = ("events", "audit", "metrics", "hours", "live")
_HOUR = "hour:"


async def find_orphans(connection: Connection) -> dict[str, list[str]]:
    """Return the keys of pools that were never opened or are gone, by pool, without their prefix.

    What tells the story of a pool — how its requests ended, its events, audit and counters — expires by itself and is
    not among them. A pool that is still in the list of pools is one of them even if it has no key.

    Raises:
        StoreUnavailable: Redis did not answer.
    """
    listed = await pool_names(connection)
    found: dict[str, set[str]] = {pool: set() for pool in listed}
    async for key in connection.scan("cp:{*}:*"):
        match = _KEY.fullmatch(key)
        if match and re.fullmatch(NAME_PATTERN, match[1]):
            found.setdefault(match[1], set()).add(match[2])
    orphans = {}
    for pool, names in found.items():
        if "meta" in names or await _known(connection, pool):
            continue
        kept = {name for name in names if name.startswith(_REQUEST)}
        story = {name for name in names if name in _STORY or name.startswith(_HOUR)}
        kept |= {name for name in story if await _expires(connection, pool, name)}
        if names - kept or pool in listed:
            orphans[pool] = sorted(names - kept)
    return orphans


async def forget_orphans(connection: Connection, pool: str, names: Sequence[str]) -> str:
    """Delete what `find_orphans` found of a pool; returns why it stays after all, or nothing.

    Raises:
        StoreUnavailable: Redis did not answer.
    """
    if not await PoolStore(connection, pool).sweep(names):
        return "the pool is known again"
    async with connection.plain() as redis:
        await redis.srem(POOLS_KEY, pool)
        if await redis.exists(f"cp:{{{pool}}}:meta"):  # it was opened in this very moment
            await redis.sadd(POOLS_KEY, pool)
    return ""


async def _known(connection: Connection, pool: str) -> bool:
    async with connection.plain() as redis:
        return bool(await redis.exists(f"cp:{{{pool}}}:meta"))


async def _expires(connection: Connection, pool: str, name: str) -> bool:
    async with connection.plain() as redis:
        return int(await redis.ttl(f"cp:{{{pool}}}:{name}")) >= 0
