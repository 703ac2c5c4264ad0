"""What a pool's last day says that cannot wait."""

from __future__ import annotations

from pool.analytics import read_history
from pool.cli.doctor.finding import Finding, warn
from pool.models import PoolStatus
from pool.recommendations import Severity, recommend
from pool.store import PoolStore

_DAY_S = 86_400.0


async def check_past(store: PoolStore, status: PoolStatus) -> list[Finding]:
    """Return the critical ones among what is recommended for a pool.

    Raises:
        StoreError: Redis is away.
    """
    history = await read_history(store.connection, store.pool, since=status.at - _DAY_S, until=status.at)
    return [
        warn(f"pool.{store.pool}.{advice.code}", advice.title, advice.action)
        for advice in recommend(history.hours, await store.setup())
        if advice.severity is Severity.CRITICAL
    ]
