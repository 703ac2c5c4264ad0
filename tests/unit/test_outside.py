"""What is asked of a container from outside, against real sockets; and how a pool says what its clients are to ask."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pool.config import HealthOptions
from pool.health.outside import ask_http, ask_tcp
from pool.models import ContainerInfo, HandOutCheck
from pool.store.decode import dump_info, load_info

PORTS = {3000: 41001, 8080: 41002}


@asynccontextmanager
async def listening(reply: bytes | None) -> AsyncIterator[tuple[int, list[str]]]:
    """A socket that reads a request and sends this, or nothing at all; yields its port and what it read."""
    read: list[str] = []
    over = asyncio.Event()
    serving: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        if request := await reader.read(65536):
            read.append(request.decode())
            if reply is None:
                await over.wait()
            else:
                writer.write(reply)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], read
    finally:
        over.set()
        server.close()
        await asyncio.gather(*filter(None, serving))


async def get(port: int, *, timeout_s: float = 10.0, headers: dict[str, str] | None = None) -> str:
    return await ask_http(
        "127.0.0.1", port, path="/ready", status=(200, 204), headers=headers or {}, timeout_s=timeout_s
    )


async def test_a_listener_is_reached_and_a_closed_port_is_told() -> None:
    async with listening(b"") as (port, _):
        assert await ask_tcp("127.0.0.1", port, timeout_s=5) == ""

    problem = await ask_tcp("127.0.0.1", port, timeout_s=5)

    assert problem.startswith(f"no connection to 127.0.0.1:{port}: ")


async def test_one_of_the_expected_answers_is_fine_and_the_request_is_as_configured() -> None:
    async with listening(b"HTTP/1.1 204 No Content\r\n\r\n") as (port, read):
        assert await get(port, headers={"Authorization": "secret"}) == ""

    assert read[0].startswith("GET /ready HTTP/1.1\r\n")
    assert "authorization: secret\r\n" in read[0].lower()
    assert "connection: close\r\n" in read[0].lower()


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "status 500, not one of [200, 204]"),
        (b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n", "status 302, not one of"),
        (b"SSH-2.0-OpenSSH_9\r\n", "not HTTP"),
        (b"", "hung up"),
    ],
    ids=["error", "redirect", "no http", "hang up"],
)
async def test_another_answer_is_told(reply: bytes, told: str) -> None:
    async with listening(reply) as (port, _):
        problem = await get(port)

    assert problem.startswith(f"GET http://127.0.0.1:{port}/ready: ")
    assert told in problem


async def test_silence_and_a_closed_port_are_told() -> None:
    async with listening(None) as (port, _):
        assert await get(port, timeout_s=0.1) == f"GET http://127.0.0.1:{port}/ready: no answer within 0.1 s"
    assert (await get(port)).startswith(f"GET http://127.0.0.1:{port}/ready: ")


async def test_a_header_that_cannot_be_sent_is_told() -> None:
    async with listening(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as (port, _):
        assert "line break" in await get(port, headers={"X": "a\r\nY: b"})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({"hand_out": "tcp"}, HandOutCheck("tcp", 41001, 2.0)),
        ({"hand_out": "tcp", "tcp": {"port": 8080, "timeout_s": 1}}, HandOutCheck("tcp", 41002, 1.0)),
        (
            {"hand_out": "http", "http": {"port": 8080, "path": "/x", "status": [400], "headers": {"A": "b"}}},
            HandOutCheck("http", 41002, 5.0, "/x", (400,), {"A": "b"}),
        ),
    ],
)
def test_a_pool_says_what_its_clients_ask_and_at_which_port(
    options: dict[str, object], expected: HandOutCheck | None
) -> None:
    assert HealthOptions.model_validate(options).check_at_hand_out(PORTS) == expected


@pytest.mark.parametrize(
    "check", [None, HandOutCheck("tcp", 1, 2.0), HandOutCheck("http", 1, 2.0, "/", (200, 204), {"A": "b"})]
)
def test_clients_read_what_their_manager_wrote(check: HandOutCheck | None) -> None:
    info = ContainerInfo("a", "n", "h", PORTS, "http://h:41001", {"x": "y"}, 3, check)

    assert load_info(dump_info(info), "3") == info


def test_headers_are_not_shown() -> None:
    assert "secret" not in repr(HandOutCheck("http", 1, 2.0, headers={"Authorization": "secret"}))


def test_a_client_loads_no_http_library_for_it() -> None:
    script = "import sys, pool.client; print('aiohttp' in sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert loaded == "False\n"
