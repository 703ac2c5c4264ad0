"""Health: is a container fit to be lent?"""

from __future__ import annotations

from pool.health.probes import HealthReport, Prober

__all__ = ["HealthReport", "Prober"]
