"""Fifty containers under watch, as a process: `python -m pool.bench.checked URL POOL INTERVAL_S`.

The containers do not exist, but their ports do: each has a server that answers the probes. It says `{"ready": true}`
once they may be lent, and ends with its stdin.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from asyncio import StreamReader, StreamWriter

from pool.config import Config
from pool.manager import Ending, PoolManager
from pool.store import Connection
from pool.telemetry import configure_logging
from pool.testing import MemoryRuntime

CONTAINERS = 50


async def _answer(reader: StreamReader, writer: StreamWriter) -> None:
    if await reader.read(65536):  # the TCP probe says nothing
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    writer.close()


def _config(pool: str, ports: list[int], interval_s: float) -> Config:
    containers = [{"id": f"{pool}-{n}", "ports": {3000: port}} for n, port in enumerate(ports, start=1)]
    options = {
        "containers": containers,
        "container": {"image": "any", "ports": [{"container": 3000}]},
        "health": {"interval_s": interval_s, "http": {"path": "/"}},
        "reset": {"on_release": "none", "recipe": {"shell": None}},
    }
    return Config.model_validate({"deployment": pool, "pools": {pool: options}})


async def main(url: str, pool: str, interval_s: float) -> None:
    """Manage the pool until stdin ends."""
    servers = [await asyncio.start_server(_answer, "127.0.0.1", 0, family=socket.AF_INET) for _ in range(CONTAINERS)]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    connection, ending = Connection(url), Ending()
    manager = PoolManager(_config(pool, ports, interval_s), pool, MemoryRuntime(), connection)
    running = asyncio.create_task(manager.run(ending))
    ready = asyncio.create_task(manager.ready.wait())
    try:
        await asyncio.wait((running, ready), return_when=asyncio.FIRST_COMPLETED)
        os.write(sys.stdout.fileno(), json.dumps({"ready": ready.done()}).encode() + b"\n")
        reader = StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        await reader.read()
    finally:
        ready.cancel()
        ending.request(remove=True)
        await running
        await connection.close()
        for server in servers:
            server.close()


if __name__ == "__main__":
    configure_logging(quiet=True)
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
