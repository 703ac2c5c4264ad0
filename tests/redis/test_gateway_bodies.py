"""Bodies through the gateway, in both directions: as they come, whole, and not held."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import resource
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import ClientPayloadError, web

from tests.support_gateway import Bench, echo, gateway_bench, got, serving, speaking

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]


@pytest.fixture
async def bench(redis_url: str) -> AsyncIterator[Bench]:
    async with gateway_bench(redis_url) as bench:
        yield bench


def answering(text: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text)
        await writer.drain()

    return talk


async def test_a_request_body_arrives_piece_by_piece(bench: Bench) -> None:
    pieces: asyncio.Queue[bytes] = asyncio.Queue()
    more = asyncio.Queue[bytes]()

    async def take(request: web.Request) -> web.StreamResponse:
        async for piece in request.content.iter_any():
            pieces.put_nowait(piece)
        return web.Response(text=request.headers.get("Transfer-Encoding", "-"))

    async def body() -> AsyncIterator[bytes]:
        while piece := await more.get():
            yield piece

    async with serving(take) as port:
        await bench.add(port)
        asking = asyncio.create_task(bench.session.post(bench.url(await bench.lease(), "/"), data=body()).__aenter__())
        for piece in (b"one", b"two"):
            more.put_nowait(piece)
            assert await asyncio.wait_for(pieces.get(), 10) == piece
        more.put_nowait(b"")
        answer = await asyncio.wait_for(asking, 10)

        assert await answer.text() == "chunked"


async def test_events_arrive_as_they_are_sent(bench: Bench) -> None:
    go: asyncio.Queue[int] = asyncio.Queue()

    async def send(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while number := await go.get():
            await response.write(b"data: %d\n\n" % number)
        return response

    async with serving(send) as port:
        await bench.add(port)
        async with bench.session.get(bench.url(await bench.lease(), "/sse")) as answer:
            assert answer.headers["Content-Type"] == "text/event-stream"
            for number in (1, 2, 3):
                go.put_nowait(number)
                assert await asyncio.wait_for(answer.content.readuntil(b"\n\n"), 10) == b"data: %d\n\n" % number
            go.put_nowait(0)
            assert await asyncio.wait_for(answer.read(), 10) == b""


async def test_compressed_bodies_pass_untouched_in_both_directions(bench: Bench) -> None:
    packed = gzip.compress(b"hello" * 100)

    async def unpack(request: web.Request) -> web.StreamResponse:
        assert request.headers["Content-Encoding"] == "gzip"
        assert await request.read() == packed
        return web.Response(body=packed, headers={"Content-Encoding": "gzip", "Content-Type": "text/x"})

    async with serving(unpack, auto_decompress=False) as port:
        await bench.add(port)
        url = bench.url(await bench.lease(), "/")
        async with bench.session.post(url, data=packed, headers={"Content-Encoding": "gzip"}) as answer:
            body = await answer.read()

    assert (answer.status, body, answer.headers["Content-Encoding"]) == (200, packed, "gzip")
    assert answer.headers["Content-Length"] == str(len(packed))


@pytest.mark.parametrize(
    ("answer", "status", "body", "headers"),
    [
        (b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n", 204, b"", {"X-A": "1"}),
        (b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n', 304, b"", {"ETag": '"x"'}),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b"", {"Content-Length": "0"}),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, b"until the end", {}),
        (b"HTTP/1.0 200 OK\r\n\r\nold", 200, b"old", {}),
        (b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, b"abc", {}),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 418 Pot\r\nContent-Length: 1\r\n\r\nx", 418, b"x", {}),
        (b"HTTP/1.1 200 OK\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 0\r\n\r\n", 200, b"", {"X-A": "1"}),
        (b"HTTP/1.1 200 OK\r\nX-L: caf\xe9\r\nContent-Length: 0\r\n\r\n", 200, b"", {"X-L": "café"}),
        (b"HTTP/1.1 200 OK\r\nX-L: caf\xc3\xa9\r\nContent-Length: 0\r\n\r\n", 200, b"", {"X-L": "café"}),
    ],
)  # fmt: skip
async def test_answers_of_every_kind_come_back_exactly(
    bench: Bench, answer: bytes, status: int, body: bytes, headers: dict[str, str]
) -> None:
    async with speaking(answering(answer)) as port:  # type: ignore[arg-type]  # its result is awaited
        await bench.add(port)

        async with bench.session.get(bench.url(await bench.lease(), "/")) as came:
            assert (came.status, await came.read()) == (status, body)

    assert {name: came.headers[name] for name in headers} == headers
    assert came.headers.getall("X-A", []) in ([], ["1"], ["1", "2"])


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
    ],
)
async def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(bench: Bench, answer: bytes) -> None:
    async with speaking(answering(answer)) as port:  # type: ignore[arg-type]  # its result is awaited
        await bench.add(port)

        async with bench.session.get(bench.url(await bench.lease(), "/")) as came:
            with pytest.raises(ClientPayloadError):
                await came.read()


async def test_an_old_client_notices_too_that_an_answer_breaks_off(bench: Bench) -> None:
    """Without a length, the end of the connection is the end of the answer; so this must be no orderly one."""
    async with speaking(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort")) as port:  # type: ignore[arg-type]
        await bench.add(port)
        path = bench.url(await bench.lease(), "/").removeprefix(bench.server.url)

        with pytest.raises(ConnectionResetError):
            await bench.raw(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())


async def test_a_client_that_waits_for_leave_to_send_its_body_gets_it_from_us(bench: Bench) -> None:
    async with serving(echo) as port:
        await bench.add(port)
        url = bench.url(await bench.lease(), "/")
        async with bench.session.put(url, data=b"body", expect100=True) as answer:
            seen = await answer.json()

    assert seen["body"] == "body"
    assert got(seen["headers"], "expect") == []


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
async def test_a_container_that_gives_no_answer_is_a_problem(bench: Bench, answer: bytes) -> None:
    async with speaking(answering(answer)) as port:  # type: ignore[arg-type]  # its result is awaited
        await bench.add(port)

        async with bench.session.get(bench.url(await bench.lease(), "/")) as came:
            assert (came.status, (await came.json(content_type=None))["code"]) == (502, "target_unreachable")
            assert came.headers["X-Content-Type-Options"] == "nosniff", "it is an answer of ours"


async def test_a_container_on_whose_port_nobody_listens_is_a_problem(bench: Bench) -> None:
    async with serving(echo) as port:
        pass
    await bench.add(port)

    async with bench.session.get(bench.url(await bench.lease(), "/")) as came:
        assert (came.status, (await came.json(content_type=None))["code"]) == (502, "target_unreachable")


async def test_a_hundred_megabytes_flow_through_without_being_held(
    bench: Bench, record_property: Callable[[str, object], None]
) -> None:
    block, count = bytes(range(256)) * 4096, 100

    async def turn_round(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async for piece in request.content.iter_any():
            await response.write(piece)
        return response

    async def body() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield block

    async with serving(turn_round) as port:
        await bench.add(port)
        url = bench.url(await bench.lease(), "/")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        digest, size = hashlib.sha256(), 0
        async with bench.session.post(url, data=body()) as answer:
            async for piece in answer.content.iter_any():
                digest.update(piece)
                size += len(piece)
        grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    record_property("grown_kb", grown_kb)
    print(f"100 MB both ways, client, gateway and server in one process: the peak grew by {grown_kb} kB")
    assert size == len(block) * count
    assert digest.hexdigest() == hashlib.sha256(block * count).hexdigest()
    assert grown_kb < 40_000


async def test_a_client_that_hangs_up_ends_the_exchange_with_the_container(bench: Bench) -> None:
    ended = asyncio.Event()

    async def forever(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            await response.write(b"x")
            await asyncio.Event().wait()
        finally:
            ended.set()
        return response

    async with serving(forever) as port:
        await bench.add(port)
        async with bench.session.get(bench.url(await bench.lease(), "/")) as answer:
            await answer.content.readany()
            answer.close()

        await asyncio.wait_for(ended.wait(), 10)
