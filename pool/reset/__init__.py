"""Reset: make a used container as good as new, and prove it from outside."""

from __future__ import annotations

from pool.reset.baseline import Baseline
from pool.reset.levels import Attempt, Place, Resetter
from pool.reset.policy import first_level, next_level, stale_container
from pool.reset.report import Stage

__all__ = ["Attempt", "Baseline", "Place", "Resetter", "Stage", "first_level", "next_level", "stale_container"]
