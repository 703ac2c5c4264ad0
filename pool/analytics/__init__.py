"""How a pool was used: counted hour by hour, kept in Redis within bounds, and told as figures."""

from __future__ import annotations

from pool.analytics.histogram import Histogram
from pool.analytics.history import (
    FAILED_ENDS,
    FAILURE_KINDS,
    OTHERS,
    ContainerUse,
    OwnerUse,
    Span,
    total,
)
from pool.analytics.reading import History, read_history
from pool.analytics.recorder import Recorder
from pool.analytics.report import report

__all__ = [
    "FAILED_ENDS",
    "FAILURE_KINDS",
    "OTHERS",
    "ContainerUse",
    "Histogram",
    "History",
    "OwnerUse",
    "Recorder",
    "Span",
    "read_history",
    "report",
    "total",
]
