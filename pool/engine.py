"""What an engine says of containers, their processes and files, networks and images, as types."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pool.specs import LABEL_GENERATION, LABEL_HOLDS, LABEL_ID, LABEL_POOL, LABEL_SPEC


class EngineState(StrEnum):
    """What the engine says of a container."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class EngineContainer:
    """A container as the engine sees it.

    Attributes:
        ref: The engine's own id; every other call of the port takes it.
        ports: Container port → published port; empty while the container does not run, and where it joins another.
        address: Where its network reaches it; empty while it does not run, where it has none, where it joins another.
        started_at: The engine's time stamp of the last start, as text; changes with every restart.
        joins: The container whose network it shares; empty for one of its own.
    """

    ref: str
    name: str
    state: EngineState
    labels: Mapping[str, str]
    ports: Mapping[int, int] = field(default_factory=dict)
    exit_code: int | None = None
    oom_killed: bool = False
    started_at: str = ""
    joins: str = ""
    address: str = ""

    @property
    def running(self) -> bool:
        """Whether its processes run."""
        return self.state is EngineState.RUNNING

    @property
    def started_s(self) -> float:
        """The last start in seconds since the epoch by the engine's clock; infinite where it is not told that way.

        >>> EngineContainer("r", "n", EngineState.RUNNING, {}, started_at="2026-11-21T07:00:00.123456789Z").started_s
        1795244400.123456
        """
        try:
            return datetime.fromisoformat(self.started_at).timestamp()
        except ValueError:
            return math.inf

    @property
    def id(self) -> str:
        """The slot that the container was made for; empty where its labels do not say, as those of a holder."""
        return self.labels.get(LABEL_ID, "")

    @property
    def holds(self) -> str:
        """The slot whose network and ports it keeps; empty for all that are no holders."""
        return self.labels.get(LABEL_HOLDS, "")

    @property
    def pool(self) -> str:
        """The pool that the container was made for; empty where its labels do not say."""
        return self.labels.get(LABEL_POOL, "")

    @property
    def spec(self) -> str:
        """Fingerprint of the options that it was made with."""
        return self.labels.get(LABEL_SPEC, "")

    @property
    def generation(self) -> int:
        """Which container of its slot this is, counted from 1; 0 where its labels do not say."""
        text = self.labels.get(LABEL_GENERATION, "")
        return int(text) if text.isdecimal() else 0


def newest(containers: Iterable[EngineContainer], container_id: str) -> EngineContainer | None:
    """Return the container of a slot, its last generation where an attempt that failed half-way left another one."""
    return max((made for made in containers if made.id == container_id), key=lambda made: made.generation, default=None)


@dataclass(frozen=True, slots=True)
class Process:
    """A process in a container, seen from the engine's host."""

    pid: int
    command: str


class ChangeKind(StrEnum):
    """How a path differs from the image."""

    MODIFIED = "modified"
    ADDED = "added"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Change:
    """A path of a container's filesystem that differs from its image. Never shows tmpfs.

    Attributes:
        status: Type, permissions and owner where not the image's; empty where they are, None if that is unknown.
    """

    kind: ChangeKind
    path: str
    status: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What a command in a container ended with. `output` joins stdout and stderr."""

    exit_code: int
    output: str


@dataclass(frozen=True, slots=True)
class Stats:
    """Resource use. `memory_limit_bytes` is 0 where there is no limit; `cpu_ns` is a running total."""

    memory_bytes: int
    memory_limit_bytes: int
    cpu_ns: int
    pids: int


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """Something happened to one of our containers.

    Attributes:
        action: `start`, `die`, `oom`, `kill`, `stop`, `pause`, `unpause`, `destroy`, `health_status: …` and the like.
        at: Seconds since the epoch by the engine's clock.
        exit_code: What the first process ended with, of a `die`.
    """

    ref: str
    action: str
    at: float
    labels: Mapping[str, str]
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class EngineNetwork:
    """A network that carries our label."""

    ref: str
    name: str


@dataclass(frozen=True, slots=True)
class EngineImage:
    """An image that carries a label of ours.

    Attributes:
        tags: Its names; an image without one is dangling.
    """

    ref: str
    tags: tuple[str, ...]
    labels: Mapping[str, str]
