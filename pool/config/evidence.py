"""What is kept of a container before a recovery destroys it."""

# ruff: noqa: RUF012 - pydantic copies a mutable default for each object; ruff does not see that Options is a BaseModel

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pool.config.container import Options, refusal

#: Why a bundle is collected.
Cause = Literal["unhealthy", "expired", "not_clean", "failed", "error", "removed"]


class EvidenceOptions(Options):
    """What is kept of a container that went wrong, before it is reset. `docs/evidence.md` describes a bundle."""

    # Not `on`: YAML reads that key as true.
    causes: list[Cause] = ["unhealthy", "expired", "not_clean", "failed", "error"]
    """Before which resets: of an unhealthy container, after an expired or lost lease, when a reset did not get it
    clean, after a lease that ended as failed or error; `removed`: before garbage is removed. `[]` keeps nothing."""
    dir: Path | None = None
    """Where bundles are kept, on the manager's host; `evidence` in the state directory by default."""
    log_lines: Annotated[int, Field(ge=0, le=10_000)] = 1000
    """The last lines of the log to keep."""
    artifacts: list[str] = []
    """Files and directories in the container to keep, such as where screenshots go. What lies in tmpfs is packed by the
    `tar` of the image, if it has one."""
    artifacts_mb: Annotated[int, Field(ge=1, le=10_000)] = 50
    """Megabytes of artifacts in one bundle; what is beyond is left out, and noted."""
    image: bool = False
    """Keep the filesystem as an image, too. It takes space in the engine until its bundle goes."""
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 10.0
    """How long collecting may take. The container waits for it; what was not had by then is noted."""
    keep_days: Annotated[float, Field(gt=0, le=3650)] = 7.0
    """Bundles older than this are removed."""
    max_mb: Annotated[int, Field(ge=1, le=1_000_000)] = 500
    """Megabytes that the pool's bundles may take; the oldest go first, the newest always stays."""

    @property
    def keep_s(self) -> float:
        """`keep_days` in seconds."""
        return self.keep_days * 86_400

    @field_validator("artifacts")
    @classmethod
    def _plain_paths(cls, value: list[str]) -> list[str]:
        for index, path in enumerate(value):
            parts = path.split("/")
            if not path.startswith("/") or path == "/" or ".." in parts or not path.isprintable():
                raise refusal(str(index), path, "use the absolute path of a file or directory, without ..")
        return value

    @model_validator(mode="after")
    def _room_for_one(self) -> EvidenceOptions:
        if self.artifacts_mb > self.max_mb:
            raise refusal("artifacts_mb", self.artifacts_mb, f"it may not exceed max_mb ({self.max_mb})")
        return self
