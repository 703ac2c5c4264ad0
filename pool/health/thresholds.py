"""When a measure is too high, and when a container has failed for too long: decisions only, nothing is done here.

Both are slow to change back, so that a container at the edge is not told of over and over.
"""

from __future__ import annotations

from collections.abc import Iterator

from pool.config import ThresholdOptions
from pool.observed import Condition, Sample

#: A measure counts as high until it has come down to this share of its threshold.
_CALM = 0.9


class Streak:
    """Failures of one container in a row. Single good checks in between do not end it.

    Args:
        failures: So many make the container unhealthy.
        recoveries: So many good checks in a row, and earlier failures do not count any more.
    """

    def __init__(self, *, failures: int, recoveries: int) -> None:
        self._limit = failures
        self._recoveries = recoveries
        self._failed = 0
        self._passed = 0

    def note(self, *, healthy: bool) -> bool:
        """Take a check in; returns whether the container has failed for too long."""
        if not healthy:
            self._failed += 1
            self._passed = 0
        elif self._failed:
            self._passed += 1
            if self._passed >= self._recoveries:
                self._failed = self._passed = 0
        return self._failed >= self._limit

    @property
    def over(self) -> bool:
        """Whether no failure counts any more."""
        return self._failed == 0


def too_high(sample: Sample, before: frozenset[Condition], options: ThresholdOptions) -> Iterator[Condition]:
    """Yield which measures of a sample are too high.

    Args:
        sample: What a container uses.
        before: What was too high when it was sampled last.
        options: The thresholds.
    """
    for condition, value, threshold in (
        (Condition.MEMORY_HIGH, sample.memory_percent, options.memory_percent),
        (Condition.MEMORY_EXCESSIVE, sample.memory_percent, options.reset_above_percent),
        (Condition.CPU_HIGH, sample.cpu_percent, options.cpu_percent),
        (Condition.MEMORY_FILLING, _urgency(sample, options), 100.0),
    ):
        if value is None or threshold is None:
            continue
        if value >= threshold or (condition in before and value > threshold * _CALM):
            yield condition


def _urgency(sample: Sample, options: ThresholdOptions) -> float | None:
    """Return how near the limit is in time, in percent: 100 at the horizon, more within it."""
    if options.forecast_horizon_s is None or sample.full_in_s is None:
        return None
    return 100.0 * options.forecast_horizon_s / max(sample.full_in_s, 1e-3)
