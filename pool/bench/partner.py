"""The waiting side of a hand-off, as a process: `python -m pool.bench.partner URL`, its orders as JSON on stdin.

- `{"wait": pool, "waiters": n}`: n requests wait for the pool's container, over and over
- `{"go": pool}`: whoever has the pool's container gives it back and asks again
- `{"pop": key}`: wait for items of a list, as bare Redis hands over

Each time something arrives, it says what and when: `{"got": pool or key, "at_ns": monotonic clock}`. That clock is the
same in all processes of a machine. It ends with its stdin.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

from pool.client import AsyncClient
from pool.store import Connection

_OWNER = "waiter"


def _tell(got: str, at_ns: int) -> None:
    os.write(sys.stdout.fileno(), json.dumps({"got": got, "at_ns": at_ns}).encode() + b"\n")


async def _wait(client: AsyncClient, pool: str, turn: asyncio.Semaphore) -> None:
    while True:
        lease = await client.acquire(pool, owner=_OWNER, wait_s=3600)
        _tell(pool, time.monotonic_ns())
        await turn.acquire()
        await lease.release()


async def _pop(connection: Connection, key: str) -> None:
    redis = await connection.dedicated(key)
    try:
        while await redis.blpop([key], timeout=0):
            _tell(key, time.monotonic_ns())
    finally:
        await redis.aclose()
        await redis.connection_pool.disconnect()


async def _orders() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def main(url: str) -> None:
    """Do what the lines on stdin say until they end."""
    connection = Connection(url)
    tasks: list[asyncio.Task[None]] = []
    turns: dict[str, asyncio.Semaphore] = {}
    async with AsyncClient(url) as client:
        async for line in await _orders():
            order: dict[str, Any] = json.loads(line)
            if pool := order.get("wait"):
                turn = turns.setdefault(pool, asyncio.Semaphore(0))
                tasks += [asyncio.create_task(_wait(client, pool, turn)) for _ in range(order["waiters"])]
            elif pool := order.get("go"):
                turns[pool].release()
            elif key := order.get("pop"):
                tasks.append(asyncio.create_task(_pop(connection, key)))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
