"""The runtime port in memory, with faults to order."""

from __future__ import annotations

import asyncio
import inspect
import io
import shlex
import tarfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from pool.errors import ContainerGone, EngineError, EngineTimeout, NameTaken, PortTaken, ShellBroken
from pool.ports import (
    LABEL,
    LABEL_DEPLOYMENT,
    Change,
    ContainerSpec,
    EngineContainer,
    EngineEvent,
    EngineState,
    ExecResult,
    OnOutput,
    Process,
    Stats,
)
from pool.testing.containers import MemoryContainer, next_pid
from pool.testing.shell import MemoryShell
from pool.testing.stock import MemoryStock

#: Stands for whatever runs in a container: takes the container and a script, returns what it prints and ends with.
ShellHandler = Callable[[MemoryContainer, str], ExecResult | Awaitable[ExecResult]]

_FIRST_PORT = 32768
_RUNS = (EngineState.RUNNING,)
_EXISTS = (EngineState.RUNNING, EngineState.PAUSED)


def clean_up(container: MemoryContainer, script: str) -> ExecResult:  # noqa: ARG001 - a `ShellHandler`'s signature
    """Take any script for a successful cleaning."""
    container.clean()
    return ExecResult(0, "")


def _archive_of(path: str, files: Mapping[str, bytes]) -> bytes:
    if path not in files:
        raise ContainerGone(f"there is no {path}")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo(path.rsplit("/", 1)[-1])
        member.size = len(files[path])
        tar.addfile(member, io.BytesIO(files[path]))
    return archive.getvalue()


class MemoryRuntime(MemoryStock):
    """An engine without containers: everything works at once, and fails when told to.

    Attributes:
        containers: What exists, by `ref`.
        networks: Names of the networks that exist, and the deployment that each is of.
        images: Names of the images that exist; None for all.
        kept: Images that `commit` made, by name, with their labels.
        calls: The calls so far, as method name and the container, image or deployment it was about.
        closed: Whether `close` was called.

    Args:
        images: The images that exist; all of them by default.
        shell_handler: Runs scripts and commands. By default each succeeds and wipes what `dirty` left.
        shells: The shells that the images have.

    >>> import asyncio
    >>> from pool.config import ContainerOptions
    >>> from pool.ports import ContainerSpec
    >>> async def example() -> str:
    ...     runtime = MemoryRuntime()
    ...     options = ContainerOptions(image="any")
    ...     spec = ContainerSpec("demo", "web", "web-1", "demo-web-1", 1, "s", {3000: 3001}, options)
    ...     container = await runtime.start((await runtime.create(spec)).ref)
    ...     return f"{container.state} on {container.ports[3000]}"
    >>> asyncio.run(example())
    'running on 3001'
    """

    def __init__(
        self,
        *,
        images: Collection[str] | None = None,
        shell_handler: ShellHandler = clean_up,
        shells: Collection[str] = ("/bin/sh",),
    ) -> None:
        super().__init__(images)
        self.closed = False
        self._handler = shell_handler
        self._shells = frozenset(shells)
        self._events: list[EngineEvent] = []
        self._news = asyncio.Event()

    # What tests order

    def fail_next(self, call: str, error: EngineError) -> None:
        """Let the next call of a method of this name raise an error; a second order is for the call after that.

        Args:
            call: Name of a method of the port. `events` breaks a stream that is open, too.
            error: What to raise.
        """
        self._faults[call].append(error)
        self._announce()

    def crash(self, ref: str, *, exit_code: int = 137, oom: bool = False) -> None:
        """Let a container's first process end by itself."""
        container = self._get(ref)
        container.end(exit_code, oom=oom)
        for action in ("oom", "die") if oom else ("die",):
            self._emit(container, action)

    def dirty(self, ref: str, *, process: str | None = None, file: str | None = None, content: bytes = b"") -> None:
        """Leave something behind in a container, as a tenant would.

        Args:
            ref: Which container.
            process: Command line of a process that stays.
            file: Path of a file that stays.
            content: What is in the file.
        """
        container = self._get(ref)
        if process is not None:
            container.stray.append(Process(next_pid(), process))
        if file is not None:
            container.files[file] = content

    # The port

    async def check(self) -> str:
        """Return a name and version."""
        self._call("check")
        return "in-memory engine"

    async def close(self) -> None:
        """Note that it was closed. Containers stay as they are."""
        self.closed = True

    async def list(self, deployment: str) -> Sequence[EngineContainer]:
        """Return the deployment's containers, running or not."""
        self._call("list", deployment)
        return [each.view() for each in self.containers.values() if each.spec.deployment == deployment]

    async def create(self, spec: ContainerSpec) -> EngineContainer:
        """Create a container, stopped.

        Raises:
            ImageMissing: The image is not among the images.
            NameTaken: A container with this name exists.
            ContainerGone: The one that it is to join does not exist.
        """
        self._call("create", spec.name)
        self._need_image(spec.options.image)
        if spec.joins:
            self._get(spec.joins)
        if any(each.spec.name == spec.name for each in self.containers.values()):
            raise NameTaken(f"the name {spec.name} is taken", hint="use another `name` pattern")
        if not spec.options.network:
            self.networks[f"{LABEL}-{spec.deployment}"] = spec.deployment
        container = MemoryContainer(spec)
        self.containers[container.ref] = container
        self._emit(container, "create")
        return container.view()

    async def start(self, ref: str) -> EngineContainer:
        """Start a container; it is healthy at once.

        Raises:
            PortTaken: A published port is in use.
            ContainerGone: It does not exist.
        """
        self._call("start", ref)
        container = self._get(ref)
        if not container.running:
            self._begin(container)
        return container.view()

    async def stop(self, ref: str, *, grace_s: float) -> None:  # noqa: ARG002 - nothing here takes time
        """Stop a container."""
        self._call("stop", ref)
        self._stop(self._get(ref))

    async def restart(self, ref: str, *, grace_s: float) -> EngineContainer:  # noqa: ARG002 - nothing here takes time
        """Stop and start a container and return it as it runs.

        Raises:
            ContainerGone: It does not exist.
        """
        self._call("restart", ref)
        container = self._get(ref)
        self._stop(container)
        self._begin(container)
        self._emit(container, "restart")
        return container.view()

    async def kill(self, ref: str, *, signal: str = "SIGKILL") -> None:
        """Send a signal to a container; SIGKILL and SIGTERM end it, others do nothing."""
        self._call("kill", ref)
        container = self._get(ref, *_EXISTS)
        self._emit(container, "kill")
        if signal in ("SIGKILL", "SIGTERM"):
            self.crash(ref, exit_code=137 if signal == "SIGKILL" else 143)

    async def pause(self, ref: str) -> None:
        """Freeze a container."""
        self._call("pause", ref)
        container = self._get(ref, *_RUNS)
        container.state = EngineState.PAUSED
        container.thawed.clear()
        self._emit(container, "pause")

    async def unpause(self, ref: str) -> None:
        """Thaw a container."""
        self._call("unpause", ref)
        container = self._get(ref, EngineState.PAUSED)
        container.state = EngineState.RUNNING
        container.thawed.set()
        self._emit(container, "unpause")

    async def remove(self, ref: str) -> None:
        """Remove a container, running or not. One that is gone already is fine."""
        self._call("remove", ref)
        container = self.containers.get(ref)
        if container is None:
            return
        if container.running:
            self.crash(ref)
        del self.containers[ref]
        self._emit(container, "destroy")

    async def inspect(self, ref: str) -> EngineContainer:
        """Return a container as it is now.

        Raises:
            ContainerGone: It does not exist.
        """
        self._call("inspect", ref)
        return self._get(ref).view()

    async def stats(self, ref: str) -> Stats:
        """Return a made-up sample: 1 MiB and 1 ms for each process."""
        self._call("stats", ref)
        container = self._get(ref, *_EXISTS)
        pids = len(container.processes)
        return Stats(pids << 20, container.spec.options.memory or 0, pids * 1_000_000, pids)

    async def exec(
        self,
        ref: str,
        argv: Sequence[str],
        *,
        user: str | None = None,
        deadline_s: float | None = None,
        on_output: OnOutput | None = None,
    ) -> ExecResult:
        """Let the handler run a command, quoted as a script.

        Raises:
            EngineTimeout: The handler did not end within the deadline, in seconds.
        """
        del user
        self._call("exec", ref)
        container = self._get(ref, *_RUNS)
        try:
            async with asyncio.timeout(deadline_s):
                result = await self._handle(container, shlex.join(argv))
        except TimeoutError as error:
            raise EngineTimeout(f"{argv[0]} in {container.spec.name} did not end in time") from error
        if on_output is not None:
            on_output(result.output.encode())
        return result

    async def open_shell(self, ref: str, *, shell: str = "/bin/sh", user: str | None = None) -> MemoryShell:
        """Open a fake shell.

        Raises:
            ShellBroken: It is none of the shells that the images have.
        """
        del user
        self._call("open_shell", ref)
        container = self._get(ref, *_RUNS)
        if shell not in self._shells:
            raise ShellBroken(f"{container.spec.name} has no {shell}")
        return MemoryShell(container, shell, self._handle)

    async def processes(self, ref: str) -> Sequence[Process]:
        """Return the first process, what `dirty` left, and open shells."""
        self._call("processes", ref)
        return self._get(ref, *_EXISTS).processes

    async def changes(self, ref: str) -> Sequence[Change]:
        """Return the files that `dirty` left."""
        self._call("changes", ref)
        return self._get(ref).changes

    async def logs(self, ref: str, *, tail: int = 200) -> str:
        """Return the last lines of the container's `logs`."""
        self._call("logs", ref)
        lines = self._get(ref).logs
        return "".join(f"{line}\n" for line in lines[max(0, len(lines) - tail) :])

    async def follow_logs(self, ref: str, *, tail: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the last lines of the container's `logs`."""
        yield (await self.logs(ref, tail=10**9 if tail is None else tail)).encode()

    async def describe(self, ref: str) -> Mapping[str, Any]:
        """Return what there is to say, the values of environment variables hidden."""
        self._call("describe", ref)
        container = self._get(ref)
        names = container.spec.options.environment
        return {"Id": ref, "State": container.state.value, "Config": {"Env": [f"{name}=•••" for name in names]}}

    async def copy_out(self, ref: str, path: str) -> AsyncGenerator[bytes, None]:
        """Yield a file that `dirty` left as a tar archive, or one of the `archives`, in two pieces.

        Raises:
            ContainerGone: There is no such container or file.
        """
        self._call("copy_out", ref)
        container = self._get(ref)
        archive = container.archives.get(path) or _archive_of(path, container.files)
        yield archive[:512]
        yield archive[512:]

    def events(self, deployment: str) -> AsyncGenerator[EngineEvent, None]:
        """Yield events of the deployment's containers from now on, until cancelled.

        Raises:
            EngineUnavailable: `fail_next("events", …)` ordered it.
        """
        self.calls.append(("events", deployment))
        return self._stream(deployment, len(self._events))

    async def _stream(self, deployment: str, at: int) -> AsyncGenerator[EngineEvent, None]:
        while True:
            self._fail("events")
            news = self._news
            while at < len(self._events):
                event, at = self._events[at], at + 1
                if event.labels[LABEL_DEPLOYMENT] == deployment:
                    yield event
            await news.wait()

    # Inside

    def _get(self, ref: str, *states: EngineState) -> MemoryContainer:
        container = self.containers.get(ref)
        if container is None:
            raise ContainerGone(f"there is no container {ref[:12]}")
        if states:
            container.expect(*states)
        return container

    def _begin(self, container: MemoryContainer) -> None:
        taken = {port: each for each in self.containers.values() if each.running for port in each.ports.values()}
        ports: dict[int, int] = {}
        joins = container.spec.joins
        if joins and (joins not in self.containers or not self.containers[joins].running):
            raise EngineError(
                f"container {container.spec.name} cannot join the network of {joins[:12]}: it does not run"
            )
        for inside, outside in {} if joins else container.spec.ports.items():
            if outside in taken:
                raise PortTaken(f"port {outside} is taken by {taken[outside].spec.name}")
            free = (port for port in range(_FIRST_PORT, 65536) if port not in taken and port not in ports.values())
            ports[inside] = outside or next(free)
        container.ports = ports
        container.begin()
        self._emit(container, "start")

    def _stop(self, container: MemoryContainer) -> None:
        if container.running:
            self._emit(container, "kill")
            container.end(143)
            self._emit(container, "die")
            self._emit(container, "stop")

    async def _handle(self, container: MemoryContainer, script: str) -> ExecResult:
        result = self._handler(container, script)
        return await result if inspect.isawaitable(result) else result

    def _emit(self, container: MemoryContainer, action: str) -> None:
        self._events.append(EngineEvent(container.ref, action, time.time(), container.spec.labels))
        self._announce()

    def _announce(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
