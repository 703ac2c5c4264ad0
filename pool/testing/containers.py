"""A container as an object: what it is, what runs in it, what was left in it."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pool.errors import EngineError
from pool.ports import Change, ChangeKind, ContainerSpec, EngineContainer, EngineState, Process

_pids = itertools.count(1000)
_starts = itertools.count()


def next_pid() -> int:
    """Return a process id that no other fake process has."""
    return next(_pids)


@dataclass(eq=False)
class MemoryContainer:
    """One fake container. Tests may look at everything, and change `logs`, `files` and the dirt.

    Attributes:
        ref: The engine's id.
        ports: Container port → published port; kept from the first start on.
        stray: Processes that a tenant left behind.
        files: Path → content of what differs from the image.
        archives: Path → what is copied out of there: the archive of a tenant who means harm.
        shells: The shells that are open in it, as processes.
        ended: Set when its processes have ended; replaced at each start.
    """

    spec: ContainerSpec
    ref: str = field(default_factory=lambda: secrets.token_hex(32))
    state: EngineState = EngineState.CREATED
    ports: dict[int, int] = field(default_factory=dict)
    main: Process | None = None
    stray: list[Process] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    archives: dict[str, bytes] = field(default_factory=dict)
    shells: list[Process] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    exit_code: int | None = None
    oom_killed: bool = False
    started_at: str = ""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    thawed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def running(self) -> bool:
        """Whether its processes exist, frozen or not."""
        return self.state in (EngineState.RUNNING, EngineState.PAUSED)

    @property
    def processes(self) -> list[Process]:
        """Everything that runs in it."""
        return [process for process in (self.main, *self.stray, *self.shells) if process]

    @property
    def changes(self) -> list[Change]:
        """What differs from the image."""
        return [Change(ChangeKind.ADDED, path) for path in sorted(self.files)]

    def view(self) -> EngineContainer:
        """Return it as the runtime port shows it."""
        return EngineContainer(
            ref=self.ref,
            name=self.spec.name,
            state=self.state,
            labels=self.spec.labels,
            ports=dict(self.ports) if self.running else {},
            exit_code=self.exit_code,
            oom_killed=self.oom_killed,
            started_at=self.started_at,
            joins=self.spec.joins,
            address="127.0.0.1" if self.running and not self.spec.joins else "",
        )

    def begin(self) -> None:
        """Let its first process run."""
        options = self.spec.options
        command = " ".join([*(options.entrypoint or ()), *(options.command or ())]) or options.image
        self.state, self.exit_code, self.oom_killed = EngineState.RUNNING, None, False
        self.main = Process(next_pid(), command)
        # Two starts may fall into one tick of the clock, and yet have to differ.
        self.started_at = f"{datetime.now(UTC).isoformat()}#{next(_starts)}"
        self.logs.append(f"started {command}")
        self.ended = asyncio.Event()
        self.thawed = asyncio.Event()
        self.thawed.set()

    def end(self, exit_code: int, *, oom: bool = False) -> None:
        """Let all its processes end; files stay."""
        self.state, self.exit_code, self.oom_killed = EngineState.EXITED, exit_code, oom
        self.main = None
        self.stray.clear()
        self.shells.clear()
        self.thawed.set()
        self.ended.set()

    def clean(self) -> None:
        """Wipe what tenants left behind."""
        self.stray.clear()
        self.files.clear()

    def expect(self, *states: EngineState) -> None:
        """Refuse what a container in another state cannot do.

        Raises:
            EngineError: It is in none of the states.
        """
        if self.state not in states:
            raise EngineError(f"container {self.spec.name} is {self.state}, not {' or '.join(states)}")
