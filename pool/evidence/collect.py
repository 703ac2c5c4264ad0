"""Collecting: everything at the same time, within one deadline, each part for itself."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from pool.config import EvidenceOptions
from pool.errors import EngineError
from pool.evidence.archive import Unpacked, unpack
from pool.evidence.bundle import write_private
from pool.ports import LABEL_DEPLOYMENT, LABEL_EVIDENCE, EngineContainer, EngineState, Runtime

#: A line of log may be long: beyond this, only the end is kept.
_LOG_BYTES = 8 << 20
#: What headers and padding may add to an archive's files.
_OVERHEAD_BYTES = 16 << 20
#: Share of the time after which unpacking ends by itself, since a thread cannot be cancelled.
_UNPACKING = 0.9


@dataclass(slots=True)
class Collected:
    """What collecting came to.

    Attributes:
        image: The image that was made; empty if none was.
        missing: What could not be had, and why.
    """

    image: str = ""
    missing: list[tuple[str, str]] = field(default_factory=list)


class Collector:
    """Takes evidence of containers.

    Args:
        runtime: The engine to ask.
        options: What to keep.
    """

    def __init__(self, runtime: Runtime, options: EvidenceOptions) -> None:
        self._runtime = runtime
        self._options = options

    async def collect(self, container: EngineContainer, folder: Path, *, image: str) -> Collected:
        """Write into a folder what can be had of a container within the deadline. Raises nothing.

        Args:
            container: The container as it was seen last.
            folder: Where to; it exists.
            image: Name of the image to make, if one is wanted.
        """
        collected = Collected()
        until = time.monotonic() + self._options.timeout_s
        parts = self._parts(container, folder, image, collected, until)
        if container.state not in (EngineState.RUNNING, EngineState.PAUSED):
            for what in ("processes", "stats"):
                parts.pop(what).close()
                collected.missing.append((what, f"the container is {container.state}"))
        tasks = {asyncio.create_task(part): what for what, part in parts.items()}
        try:
            done, late = await asyncio.wait(tasks, timeout=self._options.timeout_s)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in late:
            collected.missing.append((tasks[task], f"not had within {self._options.timeout_s:g} s"))
        for task in done:
            if error := task.exception():
                if not isinstance(error, EngineError | OSError):
                    raise error
                collected.missing.append((tasks[task], _why(error)))
        collected.missing.sort()
        return collected

    def _parts(
        self, container: EngineContainer, folder: Path, image: str, collected: Collected, until: float
    ) -> dict[str, Coroutine[Any, Any, None]]:
        ref = container.ref
        parts = {
            "inspect": self._inspect(ref, folder),
            "processes": self._processes(ref, folder),
            "stats": self._stats(ref, folder),
            "changes": self._changes(ref, folder),
        }
        if self._options.log_lines:
            parts["logs"] = self._logs(ref, folder)
        if self._options.artifacts:
            parts["artifacts"] = self._artifacts(ref, folder, collected, until)
        if self._options.image:
            parts["image"] = self._image(container, image, collected)
        return parts

    async def _logs(self, ref: str, folder: Path) -> None:
        text = await self._runtime.logs(ref, tail=self._options.log_lines)
        await _write(folder / "logs.txt", text.encode(errors="replace")[-_LOG_BYTES:])

    async def _inspect(self, ref: str, folder: Path) -> None:
        await _write_json(folder / "inspect.json", await self._runtime.describe(ref))

    async def _processes(self, ref: str, folder: Path) -> None:
        lines = [f"{process.pid:>8}  {process.command}" for process in await self._runtime.processes(ref)]
        await _write_lines(folder / "processes.txt", lines)

    async def _stats(self, ref: str, folder: Path) -> None:
        await _write_json(folder / "stats.json", asdict(await self._runtime.stats(ref)))

    async def _changes(self, ref: str, folder: Path) -> None:
        lines = [f"{change.kind:<8}  {change.path}" for change in await self._runtime.changes(ref)]
        await _write_lines(folder / "changes.txt", lines)

    async def _image(self, container: EngineContainer, image: str, collected: Collected) -> None:
        labels = {LABEL_EVIDENCE: container.labels[LABEL_DEPLOYMENT]}
        await self._runtime.commit(container.ref, tag=image, labels=labels)
        collected.image = image

    async def _artifacts(self, ref: str, folder: Path, collected: Collected, until: float) -> None:
        """Copy the configured paths out, one after the other, since they share the limit."""
        left_bytes = self._options.artifacts_mb << 20
        stop = time.monotonic() + (until - time.monotonic()) * _UNPACKING
        for path in self._options.artifacts:
            try:
                result = await self._artifact(ref, path, folder, left_bytes, stop)
            except (EngineError, OSError) as error:
                collected.missing.append((path, _why(error)))
                continue
            left_bytes -= result.size_bytes
            collected.missing += [(path, note) for note in result.left_out]

    async def _artifact(self, ref: str, path: str, folder: Path, limit_bytes: int, until: float) -> Unpacked:
        spool = folder / ".archive"
        target = folder / "artifacts" / path.strip("/").rpartition("/")[0]
        with spool.open("x+b") as archive:
            try:
                broken = await self._spool(ref, path, archive, limit_bytes + _OVERHEAD_BYTES)
                await asyncio.to_thread(target.mkdir, mode=0o700, parents=True, exist_ok=True)
                archive.seek(0)
                result = await asyncio.to_thread(unpack, archive, target, limit_bytes=limit_bytes, until=until)
            finally:
                spool.unlink()
        if broken and not result.files:
            raise broken
        if broken:
            result.left_out.append(_why(broken))
        return result

    async def _spool(self, ref: str, path: str, archive: IO[bytes], limit_bytes: int) -> EngineError | None:
        """Write an archive to disk up to a limit; returns what cut it short, for what came before is worth keeping."""
        size = 0
        try:
            async with aclosing(self._runtime.copy_out(ref, path)) as pieces:
                async for piece in pieces:
                    await asyncio.to_thread(archive.write, piece[: limit_bytes - size])
                    size += len(piece)
                    if size >= limit_bytes:
                        break
        except EngineError as error:
            return error
        return None


def _why(error: BaseException) -> str:
    if isinstance(error, EngineError):
        return error.message
    return f"it could not be written: {getattr(error, 'strerror', None) or error}"


async def _write(path: Path, content: bytes) -> None:
    await asyncio.to_thread(write_private, path, content)


async def _write_json(path: Path, document: object) -> None:
    await _write(path, json.dumps(document, indent=2).encode() + b"\n")


async def _write_lines(path: Path, lines: list[str]) -> None:
    await _write(path, "".join(f"{line}\n" for line in lines).encode(errors="replace"))
