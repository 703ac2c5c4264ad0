"""The runtime port on a Docker engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from docker import APIClient

from pool.config import DockerOptions
from pool.errors import ContainerGone, EngineError, NameTaken, ShellBroken
from pool.ports import (
    LABEL_DEPLOYMENT,
    LABEL_HOLDS,
    LABEL_ID,
    Change,
    ContainerSpec,
    EngineContainer,
    EngineEvent,
    ExecResult,
    OnOutput,
    Process,
    Stats,
)
from pool.runtimes.docker import cgroups, tasks
from pool.runtimes.docker.link import EngineLink
from pool.runtimes.docker.local import LocalHost
from pool.runtimes.docker.payloads import (
    ACTIONS,
    container_config,
    hide_environment,
    in_tmpfs,
    read_container,
    read_event,
    read_stats,
    whole_seconds,
)
from pool.runtimes.docker.shell import OUTPUT_LIMIT_BYTES, DockerShell, decode
from pool.runtimes.docker.streams import Stream
from pool.runtimes.docker.survey import Survey


class DockerRuntime(Survey):
    """Containers on one Docker engine.

    It connects at the first call. Containers without our label are never changed: every call that would do so checks.

    Args:
        options: Where the engine is, and how long one call to it may take.
    """

    def __init__(self, options: DockerOptions | None = None) -> None:
        super().__init__(EngineLink(options or DockerOptions()))
        self._host = LocalHost()
        self._ours: set[str] = set()

    async def check(self) -> str:
        """Connect and return the engine's name and version.

        Raises:
            EngineUnavailable: Nobody answers.
            EngineTooOld: The engine lacks what the pool needs.
        """
        return await self._link.check()

    async def close(self) -> None:
        """Release connections and threads. Containers stay as they are."""
        await self._link.close()

    # The life of a container

    async def create(self, spec: ContainerSpec) -> EngineContainer:
        """Create a container, stopped.

        Raises:
            ImageMissing: The image is not on the host.
            NameTaken: A container with this name exists.
            ContainerGone: The one that it is to join does not exist.
        """
        joined = await self._inspect(spec.joins) if spec.joins else None
        network = "" if joined else spec.options.network or await self.ensure_network(spec.deployment)
        config = container_config(spec, network, joined)
        raw = await self._link.call(
            f"creating container {spec.name}", lambda client: tasks.create(client, spec.name, config)
        )
        if raw is None:
            raise await self._name_taken(spec.name)
        return self._known(raw)

    async def start(self, ref: str) -> EngineContainer:
        """Start a container and return it as it runs.

        Raises:
            PortTaken: A published port is in use. The container stays as it was created.
            ContainerGone: It does not exist.
        """
        return await self._change(f"starting container {_short(ref)}", ref, lambda client: client.start(ref))

    async def stop(self, ref: str, *, grace_s: float) -> None:
        """Stop a container: SIGTERM, then SIGKILL after the grace, in seconds."""
        seconds = whole_seconds(grace_s)
        doing = f"stopping container {_short(ref)}"
        await self._change(doing, ref, lambda client: client.stop(ref, timeout=seconds), extra_s=seconds)

    async def restart(self, ref: str, *, grace_s: float) -> EngineContainer:
        """Stop and start a container, with a grace in seconds, and return it as it runs.

        Raises:
            PortTaken: A published port was taken meanwhile.
            ContainerGone: It does not exist.
        """
        seconds = whole_seconds(grace_s)
        doing = f"restarting container {_short(ref)}"
        return await self._change(doing, ref, lambda client: client.restart(ref, timeout=seconds), extra_s=seconds)

    async def kill(self, ref: str, *, signal: str = "SIGKILL") -> None:
        """Send a signal to the container's first process."""
        await self._change(f"killing container {_short(ref)}", ref, lambda client: client.kill(ref, signal))

    async def pause(self, ref: str) -> None:
        """Freeze all processes of a container."""
        await self._change(f"pausing container {_short(ref)}", ref, lambda client: client.pause(ref))

    async def unpause(self, ref: str) -> None:
        """Thaw all processes of a container."""
        await self._change(f"unpausing container {_short(ref)}", ref, lambda client: client.unpause(ref))

    async def remove(self, ref: str) -> None:
        """Remove a container, running or not, with its anonymous volumes. One that is gone already is fine."""
        try:
            await self._guard(ref)
            await self._link.call(f"removing container {_short(ref)}", lambda client: tasks.remove(client, ref))
        except ContainerGone:
            pass  # that is what was wanted
        self._ours.discard(ref)
        self._host.forget(ref)

    # What a container is and does

    async def list(self, deployment: str) -> Sequence[EngineContainer]:
        """Return the deployment's containers, running or not, found by label."""
        filters = {"label": [f"{LABEL_DEPLOYMENT}={deployment}"]}
        found = await self._link.call(
            f"listing containers of {deployment}", lambda client: client.containers(all=True, filters=filters)
        )
        looked_at = await asyncio.gather(*(self._look(entry["Id"]) for entry in found))
        return [container for container in looked_at if container is not None]

    async def inspect(self, ref: str) -> EngineContainer:
        """Return a container as it is now.

        Raises:
            ContainerGone: It does not exist.
        """
        return self._known(await self._inspect(ref))

    async def stats(self, ref: str) -> Stats:
        """Return one sample of the resource use of a running container."""
        raw = await self._inspect(ref)
        if not raw["State"]["Running"]:
            raise EngineError(f"container {_short(ref)} does not run, so it uses nothing")
        if seen := cgroups.sample(raw):
            return seen
        answer = await self._link.call(
            f"sampling container {_short(ref)}", lambda client: client.stats(ref, stream=False, one_shot=True)
        )
        return read_stats(answer, memory_limit=raw["HostConfig"]["Memory"])

    async def processes(self, ref: str) -> Sequence[Process]:
        """Return the processes of a running container, seen from outside."""
        return await self._link.call(
            f"listing processes of {_short(ref)}", lambda client: tasks.processes(client, ref, self._host)
        )

    async def changes(self, ref: str) -> Sequence[Change]:
        """Return what differs from the image, seen from outside."""
        return await self._link.call(
            f"comparing files of {_short(ref)}", lambda client: tasks.changes(client, ref, self._host)
        )

    async def logs(self, ref: str, *, tail: int = 200) -> str:
        """Return the last lines that the container's first process wrote."""
        output = await self._link.call(
            f"reading logs of {_short(ref)}", lambda client: client.logs(ref, stream=False, tail=tail)
        )
        return output.decode(errors="replace")

    async def describe(self, ref: str) -> Mapping[str, Any]:
        """Return the engine's whole inspection, the values of environment variables hidden.

        Raises:
            ContainerGone: It does not exist.
        """
        return hide_environment(await self._inspect(ref))

    async def copy_out(self, ref: str, path: str) -> AsyncGenerator[bytes, None]:
        """Yield a file or directory of a container as a tar archive, piece by piece.

        Raises:
            ContainerGone: The container or the path is not there.
            EngineError: It could not be packed, or not to the end.
        """
        doing = f"copying {path} out of {_short(ref)}"
        raw = await self._inspect(ref)
        source = self._pack(doing, ref, path) if in_tmpfs(raw, path) else self._archive(doing, ref, path)
        async with aclosing(source) as pieces:
            async for piece in pieces:
                yield piece

    async def _archive(self, doing: str, ref: str, path: str) -> AsyncGenerator[bytes, None]:
        stream = await self._link.stream(doing, "GET", f"/containers/{ref}/archive", query={"path": path})
        try:
            async with aclosing(self._link.pieces(doing, stream.chunks())) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            await stream.close()

    async def _pack(self, doing: str, ref: str, path: str) -> AsyncGenerator[bytes, None]:
        """Let the container's own `tar` pack what the engine's archives never have: what lies in tmpfs."""
        parent, _, name = path.rstrip("/").rpartition("/")
        argv = ["tar", "-C", parent or "/", "-cf", "-", f"./{name}"]
        exec_id, stream = await self._exec(doing, ref, argv, user=None, stdin=False, stderr=False)
        try:
            async with aclosing(self._link.pieces(doing, stream.frames())) as frames:
                async for frame in frames:
                    yield frame
        finally:
            await stream.close()
        async with self._link.deadline(doing):
            code = await self._exec_fact(doing, exec_id, "ExitCode", unknown=None)
        if code:
            raise EngineError(f"{doing}: tar in the container ended with code {code}")

    async def commit(self, ref: str, *, tag: str, labels: Mapping[str, str] | None = None) -> None:
        """Keep a container's filesystem as an image, with other labels than those that make a container ours."""
        await self._link.call(
            f"committing container {_short(ref)}", lambda client: tasks.commit(client, ref, tag, labels or {})
        )

    def events(self, deployment: str) -> AsyncGenerator[EngineEvent, None]:
        """Yield events of the deployment's containers from now on, until cancelled.

        Raises:
            EngineUnavailable: The stream broke; what happened meanwhile has to be found by listing.
        """
        return self._events(deployment, time.time())

    async def _events(self, deployment: str, since: float) -> AsyncGenerator[EngineEvent, None]:
        filters = {
            "type": ["container"],
            "label": [f"{LABEL_DEPLOYMENT}={deployment}"],
            "event": list(ACTIONS),
        }
        async with aclosing(self._link.events(since=since, filters=filters)) as stream:
            async for raw in stream:
                yield read_event(raw)

    # Running something inside

    async def exec(
        self,
        ref: str,
        argv: Sequence[str],
        *,
        user: str | None = None,
        deadline_s: float | None = None,
        on_output: OnOutput | None = None,
    ) -> ExecResult:
        """Run a command in a running container and wait for its end, and for all that holds its output open.

        Raises:
            EngineTimeout: It did not end in time; it may still be running.
        """
        doing = f"running {argv[0]} in {_short(ref)}"
        async with self._link.deadline(doing, deadline_s):
            exec_id, stream = await self._exec(doing, ref, argv, user=user, stdin=False)
            output = bytearray()
            try:
                while piece := await stream.frame():
                    if on_output is not None:
                        on_output(piece)
                    output += piece[: OUTPUT_LIMIT_BYTES - len(output)]
            finally:
                await stream.close()
            # The output ends a moment before the engine has noted the exit code.
            code = await self._exec_fact(doing, exec_id, "ExitCode", unknown=None)
        return ExecResult(code, decode(output))

    async def open_shell(self, ref: str, *, shell: str = "/bin/sh", user: str | None = None) -> DockerShell:
        """Open a shell in a running container and keep it.

        Raises:
            ShellBroken: The image has no such shell.
        """
        doing = f"opening {shell} in {_short(ref)}"
        exec_id, stream = await self._exec(doing, ref, [shell], user=user, stdin=True)
        session = DockerShell(stream, f"the shell {shell} in {_short(ref)}")
        try:
            async with self._link.deadline(doing):
                await session.run(":", deadline_s=self._link.timeout_s)
                session.identify(await self._exec_fact(doing, exec_id, "Pid", unknown=0))
        except ShellBroken as error:
            raise ShellBroken(error.message, hint="does the image have it? see reset.recipe.shell") from error
        except BaseException:
            await session.close()
            raise
        return session

    async def _exec(
        self, doing: str, ref: str, argv: Sequence[str], *, user: str | None, stdin: bool, stderr: bool = True
    ) -> tuple[str, Stream]:
        await self._guard(ref)
        created = await self._link.call(
            doing, lambda client: client.exec_create(ref, list(argv), user=user or "", stdin=stdin, stderr=stderr)
        )
        exec_id: str = created["Id"]
        body = {"Detach": False, "Tty": False}
        return exec_id, await self._link.stream(doing, "POST", f"/exec/{exec_id}/start", body=body, hijack=True)

    async def _exec_fact(self, doing: str, exec_id: str, field: str, *, unknown: int | None) -> int:
        """Return what the engine notes of an exec a moment after it has happened."""
        while True:
            state = await self._link.call(doing, lambda client: client.exec_inspect(exec_id))
            if state[field] != unknown:
                fact: int = state[field]
                return fact
            await asyncio.sleep(0.002)

    # Ours and not ours

    async def _change(
        self, doing: str, ref: str, work: Callable[[APIClient], None], *, extra_s: float = 0.0
    ) -> EngineContainer:
        """Do something to a container of ours and return it as it is then."""
        await self._guard(ref)

        def change(client: APIClient) -> dict[str, Any]:
            work(client)
            raw: dict[str, Any] = client.inspect_container(ref)
            return raw

        return self._known(await self._link.call(doing, change, extra_s=extra_s))

    async def _guard(self, ref: str) -> None:
        """Refuse to touch a container that is not ours."""
        if ref in self._ours:
            return
        container = await self.inspect(ref)
        if container.ref not in self._ours:
            raise EngineError(f"container {container.name} is not the pool's; it was left as it is")

    async def _inspect(self, ref: str) -> dict[str, Any]:
        return await self._link.call(
            f"inspecting container {_short(ref)}", lambda client: client.inspect_container(ref)
        )

    async def _look(self, ref: str) -> EngineContainer | None:
        try:
            return await self.inspect(ref)
        except ContainerGone:
            return None  # it went between the list and the look

    def _known(self, raw: dict[str, Any]) -> EngineContainer:
        container = read_container(raw)
        if container.labels.get(LABEL_DEPLOYMENT):
            self._ours.add(container.ref)
            self._host.note(raw)
        return container

    async def _name_taken(self, name: str) -> NameTaken:
        try:
            labels = (await self.inspect(name)).labels
        except ContainerGone:
            return NameTaken(f"the name {name} was taken a moment ago", hint="try again")
        if deployment := labels.get(LABEL_DEPLOYMENT):
            owner = f"by container {labels.get(LABEL_ID) or labels.get(LABEL_HOLDS)} of deployment {deployment}"
            return NameTaken(
                f"the name {name} is taken {owner}", hint="use another deployment name, or another `name` pattern"
            )
        return NameTaken(
            f"the name {name} is taken by a container that is not the pool's",
            hint=f"use another `name` pattern, or remove it: docker rm -f {name}",
        )


def _short(ref: str) -> str:
    return ref[:12]
