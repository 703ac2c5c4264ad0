"""The HTTP probe on real sockets: what is sent, and what is said of every kind of answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from pool.health.outside import ask_http


class Server:
    """Answers the one request of each connection with the same bytes, or hangs up, or stays silent."""

    def __init__(self) -> None:
        self.answer: bytes | None = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        self.heard: list[str] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard += (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        if self.answer is None:
            await reader.read()
        else:
            writer.write(self.answer)
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield server


async def ask(port: int, path: str = "/", timeout_s: float = 5.0, **headers: str) -> str:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await ask_http("127.0.0.1", port, path=path, status=[200, 400], headers=sent, timeout_s=timeout_s)


@pytest.mark.parametrize("status", [b"200 OK", b"400 Bad Request", b"200"])
async def test_a_status_that_means_healthy_is_no_problem(server: Server, status: bytes) -> None:
    server.answer = b"HTTP/1.0 " + status + b"\r\n\r\nbody"

    assert await ask(server.port) == ""


async def test_the_request_names_host_and_port_and_asks_for_no_further_one(server: Server) -> None:
    await ask(server.port, "/a b/ü?x=%20&y=1")

    assert server.heard[0] == "GET /a%20b/%C3%BC?x=%20&y=1 HTTP/1.1"
    assert f"host: 127.0.0.1:{server.port}" in server.heard
    assert "connection: close" in server.heard


async def test_a_configured_header_takes_the_place_of_ours(server: Server) -> None:
    await ask(server.port, Host="example.test", X_Token="t")

    assert [line for line in server.heard if line.startswith("host")] == ["host: example.test"]
    assert "x-token: t" in server.heard


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 503 Busy\r\n\r\n", "status 503, not one of [200, 400]"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", "status 302, not one of [200, 400]"),
        (b"", "the server hung up without an answer"),
        (b"SSH-2.0-x\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 abc\r\n", "the answer is not HTTP"),
        (b"x" * 200_000, "chunk exceed the limit"),
    ],
)
async def test_any_other_answer_is_named(server: Server, answer: bytes, problem: str) -> None:
    server.answer = answer

    told = await ask(server.port)

    assert told.startswith(f"GET http://127.0.0.1:{server.port}/: ")
    assert problem in told


async def test_a_server_that_does_not_answer_is_given_up(server: Server) -> None:
    server.answer = None

    assert (await ask(server.port, timeout_s=0.1)).endswith("no answer within 0.1 s")


async def test_nobody_listening_is_named() -> None:
    with socket.socket() as bound:  # but not listening, so that nobody else can
        bound.bind(("127.0.0.1", 0))

        assert "Connect call failed" in await ask(bound.getsockname()[1])


async def test_a_header_cannot_smuggle_in_another_one(server: Server) -> None:
    assert "line break" in await ask(server.port, X_Bad="a\r\nEvil: yes")
    assert server.heard == []
