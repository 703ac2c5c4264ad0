"""What an operator wants to know of an engine: how it is set up, what it has, what its containers write."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pool.errors import EngineUnavailable
from pool.ports import LABEL_DEPLOYMENT
from pool.runtimes.docker import tasks
from pool.runtimes.docker.stock import Stock
from pool.runtimes.docker.streams import Stream

#: Output comes in frames: a kind, three zeros, the length in four bytes.
_HEAD_BYTES = 8


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """How an engine is set up.

    Attributes:
        cgroup_version: 1 or 2.
        root: Where it keeps containers and images, on its own host.
        ahead_s: How far its clock is ahead of ours, in seconds, by what its answer took at the most.
        warnings: What it says is missing, such as limits that the kernel does not support.
        local: Whether it runs on this host, as far as its address tells.
    """

    version: str
    storage_driver: str
    cgroup_driver: str
    cgroup_version: str
    root: Path
    ahead_s: float
    warnings: tuple[str, ...]
    local: bool


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A port of the engine's host that a container has.

    Attributes:
        deployment: Whose container it is; empty for one that is not ours.
    """

    address: str
    port: int
    container: str
    deployment: str


class Survey(Stock):
    """The part of the runtime that only looks."""

    async def facts(self) -> EngineFacts:
        """Ask the engine how it is set up.

        Raises:
            EngineError: It does not answer.
        """
        asked = time.time()
        raw = await self._link.call("asking how it is set up", lambda client: client.info())
        answered = time.time()
        return EngineFacts(
            version=str(raw.get("ServerVersion", "")),
            storage_driver=str(raw.get("Driver", "")),
            cgroup_driver=str(raw.get("CgroupDriver", "")),
            cgroup_version=str(raw.get("CgroupVersion", "1")),
            root=Path(raw.get("DockerRootDir") or "/"),
            ahead_s=_outside(_seconds(str(raw.get("SystemTime", "")), answered), asked, answered),
            warnings=tuple(str(warning) for warning in raw.get("Warnings") or ()),
            local=self._link.url.startswith("unix://"),
        )

    async def has_image(self, image: str) -> bool:
        """Whether an image is on the engine's host.

        Raises:
            EngineError: The engine does not answer.
        """
        return await self._link.call(f"looking for image {image}", lambda client: tasks.has_image(client, image))

    async def published_ports(self) -> list[PublishedPort]:
        """Return the ports that running containers have, ours or not.

        Raises:
            EngineError: The engine does not answer.
        """
        found = await self._link.call("listing running containers", lambda client: client.containers())
        return [
            PublishedPort(
                address=str(port.get("IP", "")),
                port=int(port["PublicPort"]),
                container=str(container["Names"][0]).removeprefix("/"),
                deployment=str((container.get("Labels") or {}).get(LABEL_DEPLOYMENT, "")),
            )
            for container in found
            for port in container.get("Ports") or ()
            if port.get("PublicPort")
        ]

    async def follow_logs(
        self, ref: str, *, tail: int | None = None, since_s: float = 0
    ) -> AsyncGenerator[bytes, None]:
        """Yield what the container's first process wrote and writes, until the container ends.

        Args:
            ref: The container.
            tail: The last so many lines first; all of them when None.
            since_s: Not what it wrote before, in seconds since the epoch.

        Raises:
            ContainerGone: It does not exist.
            EngineUnavailable: The stream broke.
        """
        query = {"follow": "1", "stdout": "1", "stderr": "1", "tail": "all" if tail is None else str(tail)}
        if since_s:
            query["since"] = f"{since_s:.9f}"
        stream = await self._link.stream(f"following logs of {ref[:12]}", "GET", f"/containers/{ref}/logs", query=query)
        try:
            async with aclosing(_frames(stream)) as frames:
                async for frame in frames:
                    yield frame
        except (OSError, EOFError, ValueError) as error:
            raise EngineUnavailable(f"the log stream of {self._link.url} broke") from error
        finally:
            await stream.close()


async def _frames(stream: Stream) -> AsyncGenerator[bytes, None]:
    """Yield the frames of an answer whose chunks may end in their middle."""
    pending = b""
    async with aclosing(stream.chunks()) as chunks:
        async for chunk in chunks:
            pending += chunk
            while len(pending) >= _HEAD_BYTES:
                end = _HEAD_BYTES + int.from_bytes(pending[4:_HEAD_BYTES], "big")
                if len(pending) < end:
                    break
                yield pending[_HEAD_BYTES:end]
                pending = pending[end:]


def _seconds(stamp: str, otherwise: float) -> float:
    """Read an engine's time stamp, which has nanoseconds."""
    whole, _, rest = stamp.partition(".")
    zone = rest.lstrip("0123456789")
    digits = rest[: len(rest) - len(zone)]
    try:
        return datetime.fromisoformat(f"{whole}{zone}").timestamp() + float(f"0.{digits or 0}")
    except ValueError:
        return otherwise  # it does not say, so nothing is known against it


def _outside(moment: float, first: float, last: float) -> float:
    """Return how far a moment is outside of a span of time; below 0 if before it."""
    return moment - last if moment > last else min(moment - first, 0.0)
