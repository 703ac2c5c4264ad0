"""A cable to the engine that can be cut: a process that forwards one unix socket to another, and can be stopped.

While it is stopped, connections are still accepted, by the kernel, and nobody ever answers: as with a lost host.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import socketserver
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

ENGINE = "/var/run/docker.sock"


class Cable:
    """The running process, as tests use it."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.url = url
        self._process = process

    def cut(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def mend(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    async def sever(self) -> None:
        """Cut it for good: every connection over it breaks, and no other can be made."""
        if self._process.returncode is None:
            self._process.kill()  # a stopped process, too
        await self._process.wait()


@asynccontextmanager
async def laid(path: Path) -> AsyncIterator[Cable]:
    """Forward a socket at a path to the engine's, until the end."""
    command = (sys.executable, __file__, str(path))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    cable = Cable(process, f"unix://{path}")
    try:
        assert await asyncio.wait_for(process.stdout.readline(), 10) == b"ready\n"
        yield cable
    finally:
        await cable.sever()


class _Connection(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(ENGINE)
            back = threading.Thread(target=_forward, args=(engine, self.request), daemon=True)
            back.start()
            _forward(self.request, engine)
            back.join()


def _forward(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):  # one side has hung up
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    Path(sys.argv[1]).unlink(missing_ok=True)
    with _Server(sys.argv[1], _Connection) as server:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        server.serve_forever()
