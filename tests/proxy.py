"""A proxy between a client and a server that counts, cuts connections and swallows answers."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from urllib.parse import urlsplit

_CALL = re.compile(rb"^(GET|POST|DELETE) (\S+) HTTP/1\.1\r\n", re.MULTILINE)


class Proxy:
    """Listens on a port that stays the same while the server behind it comes and goes.

    Attributes:
        target: URL of the server; empty: none, and whoever connects is turned away.
        accepted: How many connections were made.
        calls: Method and path of each call.
        swallowed: How many answers are still to be lost, together with their connections.
    """

    def __init__(self, target: str = "") -> None:
        self.target = target
        self.accepted = 0
        self.calls: list[str] = []
        self.swallowed = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None] | None] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def count(self, call: str) -> int:
        """How many calls began like this."""
        return sum(one.startswith(call) for one in self.calls)

    def cut(self) -> None:
        """Close all connections."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*filter(None, self._tasks))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        if not self.target:
            writer.transport.abort()
            return
        self.accepted += 1
        target = urlsplit(self.target)
        try:
            there, back = await asyncio.open_connection(target.hostname, target.port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        try:
            await asyncio.gather(self._pass_calls(reader, back), self._pass_answers(there, writer))
        finally:
            for end in (writer, back):
                self._writers.discard(end)
                end.transport.abort()

    async def _pass_calls(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                self.calls += [f"{method.decode()} {path.decode()}" for method, path in _CALL.findall(data)]
                writer.write(data)
        writer.transport.abort()

    async def _pass_answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                if self.swallowed:
                    self.swallowed -= 1
                    break
                writer.write(data)
        writer.transport.abort()
