"""The containers' side: one process that plays all of them, and what a holder says to it.

One connection is one stay. Lines: `enter <container> <fence> <who> <at>`, then `use <at>`, at last `leave done|lost`;
the end of the connection is a leave, too. Each is answered, so a holder that left has left before it gives its lease
back. A connection may instead ask for the `report`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from pool.client import AsyncLease
from pool.errors import LeaseLost
from tests.concurrency.book import Book, Report, Visit

_LINE_LIMIT = 2**24
_ANSWER_S = 30.0


async def serve(socket: Path) -> None:
    """Record until our standard input ends, which it also does when whoever started us dies."""
    book = Book()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit: Visit | None = None
        try:
            while line := await reader.readline():
                answer, visit = _answer(book, visit, line.decode().split())
                writer.write(answer.encode() + b"\n")
                await writer.drain()
        except ConnectionError:  # killed while our answer was on its way: the same as the end of its connection
            writer.transport.abort()
        finally:
            if visit is not None:
                book.leave(visit, "broken")
            writer.close()

    server = await asyncio.start_unix_server(talk, socket, limit=_LINE_LIMIT, backlog=1000)
    print("ready", flush=True)
    await input_ended()
    server.close()


def _answer(book: Book, visit: Visit | None, words: list[str]) -> tuple[str, Visit | None]:
    match words:
        case ["enter", container, fence, who, at] if visit is None:
            visit = book.enter(container, int(fence), who, float(at))
            return ("in" if visit else "refused"), visit
        case ["use", at] if visit is not None:
            book.use(visit, float(at))
            return "ok", visit
        case ["leave", how] if visit is not None:
            book.leave(visit, how)
            return "ok", None
        case ["report"]:
            return json.dumps(asdict(book.report())), visit
    return f"what is {words}", visit


async def input_ended() -> None:
    """Wait until our standard input ends."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


class Refused(Exception):
    """The container saw a higher fence before."""


class Stay:
    """A holder's connection to its container, for as long as it uses it.

    Args:
        socket: Where the recorder listens.
        lease: Whose validity is checked before each word.
        who: The task.
    """

    def __init__(self, socket: Path, lease: AsyncLease, who: str) -> None:
        self._socket = socket
        self._lease = lease
        self._who = who
        self._owed = 0

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_unix_connection(self._socket)
        try:
            await self._enter()
        except BaseException:
            self._writer.close()
            raise
        return self

    async def _enter(self) -> None:
        at = self._valid_at()
        answer = await self._say(f"enter {self._lease.container.id} {self._lease.fence} {self._who} {at:.9f}")
        if answer == "refused":
            raise Refused(f"{self._who} with fence {self._lease.fence}")

    async def use(self) -> None:
        """Do something in the container.

        Raises:
            LeaseLost: The lease is over; nothing was done.
            ConnectionError: The recorder is gone.
        """
        await self._say(f"use {self._valid_at():.9f}")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            try:
                await self.use()
                how = "done"
            except LeaseLost:
                how = "lost"
            await self._say(f"leave {how}")
        finally:
            self._writer.close()

    def _valid_at(self) -> float:
        """Return a moment at which the lease was valid: the check comes after it, with nothing in between."""
        at = time.monotonic()
        self._lease.check()
        return at

    async def _say(self, line: str) -> str:
        """Say a line and return its answer, past the answers that a cancelled caller did not wait for."""
        self._writer.write(line.encode() + b"\n")
        self._owed += 1
        answer = b""
        while self._owed:
            answer = await _answered(self._reader, line)
            self._owed -= 1
        return answer.decode().strip()


async def _answered(reader: asyncio.StreamReader, line: str) -> bytes:
    try:
        async with asyncio.timeout(_ANSWER_S):
            answer = await reader.readline()
    except TimeoutError:
        raise ConnectionError(f"the recorder is silent: {line}") from None
    if not answer:
        raise ConnectionError(f"the recorder is gone: {line}")
    return answer


async def ask(socket: Path) -> Report:
    """Return what the containers saw so far."""
    reader, writer = await asyncio.open_unix_connection(socket, limit=_LINE_LIMIT)
    try:
        writer.write(b"report\n")
        return Report(**json.loads(await _answered(reader, "report")))
    finally:
        writer.close()
