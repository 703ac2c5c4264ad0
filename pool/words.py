"""The words of the domain: priorities, states of containers and requests, levels and reasons of resets, outcomes."""

from __future__ import annotations

from enum import IntEnum, StrEnum

from pool.errors import InvalidRequest


class Priority(IntEnum):
    """How urgent a request is; the smaller number is served first."""

    CRITICAL = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3

    @classmethod
    def parse(cls, value: str | Priority) -> Priority:
        """Read a priority by name.

        Raises:
            InvalidRequest: No priority has this name.

        >>> Priority.parse("critical")
        <Priority.CRITICAL: 0>
        """
        if isinstance(value, Priority):
            return value
        try:
            return cls[value.upper()]
        except (KeyError, AttributeError):
            raise InvalidRequest("priority", value, "use one of critical, high, normal, low") from None

    @property
    def label(self) -> str:
        """The name in lower case, as users write it."""
        return self.name.lower()


class State(StrEnum):
    """Where a container is in its life."""

    STARTING = "starting"
    AVAILABLE = "available"
    ALLOCATED = "allocated"
    PAUSED = "paused"
    SPARE = "spare"
    CLEANING = "cleaning"
    RESETTING = "resetting"
    UNHEALTHY = "unhealthy"
    QUARANTINED = "quarantined"
    STOPPED = "stopped"


class ResetLevel(IntEnum):
    """How thoroughly a container is reset; a higher level includes what the lower ones achieve."""

    NONE = 0
    SOFT = 1
    MEDIUM = 2
    HARD = 3
    RECREATE = 4

    @property
    def label(self) -> str:
        """The name in lower case, as users write it."""
        return self.name.lower()


class ResetReason(StrEnum):
    """Why a container is reset."""

    ON_START = "on_start"
    ON_ALLOCATION = "on_allocation"
    ON_RELEASE = "on_release"
    ON_EXPIRY = "on_expiry"
    ON_HEALTH_FAILURE = "on_health_failure"
    MANUAL = "manual"


class Outcome(StrEnum):
    """How the work under a lease ended."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"

    @classmethod
    def parse(cls, value: str | Outcome) -> Outcome:
        """Read an outcome by name.

        Raises:
            InvalidRequest: No outcome has this name.
        """
        try:
            return cls(value)
        except ValueError:
            raise InvalidRequest("outcome", value, "use one of passed, failed, error") from None


class RequestState(StrEnum):
    """Where a request is in its life."""

    WAITING = "waiting"
    GRANTED = "granted"  # handed over, not yet confirmed by the client
    LEASED = "leased"
    RELEASED = "released"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    OVER_LIMIT = "over_limit"
    UNFIT = "unfit"  # its container was found bad at hand-out, and it wants no other
    LOST = "lost"
