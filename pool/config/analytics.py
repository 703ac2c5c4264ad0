"""What is kept of a pool's past."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pool.config.container import Options


class AnalyticsOptions(Options):
    """What is kept of each hour of a pool: use, waits, failures, owners. `docs/analytics.md` says what it tells."""

    keep_days: Annotated[int, Field(ge=1, le=400)] = 35
    """How many days of hours Redis keeps of each pool, some 1.4 KiB an hour. Hours without a manager are none."""
    owners: Annotated[int, Field(ge=1, le=1000)] = 50
    """How many owners an hour names: those that used most. The others are added up."""
