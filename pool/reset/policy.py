"""Which level a reset begins with, and what follows when a level did not get the container clean."""

from __future__ import annotations

from pool.config import ResetOptions
from pool.models import ContainerRecord, Outcome, ResetLevel, ResetReason, State

_ESCALATION = (ResetLevel.SOFT, ResetLevel.HARD, ResetLevel.RECREATE)


def first_level(record: ContainerRecord, options: ResetOptions) -> ResetLevel:
    """Return the level to do now. It never falls below what this reset has reached already."""
    if record.state is State.STARTING:
        return ResetLevel.RECREATE
    match record.reason:
        case ResetReason.ON_EXPIRY:
            level = options.on_expiry
        case ResetReason.ON_HEALTH_FAILURE:
            level = ResetLevel.HARD
        case ResetReason.ON_RELEASE:
            level = options.on_release if record.outcome is Outcome.PASSED else options.on_failure
        case _:
            level = ResetLevel.SOFT
    level = max(level, record.level)
    if level is ResetLevel.SOFT and options.recipe.shell is None:
        return ResetLevel.HARD
    return level


def next_level(level: ResetLevel) -> ResetLevel:
    """Return the level to try after one that failed; recreation has none above it and stays.

    >>> next_level(ResetLevel.SOFT)
    <ResetLevel.HARD: 3>
    """
    return next((higher for higher in _ESCALATION if higher > level), ResetLevel.RECREATE)
