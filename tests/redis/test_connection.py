"""What the pool says of servers that it cannot use, and how it lives through outages of one that it can."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pool.client import AsyncClient
from pool.embedded import ensure_server, find_binary, stop_server
from pool.errors import InvalidRequest, StoreUnavailable, StoreUnsupported
from pool.models import State
from pool.store import Connection, PoolStore
from tests.support import add_available, eventually, settings


@asynccontextmanager
async def server_that_says(reply: bytes) -> AsyncIterator[str]:
    """A server that answers every command with the same reply."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while commands := (b"\r\n" + await reader.read(4096)).count(b"\r\n*"):
            writer.write(reply * commands)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.fixture
def directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="cp"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


async def check(url: str) -> str:
    connection = Connection(url, patience_s=0)
    try:
        return await connection.check()
    finally:
        await connection.close()


async def test_a_server_older_than_6_2_is_refused_by_version() -> None:
    info = b"redis_version:6.0.16\r\n"
    async with server_that_says(b"$%d\r\n%s\r\n" % (len(info), info)) as url:
        with pytest.raises(StoreUnsupported, match=r"6\.0\.16") as caught:
            await check(url)

    assert "6.2" in caught.value.hint


@pytest.mark.parametrize("command", ["SCRIPT", "EVALSHA"])
async def test_a_server_without_lua_is_refused(directory: Path, command: str) -> None:
    socket = directory / "s"
    arguments = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--rename-command", command, ""]
    server = await asyncio.create_subprocess_exec(find_binary(), *arguments, stdout=asyncio.subprocess.DEVNULL)
    try:

        async def listening() -> bool:
            try:
                _, writer = await asyncio.open_unix_connection(socket)
            except OSError:  # the file is there a moment before anybody listens
                return False
            writer.close()
            return True

        await eventually(listening)
        with pytest.raises(StoreUnsupported, match="does not run Lua"):
            await check(f"unix://{socket}")
    finally:
        server.terminate()
        await server.wait()


async def test_a_server_that_is_silent_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pool.store.connection.COMMAND_TIMEOUT_S", 0.2)
    async with server_that_says(b"") as url:
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await check(url)


@pytest.mark.parametrize("url", ["http://x", "redis", "redis://127.0.0.1:port"])
async def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match="redis url"):
        await check(url)


async def test_a_password_in_the_url_is_never_shown() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        await check("redis://user:secret@127.0.0.1:1")

    assert "secret" not in str(caught.value)


async def test_a_killed_server_is_waited_for_and_no_lease_is_lost(directory: Path) -> None:
    server = ensure_server(directory)
    connection = Connection(server.url, patience_s=10)
    store = PoolStore(connection, "p")
    await store.open(settings(ttl_s=30), "first")
    await add_available(store, "a")
    try:
        async with AsyncClient(server.url) as client:
            lease = await client.acquire("p")
            waiting = asyncio.create_task(client.acquire("p", wait_s=30))

            async def queued() -> bool:
                return len((await store.status()).queue) == 1

            await eventually(queued)
            os.kill(server.pid, signal.SIGKILL)
            releasing = asyncio.create_task(lease.release())
            again = await asyncio.to_thread(ensure_server, directory)
            assert again.started

            await releasing
            record = await store.container("a")
            assert record is not None
            assert await store.transition(record, State.AVAILABLE)
            async with await waiting as second:
                assert second.fence > lease.fence
    finally:
        await connection.close()
        stop_server(directory)


async def test_a_server_that_stays_away_makes_calls_fail_within_their_patience(directory: Path) -> None:
    server = ensure_server(directory)
    async with AsyncClient(server.url, patience_s=0.5) as client:
        stop_server(directory)
        begun = time.monotonic()

        with pytest.raises(StoreUnavailable):
            await client.acquire("p")

        assert time.monotonic() - begun < 10


async def test_scripts_flushed_from_the_server_are_loaded_again(directory: Path) -> None:
    server = ensure_server(directory)
    connection = Connection(server.url)
    store = PoolStore(connection, "p")
    try:
        await store.open(settings(), "first")
        async with connection.plain() as redis:
            await redis.script_flush()

        assert (await store.status()).pool == "p"
    finally:
        await connection.close()
        stop_server(directory)
