"""The command that `poolctl run` runs, as the receiver of our signals."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pool.cli.exits import Exit, tell

if TYPE_CHECKING:
    from pool.client.lease import HeldLease

_FORWARDED = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip
_FROM_KEYBOARD = (signal.SIGINT, signal.SIGQUIT)
#: From SIGTERM to SIGKILL, for a command that lost its lease.
_GRACE_S = 5.0


class Command:
    """A command; until it runs, our signals withdraw the request.

    Args:
        words: The command and its arguments.
        interactive: It is a shell at a terminal, which ignores SIGTERM: it gets SIGHUP in its place, as from a terminal
            that is closed.
    """

    def __init__(self, words: Sequence[str], *, interactive: bool = False) -> None:
        self.process: Process | None = None
        self.withdrawn_by: int | None = None
        self._words = words
        self._interactive = interactive
        self._lost = False
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()

    def __enter__(self) -> Self:
        for number in _FORWARDED:
            if signal.getsignal(number) is not signal.SIG_IGN:  # what `nohup` ignores stays ignored
                self._loop.add_signal_handler(number, self._receive, number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in _FORWARDED:
            self._loop.remove_signal_handler(number)

    async def run(self, environment: Mapping[str, str]) -> int:
        """Run it to its end and return the exit code that a shell would report."""
        try:
            self.process = await asyncio.create_subprocess_exec(*self._words, env=environment)
        except OSError as error:
            tell("error", f"{self._words[0]}: {error.strerror}", style="bold red")
            return Exit.NOT_FOUND if isinstance(error, FileNotFoundError) else Exit.NOT_EXECUTABLE
        if self._lost:
            self._terminate()
        code = await self.process.wait()
        return code if code >= 0 else 128 - code

    def end(self, lease: HeldLease) -> None:
        """End the command, since its lease is lost and somebody else may get the container."""
        tell("warning", f"the lease of container {lease.container.id!r} is lost; ending the command", style="yellow")
        self._lost = True
        self._terminate()

    def warn(self, lease: HeldLease) -> None:
        """Say that the deadline is near, while there is time to do something about it."""
        tell("warning", f"the lease of container {lease.container.id!r} ends in {lease.left_s:.0f} s", style="yellow")

    def _terminate(self) -> None:
        self._send(signal.SIGTERM)
        self._loop.call_later(_GRACE_S, self._send, signal.SIGKILL)

    def _receive(self, number: signal.Signals) -> None:
        if self.process is not None:
            if not (number in _FROM_KEYBOARD and _in_foreground()):
                self._send(number)
        elif self.withdrawn_by is None and self._task is not None:
            self.withdrawn_by = number
            self._task.cancel()

    def _send(self, number: signal.Signals) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):  # it has just ended
                self.process.send_signal(signal.SIGHUP if self._interactive and number == signal.SIGTERM else number)


def _in_foreground() -> bool:
    """Whether the terminal's keyboard reaches us, and so has reached the command by itself.

    A second SIGINT would make many a test runner drop its clean-up.
    """
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
