"""What can go wrong with a container, and what is then done: one table, which the manager acts by and the docs show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from pool.observed import Condition


class Fault(StrEnum):
    """What went wrong. Events of a container that leaves rotation name it as `fault`."""

    CRASH = "crash"
    OUT_OF_MEMORY = "out_of_memory"
    HANG = "hang"
    PAUSED = "paused"
    LEAK = "leak"
    DISK_FULL = "disk_full"
    HOST_LOST = "host_lost"
    IMAGE_GONE = "image_gone"


class Action(StrEnum):
    """What the watch does about a fault; the resets that follow are the crew's."""

    RECOVER = "out of rotation at once; hard reset, verified"
    RESET = "hard reset, one container at a time"
    THAW = "thawed at once; the lease goes on"
    TELL = "an event; the lease goes on"
    QUARANTINE = "quarantined, and never started elsewhere; back by a hard reset once its engine answers"
    NONE = "nothing"


@dataclass(frozen=True, slots=True)
class Strategy:
    """What is done about one fault.

    Attributes:
        detect: How it is noticed.
        idle: What is done with a container that is not leased.
        leased: What is done with a leased one. `RECOVER` ends the lease, and its holder is told.
        condition: The event that tells of it where the container stays in rotation.
        also: What else follows from it.
        tries: How often.
        delay: How long between two tries.
        escalate: What comes when the tries are used up.
    """

    detect: str
    idle: Action
    leased: Action
    condition: Condition | None = None
    also: str = ""
    tries: str = "`reset.quarantine_after` resets, each through its levels"
    delay: str = "1 s after the first that failed, then twice as long each time, 10 s at most"
    escalate: str = "quarantined with the reason"


STRATEGIES: Mapping[Fault, Strategy] = MappingProxyType(
    {
        Fault.CRASH: Strategy(
            detect="the engine's events `die`, `stop`, `destroy`; where they were missed, the list of containers",
            idle=Action.RECOVER,
            leased=Action.RECOVER,
        ),
        Fault.OUT_OF_MEMORY: Strategy(
            detect="the engine's event `oom`; the container itself may go on",
            idle=Action.RECOVER,
            leased=Action.TELL,
            condition=Condition.OUT_OF_MEMORY,
            also="what is missing in a container that was leased is found when its next reset is verified",
        ),
        Fault.HANG: Strategy(
            detect="`health.failures` probes fail in a row, or the image's own health check does",
            idle=Action.RECOVER,
            leased=Action.TELL,
            condition=Condition.UNRESPONSIVE,
            also="a busy server may be silent for a while, so a lease outlives it",
        ),
        Fault.PAUSED: Strategy(
            detect="the engine's event `pause`",
            idle=Action.RECOVER,
            leased=Action.THAW,
            condition=Condition.PAUSED,
        ),
        Fault.LEAK: Strategy(
            detect="memory above `thresholds.reset_above_percent`, or full within `thresholds.forecast_horizon_s`",
            idle=Action.RESET,
            leased=Action.TELL,
            condition=Condition.MEMORY_FILLING,
            also="once until the memory has come down",
        ),
        Fault.DISK_FULL: Strategy(
            detect="nothing can be written: a command of the reset's recipe fails, or files are left after it",
            idle=Action.NONE,
            leased=Action.NONE,
            also="the soft reset after the lease wipes; what it cannot wipe, a hard one does: it makes tmpfs anew",
        ),
        Fault.HOST_LOST: Strategy(
            detect="the engine does not answer, and the probes fail `health.failures` times in a row",
            idle=Action.QUARANTINE,
            leased=Action.TELL,
            condition=Condition.HOST_LOST,
            also="a container that answers although its engine does not stays as it is",
            tries="no limit: its engine is asked at each check",
            delay="`health.interval_s`",
            escalate="stays quarantined with the reason",
        ),
        Fault.IMAGE_GONE: Strategy(
            detect="a recreation looks for the image first; it is neither on the host nor to be pulled",
            idle=Action.NONE,
            leased=Action.NONE,
            also="running containers need no image and go on; the one to be recreated is left as it is",
        ),
    }
)


def strategies_table() -> str:
    """Return the table as Markdown, for docs/recovery.md."""
    columns = ("fault", "noticed by", "idle", "leased", "besides", "tries", "delay", "then")
    rows = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for fault, strategy in STRATEGIES.items():
        leased = f"{strategy.leased}: `container.{strategy.condition}`" if strategy.condition else strategy.leased
        follows = (strategy.also, strategy.tries, strategy.delay, strategy.escalate)
        rows.append(f"| `{fault}` | " + " | ".join((strategy.detect, strategy.idle, leased, *follows)) + " |")
    return "\n".join(rows)
