"""Sockets that stand for containers, for tests of what is asked of a container before it is used."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from pool.models import ContainerInfo, HandOutCheck, State
from pool.store import PoolStore


class Box:
    """Stands for a container: a socket that answers every GET with a status, once it may."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._serving: list[asyncio.Task[None] | None] = []

    async def __aenter__(self) -> Box:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.may_answer.set()
        self._server.close()
        await asyncio.gather(*filter(None, self._serving))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.append(asyncio.current_task())
        request = await reader.read(65536)
        if request:
            self.asked += 1
            await self.may_answer.wait()
            writer.write(b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % self.status)
        writer.close()
        with suppress(ConnectionError):  # whoever asked may have left
            await writer.wait_closed()

    async def is_asked(self) -> bool:
        return self.asked > 0


async def add_box(
    store: PoolStore, box: Box, container_id: str, *, kind: str = "http", timeout_s: float = 30.0
) -> None:
    """Make a box a free container whose pool wants it checked."""
    check = HandOutCheck(kind, box.port, timeout_s, "/ready", (200,), {"X-Probe": "1"})
    info = ContainerInfo(
        container_id, container_id, "127.0.0.1", {80: box.port}, f"http://127.0.0.1:{box.port}", hand_out=check
    )
    assert await store.transition(await store.register(info, spec="s"), State.AVAILABLE)
