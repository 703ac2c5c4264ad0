"""The runtime port: what the pool asks of an engine that runs containers.

Implementations: `pool.runtimes.DockerRuntime`, and `pool.testing.MemoryRuntime` for tests. One suite of contract
tests holds them to the same behaviour. Every call has a deadline and raises only `EngineError` and its children.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Protocol

from pool.engine import (
    Change,
    ChangeKind,
    EngineContainer,
    EngineEvent,
    EngineImage,
    EngineNetwork,
    EngineState,
    ExecResult,
    Process,
    Stats,
    newest,
)
from pool.specs import (
    LABEL,
    LABEL_DEPLOYMENT,
    LABEL_EVIDENCE,
    LABEL_GENERATION,
    LABEL_HOLDS,
    LABEL_ID,
    LABEL_POOL,
    LABEL_SPEC,
    ContainerSpec,
)

__all__ = [
    "LABEL",
    "LABEL_DEPLOYMENT",
    "LABEL_EVIDENCE",
    "LABEL_GENERATION",
    "LABEL_HOLDS",
    "LABEL_ID",
    "LABEL_POOL",
    "LABEL_SPEC",
    "Change",
    "ChangeKind",
    "ContainerSpec",
    "EngineContainer",
    "EngineEvent",
    "EngineImage",
    "EngineNetwork",
    "EngineState",
    "ExecResult",
    "OnOutput",
    "Process",
    "Runtime",
    "ShellSession",
    "Stats",
    "newest",
]


#: Takes output as it comes, in pieces. They may hold more than what was run printed, such as what marks its end.
OnOutput = Callable[[bytes], None]


class ShellSession(Protocol):
    """A shell kept open in a container."""

    async def run(
        self, script: str, *, before: str = "", deadline_s: float, on_output: OnOutput | None = None
    ) -> ExecResult:
        """Run a script in a subshell and wait for its end.

        Args:
            script: What to run.
            before: What the shell does before, by itself: that needs no process where no more may be.
            deadline_s: Seconds it may take.
            on_output: Gets all output as it comes; the result has only so much of it.

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
            ContainerGone: The one that it is to join does not exist.
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
        self,
        ref: str,
        argv: Sequence[str],
        *,
        user: str | None = None,
        deadline_s: float | None = None,
        on_output: OnOutput | None = None,
    ) -> ExecResult:
        """Run a command in a running container and wait for its end; `on_output` is as for a shell.

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

    def follow_logs(self, ref: str, *, tail: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield what it wrote, the last so many lines or all, and what it writes, until the container ends."""

    async def describe(self, ref: str) -> Mapping[str, Any]:
        """Return all that the engine knows of a container, as JSON types, the values of environment variables hidden.

        Raises:
            ContainerGone: It does not exist.
        """

    def copy_out(self, ref: str, path: str) -> AsyncGenerator[bytes, None]:
        """Yield a file or directory of a container as a tar archive, piece by piece.

        Its author is whoever used the container: it may hold anything.

        Raises:
            ContainerGone: The container or the path is not there.
            EngineError: It could not be packed, or not to the end.
        """

    async def commit(self, ref: str, *, tag: str, labels: Mapping[str, str] | None = None) -> None:
        """Keep a container's filesystem as an image, with other labels than those that make a container ours."""

    async def list_networks(self, deployment: str) -> Sequence[EngineNetwork]:
        """Return the networks that carry the deployment's label."""

    async def discard_network(self, ref: str) -> bool:
        """Remove a network with our label; returns False, and keeps it, if something is connected to it."""

    async def list_images(self) -> Sequence[EngineImage]:
        """Return the images that carry a label of ours, of any deployment."""

    async def discard_image(self, ref: str) -> bool:
        """Remove an image with a label of ours, by id or name; returns False, and keeps it, if something uses it."""

    def events(self, deployment: str) -> AsyncGenerator[EngineEvent, None]:
        """Yield events of the deployment's containers from now on, until cancelled.

        Raises:
            EngineUnavailable: The stream broke; what happened meanwhile has to be found by listing.
        """
