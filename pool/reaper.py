"""The reaper: ends waits, grants and leases that have outlived their time."""

from __future__ import annotations

import structlog

from pool.store import PoolStore

_BATCH = 100

log = structlog.get_logger()


async def reap_all(store: PoolStore) -> None:
    """End everything that is overdue now, in batches, so that no single command holds Redis up."""
    while True:
        waits, grants, leases = await store.reap(limit=_BATCH)
        if waits or grants or leases:
            log.info("reaper.ended", pool=store.pool, waits=waits, unconfirmed_grants=grants, leases=leases)
        if max(waits, grants, leases) < _BATCH:
            return
