"""How fast the pool is, as ratios to what bare Redis, a bare engine or a bare HTTP handler does in the same run."""

from __future__ import annotations

from pool.bench.allocation import run_allocation
from pool.bench.http import run_http
from pool.bench.reset import run_reset
from pool.bench.rows import Goal, Row

__all__ = ["Goal", "Row", "run_allocation", "run_http", "run_reset"]
