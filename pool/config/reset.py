"""How a used container becomes as good as new: levels, recipe, deadlines, verification."""

# ruff: noqa: RUF012 - pydantic copies a mutable default for each object; ruff does not see that Options is a BaseModel

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, field_validator, model_validator

from pool.config.container import Options, Seconds, refusal
from pool.models import ResetLevel

_LEVELS = [level.label for level in ResetLevel]


def _level(value: object) -> ResetLevel:
    if isinstance(value, ResetLevel):
        return value
    if value not in _LEVELS:
        raise ValueError(f"use one of {', '.join(_LEVELS)}")
    return ResetLevel[str(value).upper()]


def _name_default(schema: dict[str, Any]) -> None:
    if "default" in schema:
        schema["default"] = ResetLevel(schema["default"]).label


Level = Annotated[
    ResetLevel,
    BeforeValidator(_level),
    PlainSerializer(lambda level: level.label, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "enum": _LEVELS}),
    Field(json_schema_extra=_name_default),
]

#: How much of a container is compared with what it was when it was new.
Verify = Literal["off", "fast", "full"]

_VERIFY_RULE = "use off, fast or full"


class ResetRecipe(Options):
    """What soft and medium resets do inside the container, and what may stay."""

    shell: str | None = "/bin/sh"
    """A POSIX shell in the image. `null` in an image without one means: every reset is at least hard."""
    user: str | None = None
    """User that the stages run as; the one that the container starts as by default. Let it start as root and become
    another at once, and its workload cannot reach the shell. With `no-new-privileges`, root has the capabilities of
    `cap_add` only in a container that itself starts as root."""
    keep_processes: list[str] = []
    """Names (`comm`, shell patterns allowed) that survive the reset, besides process 1."""
    temporary: list[str] = ["/tmp/*", "/var/tmp/*", "/dev/shm/*", "/dev/mqueue/*"]  # noqa: S108 - paths in the container
    """Paths to delete, shell patterns allowed; `/*` also means the hidden files there."""
    caches: list[str] = []
    """Paths of caches to delete, like `temporary`."""
    logs: list[str] = []
    """Log files to empty; they stay open in their writers. One that the new container did not have is left behind, even
    if it is empty: where a server begins new ones, delete them as `temporary`, or ignore them."""
    environment: list[str] = []
    """Shell commands that put the environment back, each of which must succeed."""
    validate_with: list[str] = Field(default=[], alias="validate")
    """Shell commands that must succeed at the end."""
    medium_kill: list[str] | None = None
    """Names (`comm`, shell patterns allowed) of the workers that a medium reset kills first, even if `keep_processes`
    has them; process 1 is spared. `null`: all but `keep_processes`. There is no medium level unless this or `restart`
    is given."""
    restart: list[str] = []
    """Shell commands with which a medium reset starts again what it killed, once all else is wiped; each must succeed.
    Their output is thrown away. What they leave running must be among `keep_processes`."""

    @property
    def has_medium(self) -> bool:
        """Whether it says what a medium reset does."""
        return self.medium_kill is not None or bool(self.restart)

    @model_validator(mode="after")
    def _run_somewhere(self) -> ResetRecipe:
        commands = {"environment": self.environment, "validate": self.validate_with, "restart": self.restart}
        for name, value in (commands | {"medium_kill": self.medium_kill or []}).items():
            if value and self.shell is None:
                raise refusal(name, value, "nothing can be done inside an image without a shell; leave it out")
        return self


class ResetOptions(Options):
    """Which level follows what, how long each may take, and how the result is verified."""

    on_allocation: Level = ResetLevel.NONE
    """Before a container is lent that has stood idle for `on_allocation_after_s`. It is done as soon as it has, one
    container at a time and only while nobody waits, so that no request has to."""
    on_allocation_after_s: Seconds = 600.0
    """How long a container may stand idle until `on_allocation`."""
    on_release: Level = ResetLevel.SOFT
    """After a lease that passed. `none` lends the container on as it is: only for stateless services."""
    on_failure: Level = ResetLevel.HARD
    """After a lease that ended as failed or error."""
    on_error: Level | None = None
    """After a lease that ended as error; as `on_failure` by default."""
    on_health_failure: Level = ResetLevel.HARD
    """After a container was found unhealthy. At least hard."""
    on_expiry: Level = ResetLevel.HARD
    """After an expired or lost lease. At least hard: the old user may still be connected."""
    manual: Level = ResetLevel.SOFT
    """The least level of a reset that an operator asks for."""
    recipe: ResetRecipe = ResetRecipe()
    """What soft and medium resets do."""
    soft_timeout_s: Seconds = 10.0
    """Deadline of a soft reset."""
    medium_timeout_s: Seconds = 20.0
    """Deadline of a medium reset."""
    hard_timeout_s: Seconds = 60.0
    """Deadline of a hard reset, until the container is healthy again."""
    recreate_timeout_s: Seconds = 120.0
    """Deadline of a recreation, until the container is healthy again."""
    quarantine_after: Annotated[int, Field(ge=1, le=100)] = 3
    """Resets that may fail in a row, each through all its levels, before an operator has to look."""
    verify: Verify = "full"
    """What must be as in the fresh container, seen from outside. `full`: that it answers its probes, its processes, its
    changed files, and what lies at the paths of the recipe and in tmpfs. `fast`: the same without the changed files.
    `off`: only that it answers."""
    ignore_files: list[str] = []
    """Paths (shell patterns) that may differ from the fresh container."""
    ignore_processes: list[str] = []
    """Command lines (shell patterns) that may run besides those of the fresh container."""

    @model_validator(mode="before")
    @classmethod
    def _off_is_a_word(cls, data: Any) -> Any:
        """Take `off` for what it says, although YAML reads it as false."""
        if isinstance(data, dict) and isinstance(data.get("verify"), bool):
            if data["verify"]:
                raise refusal("verify", data["verify"], _VERIFY_RULE)
            return data | {"verify": "off"}
        return data

    @field_validator("verify", mode="before")
    @classmethod
    def _known_verification(cls, value: object) -> object:
        if value not in ("off", "fast", "full"):
            raise ValueError(_VERIFY_RULE)
        return value

    @field_validator("on_expiry", "on_health_failure")
    @classmethod
    def _fenced(cls, value: ResetLevel) -> ResetLevel:
        if value < ResetLevel.HARD:
            raise ValueError("use hard or recreate: its last user may still be connected")
        return value

    @field_validator("manual")
    @classmethod
    def _done(cls, value: ResetLevel) -> ResetLevel:
        if value is ResetLevel.NONE:
            raise ValueError("use soft, medium, hard or recreate: who asks for a reset gets one")
        return value

    @model_validator(mode="after")
    def _medium_exists(self) -> ResetOptions:
        for name in ("on_allocation", "on_release", "on_failure", "on_error", "manual"):
            if getattr(self, name) is ResetLevel.MEDIUM and not self.recipe.has_medium:
                raise refusal(name, "medium", "recipe.medium_kill or recipe.restart must say first what that does")
        return self
