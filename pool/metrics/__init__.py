"""Metrics for Prometheus: gauges from the state of the pools, counters from their events."""

from __future__ import annotations

from pool.metrics.bookkeeper import Bookkeeper
from pool.metrics.counting import Tally
from pool.metrics.families import FAMILIES, Family, Kind, Source

__all__ = ["FAMILIES", "Bookkeeper", "Family", "Kind", "Source", "Tally"]
