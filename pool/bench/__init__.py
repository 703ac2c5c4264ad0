"""How fast the pool is: allocation as ratios to what bare Redis does in the same run, resets beside the bare engine."""

from __future__ import annotations

from pool.bench.allocation import run_allocation
from pool.bench.reset import run_reset
from pool.bench.rows import Goal, Row

__all__ = ["Goal", "Row", "run_allocation", "run_reset"]
