"""Which level a reset begins with, and what follows when a level did not get the container clean."""

from __future__ import annotations

from pool.config import ResetOptions
from pool.models import ContainerRecord, Outcome, PoolStatus, ResetLevel, ResetReason, State
from pool.states import IDLE_STATES


def first_level(record: ContainerRecord, options: ResetOptions) -> ResetLevel:
    """Return the level to do now. It never falls below what this reset has reached already."""
    if record.state is State.STARTING:
        return ResetLevel.RECREATE
    return _possible(max(_wanted(record, options), record.level), options)


def next_level(level: ResetLevel, options: ResetOptions) -> ResetLevel:
    """Return the level to try after one that failed; recreation has none above it and stays.

    >>> next_level(ResetLevel.SOFT, ResetOptions())
    <ResetLevel.HARD: 3>
    """
    higher = next((higher for higher in ResetLevel if higher > level), ResetLevel.RECREATE)
    return _possible(higher, options)


def stale_container(status: PoolStatus, options: ResetOptions) -> ContainerRecord | None:
    """Return the container that has stood idle for too long to be lent as it is, and may be reset now.

    One at a time, and none while requests wait or the pool is degraded: they need every container there is.
    """
    if options.on_allocation is ResetLevel.NONE or status.queue or status.degraded:
        return None
    if any(r.state is State.RESETTING and r.reason is ResetReason.ON_ALLOCATION for r in status.containers):
        return None
    idle = [record for record in status.containers if record.state in IDLE_STATES]
    oldest = min(idle, key=lambda record: record.since, default=None)
    if oldest is None or status.at - oldest.since < options.on_allocation_after_s:
        return None
    return oldest


def _wanted(record: ContainerRecord, options: ResetOptions) -> ResetLevel:
    match record.reason:
        case ResetReason.ON_ALLOCATION:
            return options.on_allocation
        case ResetReason.ON_EXPIRY:
            return options.on_expiry
        case ResetReason.ON_HEALTH_FAILURE:
            return options.on_health_failure
        case ResetReason.ON_RELEASE if record.outcome is Outcome.PASSED:
            return options.on_release
        case ResetReason.ON_RELEASE if record.outcome is Outcome.ERROR and options.on_error is not None:
            return options.on_error
        case ResetReason.ON_RELEASE:
            return options.on_failure
    return options.manual


def _possible(level: ResetLevel, options: ResetOptions) -> ResetLevel:
    """Return a level, or the next one that the recipe has the means for."""
    if level is ResetLevel.SOFT and options.recipe.shell is None:
        return ResetLevel.HARD
    if level is ResetLevel.MEDIUM and not options.recipe.has_medium:
        return ResetLevel.HARD
    return level
