"""`python -m pool.cli` is `poolctl`."""

from __future__ import annotations

from pool.cli import main

main()
