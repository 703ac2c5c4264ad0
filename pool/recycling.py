"""When a container has served long enough, and whether the pool can do without it just then."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection

from pool.config import RecycleOptions
from pool.errors import EngineError
from pool.models import ContainerRecord, PoolStatus, ResetReason, State
from pool.ports import Runtime
from pool.store import PoolStore

#: How much earlier than its limit a container may be due: not all at once, though all were created at once.
_JITTER = 0.2
_AFTER_LEASES = (ResetReason.ON_RELEASE, ResetReason.ON_EXPIRY)
_SERVING = (State.AVAILABLE, State.SPARE, State.ALLOCATED, State.CLEANING)


def early(container_id: str, generation: int) -> float:
    """Return the share of its limits after which a container is due: the same whoever asks, another for the next one.

    >>> 0.8 < early("web-1", 1) <= 1 and early("web-1", 1) != early("web-2", 1)
    True
    """
    digest = hashlib.sha256(f"{container_id}/{generation}".encode()).digest()
    return 1 - _JITTER * int.from_bytes(digest[:4], "big") / 2**32


def due(record: ContainerRecord, options: RecycleOptions, *, now: float) -> str:
    """Say why a container has served long enough; nothing if it has not.

    Args:
        record: The container.
        options: The limits.
        now: Seconds since the epoch by the clock of Redis.
    """
    share = early(record.id, record.info.generation)
    if options.max_uses is not None and record.uses >= math.ceil(options.max_uses * share):
        return f"used {record.uses} times"
    if options.max_age_s is not None and record.born_at is not None:
        age_s = now - record.born_at
        if age_s >= options.max_age_s * share:
            return f"{age_s:.0f} s old"
    return ""


def affordable(status: PoolStatus, container_id: str, recycling: Collection[str], *, at_once: int) -> bool:
    """Whether the pool can do without a container for as long as its recreation takes.

    Args:
        status: The pool as it is.
        container_id: The container that is due.
        recycling: Those that are being recycled already.
        at_once: So many may be at the same time.
    """
    if len(set(recycling) - {container_id}) >= at_once:
        return False
    others = [
        record
        for record in status.containers
        if record.id not in (container_id, *recycling) and record.state in _SERVING and not record.draining
    ]
    return bool(others) or not status.queue


class Recycler:
    """Decides at the end of each lease whether its container is replaced by a fresh one.

    Args:
        options: The limits.
        store: The pool in Redis.
        runtime: The engine.
    """

    def __init__(self, options: RecycleOptions, store: PoolStore, runtime: Runtime) -> None:
        self._options = options
        self._store = store
        self._runtime = runtime
        self._recycling: dict[str, str] = {}

    async def served(self, record: ContainerRecord) -> str:
        """Say why a container that is reset after a lease is to be recreated instead; nothing if it is not.

        Raises:
            StoreError: Redis is away.
        """
        if not self._options.wanted or record.reason not in _AFTER_LEASES:
            return ""
        if record.id in self._recycling:
            return self._recycling[record.id]
        status = await self._store.status()
        return self._decide(status, record, due(record, self._options, now=status.at))

    async def grown(self, record: ContainerRecord, ref: str) -> str:
        """Say why a container that is clean after its lease is to be recreated; nothing if it is not.

        Raises:
            StoreError: Redis is away.
        """
        limit_mb = self._options.max_memory_mb
        if limit_mb is None or record.reason not in _AFTER_LEASES or record.id in self._recycling:
            return ""
        try:
            used_mb = (await self._runtime.stats(ref)).memory_bytes / 2**20
        except EngineError:
            return ""  # nobody knows; it is measured after its next lease, too
        if used_mb <= limit_mb:
            return ""
        return self._decide(await self._store.status(), record, f"uses {used_mb:.0f} MiB of memory")

    def _decide(self, status: PoolStatus, record: ContainerRecord, why: str) -> str:
        if not why or not affordable(status, record.id, self._recycling, at_once=self._options.at_once):
            return ""
        self._recycling[record.id] = why
        return why

    def facts(self, container_id: str) -> dict[str, str]:
        """What the event of a finished reset says about it."""
        why = self._recycling.get(container_id)
        return {"recycled": why} if why else {}

    def done(self, container_id: str) -> None:
        """Note that nobody works on a container any more."""
        self._recycling.pop(container_id, None)
