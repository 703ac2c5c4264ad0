"""The processes of the demo: known by handle, and ended before the demo is."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pool.demo.plan import Run
from pool.errors import PoolError

#: Longer than a manager may take to let holders and resets finish.
_STOP_S = 45.0


class Child:
    """A Python module as a process of ours; what it writes to stderr is in a file."""

    def __init__(self, process: Process, log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def stop(self) -> None:
        """Ask it to end, and wait until it has; kill it if it does not."""
        if self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), _STOP_S)
            except TimeoutError:
                await self.kill()

    async def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def wait(self) -> None:
        """Wait until it ends.

        Raises:
            PoolError: It failed; the hint holds the last lines that it wrote.
        """
        if code := await self._process.wait():
            raise PoolError(f"the demo's {self._log.stem} ended with status {code}", hint=self.last_lines())

    def last_lines(self, count: int = 12) -> str:
        """Return the end of what it wrote to stderr."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-count:])

    async def send(self, runs: Sequence[Run]) -> None:
        """Give a runner its runs."""
        assert self._process.stdin is not None  # noqa: S101 - every child has pipes
        self._process.stdin.write(json.dumps([asdict(run) for run in runs]).encode() + b"\n")
        await self._process.stdin.drain()

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """Yield what a runner tells, until it ends."""
        assert self._process.stdout is not None  # noqa: S101 - every child has pipes
        async for line in self._process.stdout:
            yield json.loads(line)


@asynccontextmanager
async def child(module: str, *arguments: str, log: Path) -> AsyncIterator[Child]:
    """Run `python -m module arguments…`; the process has ended when the block has."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("POOL_")}
    with log.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *arguments, stdin=PIPE, stdout=PIPE, stderr=stderr, env=environment,
            start_new_session=True,  # a Ctrl-C is for us; we end them, in order
        )  # fmt: skip
    running = Child(process, log)
    try:
        yield running
    finally:
        await running.stop()
