"""A fake shell session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from pool.errors import ShellBroken
from pool.ports import ExecResult, OnOutput, Process
from pool.testing.containers import MemoryContainer, next_pid


class MemoryShell:
    """A `ShellSession` in a fake container: it breaks when its container ends, and is silent while that is paused."""

    def __init__(
        self, container: MemoryContainer, shell: str, handle: Callable[[MemoryContainer, str], Awaitable[ExecResult]]
    ) -> None:
        self._container = container
        self._process = Process(next_pid(), shell)
        self._handle = handle
        self._ended = container.ended
        self._one_at_a_time = asyncio.Lock()
        self._closed = False
        container.shells.append(self._process)

    async def run(
        self, script: str, *, before: str = "", deadline_s: float, on_output: OnOutput | None = None
    ) -> ExecResult:
        """Let the runtime's handler run a script.

        Raises:
            ShellBroken: The container ended, or the handler did not answer within the deadline, in seconds.
        """
        async with self._one_at_a_time:
            if self._closed:
                raise ShellBroken(f"the shell in {self._container.spec.name} is closed")
            result = None
            try:
                result = await self._race(f"{before}\n{script}" if before else script, deadline_s)
            finally:
                if result is None:
                    await self.close()
            if result is None:
                why = "ended" if self._ended.is_set() else f"did not answer within {deadline_s:g} s"
                raise ShellBroken(f"the shell in {self._container.spec.name} {why}")
            if on_output is not None:
                on_output(result.output.encode())
            return result

    async def _race(self, script: str, deadline_s: float) -> ExecResult | None:
        """Return the answer, or None when the container's end or the deadline comes first."""
        answer = asyncio.ensure_future(self._answer(script))
        death = asyncio.ensure_future(self._ended.wait())
        try:
            done, _ = await asyncio.wait({answer, death}, timeout=deadline_s, return_when=asyncio.FIRST_COMPLETED)
            return answer.result() if answer in done and not self._ended.is_set() else None
        finally:
            answer.cancel()
            death.cancel()
            await asyncio.gather(answer, death, return_exceptions=True)

    async def _answer(self, script: str) -> ExecResult:
        await self._container.thawed.wait()
        return await self._handle(self._container, script)

    async def close(self) -> None:
        """End the shell. May be called twice."""
        self._closed = True
        if self._process in self._container.shells:
            self._container.shells.remove(self._process)

    @property
    def pid(self) -> int:
        """Process id of the shell."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """False once it is broken or closed."""
        return not self._closed and not self._ended.is_set()
