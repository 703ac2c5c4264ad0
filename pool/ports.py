"""The runtime port: what the pool asks of an engine that runs containers.

Implementations: `pool.runtimes.DockerRuntime`, and `pool.testing.MemoryRuntime` for tests. One suite of contract
tests holds them to the same behaviour. Every call has a deadline and raises only `EngineError` and its children.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from pool.config import Config, ContainerOptions, Slot

#: Prefix of the labels by which the pool knows its own containers and networks.
LABEL = "containerpool"
LABEL_DEPLOYMENT = f"{LABEL}.deployment"
LABEL_POOL = f"{LABEL}.pool"
LABEL_ID = f"{LABEL}.id"
LABEL_GENERATION = f"{LABEL}.generation"
LABEL_SPEC = f"{LABEL}.spec"


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """Everything needed to create one container.

    Attributes:
        ports: Container port → published port; 0 lets the engine choose.
        spec: Fingerprint of the options; a container with another one no longer belongs as it is.
    """

    deployment: str
    pool: str
    id: str
    name: str
    generation: int
    spec: str
    ports: Mapping[int, int]
    options: ContainerOptions

    @classmethod
    def of(cls, config: Config, slot: Slot, *, generation: int) -> ContainerSpec:
        """Return what a slot's container is to be, in its n-th generation."""
        options = config.pools[slot.pool].container
        described = f"{slot.name} {dict(slot.ports)} {options.model_dump_json()}"
        return cls(
            deployment=config.deployment,
            pool=slot.pool,
            id=slot.id,
            name=slot.name,
            generation=generation,
            spec=hashlib.sha256(described.encode()).hexdigest()[:16],
            ports=slot.ports,
            options=options,
        )

    @property
    def labels(self) -> dict[str, str]:
        """The labels that mark the container as ours, and the user's own."""
        return {
            **self.options.labels,
            LABEL_DEPLOYMENT: self.deployment,
            LABEL_POOL: self.pool,
            LABEL_ID: self.id,
            LABEL_GENERATION: str(self.generation),
            LABEL_SPEC: self.spec,
        }


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
        ports: Container port → published port; empty while the container does not run.
        started_at: The engine's time stamp of the last start, as text; changes with every restart.
    """

    ref: str
    name: str
    state: EngineState
    labels: Mapping[str, str]
    ports: Mapping[int, int] = field(default_factory=dict)
    exit_code: int | None = None
    oom_killed: bool = False
    started_at: str = ""

    @property
    def running(self) -> bool:
        """Whether its processes run."""
        return self.state is EngineState.RUNNING

    @property
    def id(self) -> str:
        """The slot that the container was made for; empty where its labels do not say."""
        return self.labels.get(LABEL_ID, "")

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
    """A path of a container's filesystem that differs from its image. Never shows tmpfs."""

    kind: ChangeKind
    path: str


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
    """

    ref: str
    action: str
    at: float
    labels: Mapping[str, str]


class ShellSession(Protocol):
    """A shell kept open in a container."""

    async def run(self, script: str, *, deadline_s: float) -> ExecResult:
        """Run a script in a subshell and wait for its end.

        Raises:
            ShellBroken: The shell ended, or did not answer within the deadline. The session is unusable then.
        """

    async def close(self) -> None:
        """End the shell. May be called twice."""

    @property
    def pid(self) -> int:
        """Process id of the shell on the engine's host, as `Runtime.processes` shows it."""

    @property
    def alive(self) -> bool:
        """False once the session is known to be broken or closed."""


class Runtime(Protocol):
    """An engine that runs containers. `ref` is always an `EngineContainer.ref`."""

    async def check(self) -> str:
        """Connect and return the engine's name and version.

        Raises:
            EngineUnavailable: Nobody answers.
            EngineTooOld: The engine lacks what the pool needs.
        """

    async def close(self) -> None:
        """Release connections and threads. Containers stay as they are."""

    async def list(self, deployment: str) -> Sequence[EngineContainer]:
        """Return the deployment's containers, running or not, found by label."""

    async def ensure_image(self, image: str) -> None:
        """Make sure the image is on the host; pull it if it is not.

        Raises:
            ImageMissing: It is neither there nor to be had.
        """

    async def ensure_network(self, deployment: str) -> str:
        """Create the deployment's own bridge if it is missing, and return its name."""

    async def remove_network(self, deployment: str) -> None:
        """Remove the deployment's own bridge if it exists and nothing is connected to it."""

    async def create(self, spec: ContainerSpec) -> EngineContainer:
        """Create a container, stopped.

        Raises:
            ImageMissing: The image is not on the host.
            NameTaken: A container with this name exists.
        """

    async def start(self, ref: str) -> EngineContainer:
        """Start a container and return it as it runs.

        Raises:
            PortTaken: A published port is in use.
            ContainerGone: It does not exist.
        """

    async def stop(self, ref: str, *, grace_s: float) -> None:
        """Stop a container: SIGTERM, then SIGKILL after the grace."""

    async def restart(self, ref: str, *, grace_s: float) -> EngineContainer:
        """Stop and start a container and return it as it runs."""

    async def kill(self, ref: str, *, signal: str = "SIGKILL") -> None:
        """Send a signal to the container's first process."""

    async def pause(self, ref: str) -> None:
        """Freeze all processes of a container."""

    async def unpause(self, ref: str) -> None:
        """Thaw all processes of a container."""

    async def remove(self, ref: str) -> None:
        """Remove a container, running or not, with its anonymous volumes. One that is gone already is fine."""

    async def inspect(self, ref: str) -> EngineContainer:
        """Return a container as it is now.

        Raises:
            ContainerGone: It does not exist.
        """

    async def stats(self, ref: str) -> Stats:
        """Return one sample of the resource use of a running container."""

    async def exec(
        self, ref: str, argv: Sequence[str], *, user: str | None = None, deadline_s: float | None = None
    ) -> ExecResult:
        """Run a command in a running container and wait for its end.

        Raises:
            EngineTimeout: It did not end in time; it may still be running.
        """

    async def open_shell(self, ref: str, *, shell: str = "/bin/sh", user: str | None = None) -> ShellSession:
        """Open a shell in a running container and keep it.

        Raises:
            ShellBroken: The image has no such shell.
        """

    async def processes(self, ref: str) -> Sequence[Process]:
        """Return the processes of a running container, seen from outside."""

    async def changes(self, ref: str) -> Sequence[Change]:
        """Return what differs from the image, seen from outside."""

    async def logs(self, ref: str, *, tail: int = 200) -> str:
        """Return the last lines that the container's first process wrote."""

    async def copy_out(self, ref: str, path: str) -> bytes:
        """Return a file or directory of a container as a tar archive.

        Raises:
            ContainerGone: Neither the container nor the path may be there.
        """

    async def commit(self, ref: str, *, tag: str) -> None:
        """Keep a container's filesystem as an image."""

    def events(self, deployment: str) -> AsyncGenerator[EngineEvent, None]:
        """Yield events of the deployment's containers from now on, until cancelled.

        Raises:
            EngineUnavailable: The stream broke; what happened meanwhile has to be found by listing.
        """
