"""When a container has served long enough to be replaced by a fresh one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pool.config.container import Options


class RecycleOptions(Options):
    """When the reset after a lease becomes a recreation, since the container has served long enough; never by default.

    Uses and age vary by up to a fifth below what is given, differently for each container, so that not all are due at
    once. One that is due is lent on as long as requests wait and no other container is in rotation.
    """

    max_uses: Annotated[int, Field(ge=1)] | None = None
    """After so many leases."""
    max_age_s: Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)] | None = None
    """So many seconds after it was created."""
    max_memory_mb: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """When it uses more memory than this after its lease, in MiB."""
    at_once: Annotated[int, Field(ge=1, le=1000)] = 1
    """So many containers of the pool are recycled at the same time; others that are due wait for their next release."""

    @property
    def wanted(self) -> bool:
        """Whether there is any limit."""
        return any(limit is not None for limit in (self.max_uses, self.max_age_s, self.max_memory_mb))
