"""Health: is a container fit to be lent?"""

from __future__ import annotations

from pool.health.forecast import Forecaster, Trend
from pool.health.probes import HealthReport, Prober
from pool.health.recovery import STRATEGIES, Action, Fault, strategies_table
from pool.health.thresholds import Streak, too_high

__all__ = [
    "STRATEGIES",
    "Action",
    "Fault",
    "Forecaster",
    "HealthReport",
    "Prober",
    "Streak",
    "Trend",
    "strategies_table",
    "too_high",
]
