"""How fast the pool is, as ratios to what bare Redis does in the same run. No container engine is involved."""

from __future__ import annotations

from pool.bench.allocation import run_allocation
from pool.bench.rows import Goal, Row

__all__ = ["Goal", "Row", "run_allocation"]
