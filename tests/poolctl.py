"""Running `poolctl` as its users do: as a process, in a session of its own, on a pool without a manager."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pool.models import ContainerRecord, LeaseData
from pool.store import Grant, PoolStore
from tests.support import eventually, open_pool, wish

#: A test run in the background may ignore these, and what it starts would inherit that.
_DEFAULT_SIGNALS = ("env", "--default-signal=INT,QUIT,HUP,TERM,USR1")
POOLCTL = (sys.executable, "-m", "pool.cli")


@dataclass(frozen=True)
class Ended:
    """A command that ended."""

    code: int | None
    out: str
    err: str


class Poolctl:
    """Runs commands, and ends those that a failed test left."""

    def __init__(self, redis_url: str, directory: Path) -> None:
        given = {name: value for name, value in os.environ.items() if not name.startswith("POOL_")}
        self.environment = given | {
            "POOL_URL": redis_url,
            "POOL_STATE_DIR": str(directory / "state"),
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "TERM": "xterm",
        }
        self.directory = directory
        self._started: list[Process] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in [*self._started]:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await self.end(process)

    async def start(
        self,
        *words: str,
        program: tuple[str, ...] = POOLCTL,
        session: tuple[str, ...] = ("setsid",),
        stdin: int = DEVNULL,
        stdout: int = PIPE,
        stderr: int = PIPE,
    ) -> Process:
        """Start a command in a session of its own, so that all it started can be ended with it."""
        command = [*session, *_DEFAULT_SIGNALS, *program, *words]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=stdin, stdout=stdout, stderr=stderr, env=self.environment, cwd=self.directory
        )
        self._started.append(process)
        return process

    async def __call__(self, *words: str, stdin: str | None = None) -> Ended:
        return await self.end(await self.start(*words, stdin=DEVNULL if stdin is None else PIPE), stdin)

    async def end(self, process: Process, stdin: str | None = None) -> Ended:
        async with asyncio.timeout(30):
            out, err = await process.communicate(None if stdin is None else stdin.encode())
        self._started.remove(process)
        return Ended(process.returncode, (out or b"").decode(), (err or b"").decode())


def one_container(redis_url: str) -> AbstractAsyncContextManager[PoolStore]:
    """An open pool of one container on a real server, with short lives and without a manager."""
    return open_pool(redis_url, "a", ttl_s=2, claim_ttl_s=1)


@contextmanager
def open_terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal: the one that a person sees, the one that a process has."""
    person, process = os.openpty()
    os.set_blocking(person, False)
    try:
        yield person, process
    finally:
        os.close(person)
        os.close(process)


def shows(person: int, text: str) -> Callable[[], Awaitable[bool]]:
    """Whether the terminal has shown a text."""
    shown = bytearray()

    async def check() -> bool:
        with suppress(BlockingIOError):
            shown.extend(os.read(person, 65536))
        return text.encode() in shown

    return check


async def only(store: PoolStore) -> ContainerRecord:
    [record] = (await store.status()).containers
    return record


def exists(path: Path) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return _written(path)

    return check


def _written(path: Path) -> bool:
    return path.exists() and bool(path.read_text())


async def queued(store: PoolStore, count: int) -> None:
    async def check() -> bool:
        return len((await store.status()).queue) == count

    await eventually(check, deadline_s=20)


async def hold(store: PoolStore) -> LeaseData:
    """Take the container; without a reaper, the lease stays."""
    answer = await store.acquire(wish("holder", ttl_s=600.0, timeout_s=600.0))
    assert isinstance(answer, Grant)
    return answer.lease
