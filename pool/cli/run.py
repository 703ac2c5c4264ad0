"""`poolctl run`: a container for as long as a command runs."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import Process
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from pool.cli.exits import Exit, tell
from pool.cli.leases import lease_environment
from pool.cli.options import (
    Label,
    Metadata,
    Owner,
    PoolOption,
    PriorityOption,
    Timeout,
    Url,
    Wait,
    connected,
    metadata_of,
)
from pool.errors import StoreError
from pool.models import Outcome

if TYPE_CHECKING:
    from pool.client.lease import HeldLease

_FORWARDED = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip
_FROM_KEYBOARD = (signal.SIGINT, signal.SIGQUIT)
#: From SIGTERM to SIGKILL, for a command that lost its lease.
_GRACE_S = 5.0


def run(
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND", help="The command and its arguments, best after a `--`.")
    ],
    *,
    pool: PoolOption = None,
    priority: PriorityOption = "normal",
    owner: Owner = None,
    label: Label = None,
    metadata: Metadata = None,
    wait: Wait = 60,
    timeout: Timeout = None,
    url: Url = None,
) -> None:
    """Run a command that has a container to itself.

    The command finds it in POOL_CONTAINER_URL, POOL_CONTAINER_HOST, POOL_CONTAINER_PORT, POOL_CONTAINER_ID and
    POOL_CONTAINER_NAME. Signals go to the command, and its exit code comes back: 0 releases the lease as passed,
    all others as failed. A command whose lease is lost is ended.
    """
    wish = {
        "priority": priority,
        "owner": owner,
        "label": label,
        "metadata": metadata_of(metadata) or None,
        "wait_s": wait,
        "timeout_s": timeout,
    }
    raise typer.Exit(asyncio.run(_run(url, pool, command, wish)))


async def _run(url: str | None, pool: str | None, words: list[str], wish: dict[str, Any]) -> int:
    from pool.cli import waiting

    with _Command(words) as command:
        try:
            async with connected(url) as client:
                lease = await waiting.acquire(client, pool, on_lost=command.end, on_deadline=command.warn, **wish)
                code = await command.run(lease_environment(lease.data))
                try:
                    await lease.release(Outcome.PASSED if code == 0 or command.process is None else Outcome.FAILED)
                except StoreError as error:
                    tell("warning", f"the lease was not given back and lapses by itself: {error.message}")
                return code
        except asyncio.CancelledError:
            if command.withdrawn_by is None:
                raise
            return 128 + command.withdrawn_by


class _Command:
    """The command, as the receiver of our signals; until it runs, they withdraw the request."""

    def __init__(self, words: list[str]) -> None:
        self.process: Process | None = None
        self.withdrawn_by: int | None = None
        self._words = words
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

    async def run(self, environment: dict[str, str]) -> int:
        """Run it to its end and return the exit code that a shell would report."""
        try:
            self.process = await asyncio.create_subprocess_exec(*self._words, env=os.environ | environment)
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
                self.process.send_signal(number)


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
