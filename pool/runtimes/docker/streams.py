"""Connections on which data flows after the answer's header: exec, shells, events, archives.

The SDK reads those with blocking sockets that no deadline reaches: an exec whose host was cut off would hold its thread
for ever. On asyncio's streams they can be given up at any time, on a unix socket, TCP and TLS alike.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

#: Longest header and longest line that is accepted; an event with many labels is far shorter.
_LIMIT_BYTES = 1 << 20
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


@dataclass(frozen=True, slots=True)
class Address:
    """Where an engine is: `unix://` or `tcp://`, with a directory of certificates for TLS."""

    url: str
    tls_dir: Path | None = None

    @property
    def certificates(self) -> tuple[str, str, str]:
        """Paths of the CA's certificate, of ours, and of our key."""
        directory = self.tls_dir or Path()
        return str(directory / "ca.pem"), str(directory / "cert.pem"), str(directory / "key.pem")

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection.

        Raises:
            OSError: Nobody listens, or TLS failed.
        """
        target = urlsplit(self.url)
        if target.scheme == "unix":
            return await asyncio.open_unix_connection(target.path, limit=_LIMIT_BYTES)
        port = target.port or (2376 if self.tls_dir else 2375)
        reader, writer = await asyncio.open_connection(target.hostname, port, ssl=self._tls(), limit=_LIMIT_BYTES)
        # Without it, a host that was cut off would leave an idle stream silent for ever.
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE.items():
            if hasattr(socket, option):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        return reader, writer

    async def probe(self) -> None:
        """Find out whether somebody listens: the SDK loses its socket when nobody does.

        Raises:
            OSError: Nobody does, or TLS failed.
        """
        _, writer = await self.connect()
        writer.transport.abort()

    def _tls(self) -> ssl.SSLContext | None:
        if self.tls_dir is None:
            return None
        authority, certificate, key = self.certificates
        context = ssl.create_default_context(cafile=authority)
        context.load_cert_chain(certificate, key)
        return context


class RefusedStream(Exception):
    """The engine answered with an error instead of a stream."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Stream:
    """The engine's side of one request, read as it comes. Close it; it is no part of any connection pool."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._length: int | None = None

    @classmethod
    async def open(
        cls, address: Address, method: str, target: str, *, body: Mapping[str, Any] | None = None, hijack: bool = False
    ) -> Stream:
        """Send a request and read the header of its answer.

        Args:
            address: Where the engine is.
            method: The HTTP method.
            target: Path and query.
            body: What to send, as JSON.
            hijack: Turn the connection into a raw two-way stream.

        Raises:
            RefusedStream: The engine refused.
            OSError, EOFError, ValueError: The connection failed, ended, or does not speak HTTP.
        """
        stream = cls(*await address.connect())
        try:
            await stream._request(method, target, body, hijack=hijack)
        except BaseException:
            await stream.close()
            raise
        return stream

    async def _request(self, method: str, target: str, body: Mapping[str, Any] | None, *, hijack: bool) -> None:
        payload = b"" if body is None else json.dumps(body).encode()
        head = [f"{method} {target} HTTP/1.1", "Host: docker", f"Content-Length: {len(payload)}"]
        head += ["Content-Type: application/json"] if payload else []
        head += ["Connection: Upgrade", "Upgrade: tcp"] if hijack else ["Connection: close"]
        await self.send("\r\n".join([*head, "", ""]).encode() + payload)
        status_line, *fields = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().splitlines()
        status = int(status_line.split()[1])
        headers = dict(field.split(": ", 1) for field in fields if ": " in field)
        if "content-length" in headers:
            self._length = int(headers["content-length"])
        if status >= 400:
            text = (await self._reader.readexactly(self._length or 0)).decode(errors="replace")
            raise RefusedStream(status, json.loads(text)["message"] if text.startswith("{") else text)

    async def send(self, data: bytes) -> None:
        """Send bytes to the other side."""
        self._writer.write(data)
        await self._writer.drain()

    async def frame(self) -> bytes:
        """Return the next piece of output, of whichever of stdout and stderr; empty at the end."""
        try:
            header = await self._reader.readexactly(8)
        except asyncio.IncompleteReadError:
            return b""
        return await self._reader.readexactly(int.from_bytes(header[4:], "big"))

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Yield the pieces of output until its end."""
        while piece := await self.frame():
            yield piece

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the pieces of the answer until its regular end. Short answers come whole, long ones chunked.

        Raises:
            EOFError: The connection ended in the middle.
        """
        if self._length is not None:
            yield await self._reader.readexactly(self._length)
            return
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            yield await self._reader.readexactly(size)
            await self._reader.readexactly(2)

    @property
    def ended(self) -> bool:
        """Whether the other side has hung up and nothing is left to read."""
        return self._reader.at_eof()

    async def close(self) -> None:
        """Hang up. May be called twice."""
        # Aborting, since a polite TLS goodbye waits for an answer that a hung host never gives.
        self._writer.transport.abort()
        try:
            await self._writer.wait_closed()
        except OSError:
            return  # it broke before; closed is closed
