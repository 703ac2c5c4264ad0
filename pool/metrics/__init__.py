"""Metrics for Prometheus: gauges from the state of the pools, counters from their events."""

from __future__ import annotations

from pool.metrics.bookkeeper import Bookkeeper, Hourly
from pool.metrics.counting import Tally, attempt_of, loss_of, outcome_of, whole
from pool.metrics.families import FAMILIES, PRIORITIES, REQUEST_ENDS, Family, Kind, Source

__all__ = [
    "FAMILIES",
    "PRIORITIES",
    "REQUEST_ENDS",
    "Bookkeeper",
    "Family",
    "Hourly",
    "Kind",
    "Source",
    "Tally",
    "attempt_of",
    "loss_of",
    "outcome_of",
    "whole",
]
