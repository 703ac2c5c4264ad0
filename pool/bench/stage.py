"""Where a benchmark runs: a private server, pools of containers that do not exist, and a second process."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from pool.bench.rows import Row
from pool.config import PoolOptions
from pool.embedded import temporary_server
from pool.errors import PoolError
from pool.models import ContainerInfo, State
from pool.store import Connection, PoolSettings, PoolStore

#: Longer than any single step of a benchmark may take.
_STEP_S = 30.0


@contextmanager
def server(url: str | None) -> Iterator[str]:
    """Yield the URL of a server: the given one, or a private one that is gone afterwards. Blocks.

    Raises:
        StoreUnavailable: No server could be started.
    """
    if url is not None:
        yield url
        return
    with temporary_server() as url:
        yield url


def on_server(url: str | None, measure: Callable[[str, Connection], Awaitable[list[Row]]]) -> list[Row]:
    """Measure on a server, the given one or a private one, over a connection that is checked before. Blocks.

    Raises:
        StoreError: The server cannot be used, or none could be started.
    """

    async def work(address: str) -> list[Row]:
        connection = Connection(address)
        try:
            await connection.check()
            return await measure(address, connection)
        finally:
            await connection.close()

    with server(url) as address:
        return asyncio.run(work(address))


@asynccontextmanager
async def fake_pool(connection: Connection, size: int, *, spares: int = 0) -> AsyncIterator[PoolStore]:
    """Open a pool of containers that only Redis knows of; releasing one hands it over at once, without a reset."""
    options = PoolOptions.model_validate(
        {
            "size": size,
            "spares": spares,
            "container": {"image": "none"},
            "health": {"tcp": None},
            "reset": {"on_release": "none"},
            "limits": {"max_wait_s": 3600},
        }
    )
    store = PoolStore(connection, f"bench-{secrets.token_hex(4)}")
    await store.open(PoolSettings.of(options), secrets.token_hex(4))
    try:
        for number in range(1, size + spares + 1):
            name = f"{store.pool}-{number}"
            info = ContainerInfo(name, name, "127.0.0.1", {3000: 3000 + number}, f"http://127.0.0.1:{3000 + number}")
            await store.transition(await store.register(info, spec="none"), State.AVAILABLE)
        yield store
    finally:
        await store.forget()


class Partner:
    """The other process: gets lines of JSON, and answers with lines of JSON."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def send(self, **order: Any) -> None:
        """Give an order."""
        assert self._process.stdin is not None  # noqa: S101 - it has pipes
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        await self._process.stdin.drain()

    async def next(self) -> dict[str, Any]:
        """Return what it says next.

        Raises:
            PoolError: It ended, or says nothing.
        """
        assert self._process.stdout is not None  # noqa: S101 - it has pipes
        try:
            async with asyncio.timeout(_STEP_S):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise PoolError(f"the benchmark's second process said nothing for {_STEP_S:g} s") from None
        if not line:
            raise PoolError("the benchmark's second process ended", hint="it wrote to stderr why")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def stop(self) -> None:
        """Let it tidy up and end; kill it if it does not."""
        assert self._process.stdin is not None  # noqa: S101 - it has pipes
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_STEP_S):
                await self._process.wait()
        except BaseException:
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()
            raise


@asynccontextmanager
async def partner(*arguments: str, module: str = "pool.bench.partner") -> AsyncIterator[Partner]:
    """Run `python -m MODULE arguments…`; the process has ended when the block has."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("POOL_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdin=PIPE, stdout=PIPE, env=environment,
        start_new_session=True,  # a Ctrl-C is for us; the closed pipe then ends it
    )  # fmt: skip
    other = Partner(process)
    try:
        yield other
    finally:
        await other.stop()
