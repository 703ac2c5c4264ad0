"""What is recorded of who did what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from pool.config.container import Options


class AuditOptions(Options):
    """The audit: every change with who, what, when, why and result. `docs/audit.md` says what it proves."""

    keep: Annotated[int, Field(ge=1000, le=10_000_000)] = 100_000
    """About how many entries Redis keeps of each pool, some 500 bytes each. The oldest go."""
    file: Path | None = None
    """Where the manager appends them, too, a line of JSON for each, written through to the disk. Rotate it as you like:
    it is opened anew for each write."""
