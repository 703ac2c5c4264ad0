"""How much of its memory and CPU a container may use before somebody hears of it, or it is reset."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pool.config.container import Options

Percent = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]


class ThresholdOptions(Options):
    """When the use of memory and CPU is worth an event, or a reset. `docs/recovery.md` says what follows."""

    memory_percent: Percent | None = 90.0
    """From this share of `container.memory` on: event `container.memory_high`, once until it has come down to nine
    tenths of this. Nothing without a memory limit."""
    cpu_percent: Percent | None = 95.0
    """From this share of `container.cpus` on (of one CPU where there is no limit), as the mean since the last check:
    event `container.cpu_high`, likewise."""
    reset_above_percent: Percent | None = None
    """From this share of `container.memory` on an idle container is reset, once until it has come down; `null`: off."""
    forecast_horizon_s: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] | None = 300.0
    """An idle container whose memory, by its trend over the latest checks, would reach its limit within so many seconds
    is reset before; `null`: never."""
