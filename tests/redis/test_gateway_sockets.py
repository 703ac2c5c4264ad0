"""WebSockets through the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, WSServerHandshakeError, web

from tests.support_gateway import Bench, gateway_bench, serving


@pytest.fixture
async def bench(redis_url: str) -> AsyncIterator[Bench]:
    async with gateway_bench(redis_url) as bench:
        yield bench


class Talker:
    """Echoes, closes as it is told, and remembers how it was closed, and what it was asked."""

    def __init__(self) -> None:
        self.closed: asyncio.Queue[tuple[int | None, str]] = asyncio.Queue()
        self.headers: dict[str, str] = {}
        self.path = ""

    async def talk(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/refuse":
            return web.Response(status=403)
        self.headers, self.path = dict(request.headers), request.raw_path
        socket = web.WebSocketResponse(protocols=["second", "third"], max_msg_size=0, autoclose=False, autoping=False)
        await socket.prepare(request)
        while True:
            message = await socket.receive()
            match message.type:
                case WSMsgType.TEXT if message.data.startswith("close"):
                    _, code, words = message.data.split(" ", 2)
                    await socket.close(code=int(code), message=words.encode())
                    return socket
                case WSMsgType.TEXT if message.data == "drop":
                    assert request.transport is not None
                    request.transport.abort()
                    return socket
                case WSMsgType.TEXT:
                    await socket.send_str(message.data)
                case WSMsgType.BINARY:
                    await socket.send_bytes(message.data)
                case WSMsgType.PING:
                    await socket.pong(message.data)
                case WSMsgType.CLOSE:
                    self.closed.put_nowait((message.data, message.extra or ""))
                    await socket.close(code=message.data)
                    return socket
                case _:
                    self.closed.put_nowait((socket.close_code, "gone"))
                    return socket


async def close_of(socket: ClientWebSocketResponse) -> tuple[object, object]:
    message = await asyncio.wait_for(socket.receive(), 10)
    return (message.data, message.extra) if message.type is WSMsgType.CLOSE else (message.type, None)


async def test_text_and_bytes_pass_whole_and_in_order(bench: Bench) -> None:
    talker = Talker()
    async with serving(talker.talk) as port:
        await bench.add(port)
        lease = await bench.lease()
        async with bench.session.ws_connect(bench.url(lease, "/a%2Fb?x=%20"), max_msg_size=0) as socket:
            for text in ("", "héllo ☃", "x" * 200_000):
                await socket.send_str(text)
                assert await socket.receive_str(timeout=10) == text
            for data in (b"", bytes(range(256)), bytes(16 * 2**20)):
                await socket.send_bytes(data)
                assert await socket.receive_bytes(timeout=10) == data
            for n in range(500):
                await socket.send_str(str(n))
            assert [await socket.receive_str(timeout=10) for _ in range(500)] == [str(n) for n in range(500)]

    assert talker.path == "/a%2Fb?x=%20"
    assert talker.headers["Host"] == f"127.0.0.1:{port}"
    assert "Sec-WebSocket-Extensions" not in talker.headers


async def test_the_container_chooses_the_subprotocol(bench: Bench) -> None:
    talker = Talker()
    async with serving(talker.talk) as port:
        await bench.add(port)
        url = bench.url(await bench.lease(), "/")
        for offered, chosen in [(["first", "second"], "second"), (["third"], "third"), ([], None)]:
            async with bench.session.ws_connect(url, protocols=offered) as socket:
                assert socket.protocol == chosen


async def test_pings_go_to_the_container_and_its_pongs_come_back(bench: Bench) -> None:
    async with serving(Talker().talk) as port:
        await bench.add(port)
        async with bench.session.ws_connect(bench.url(await bench.lease(), "/"), autoping=False) as socket:
            await socket.ping(b"are you there")
            message = await socket.receive(timeout=10)

            assert (message.type, bytes(message.data)) == (WSMsgType.PONG, b"are you there")


@pytest.mark.parametrize("code", [1000, 1001, 1008, 3000, 4321])
async def test_either_side_closes_and_the_other_hears_code_and_words(bench: Bench, code: int) -> None:
    talker = Talker()
    async with serving(talker.talk) as port:
        await bench.add(port)
        url = bench.url(await bench.lease(), "/")

        async with bench.session.ws_connect(url) as socket:
            await socket.close(code=code, message=b"enough of it")
            assert await asyncio.wait_for(talker.closed.get(), 10) == (code, "enough of it")
            assert socket.close_code == code
        async with bench.session.ws_connect(url) as socket:
            await socket.send_str(f"close {code} so long")
            assert await close_of(socket) == (code, "so long")


async def test_a_container_that_hangs_up_is_an_abnormal_end(bench: Bench) -> None:
    async with serving(Talker().talk) as port:
        await bench.add(port)
        async with bench.session.ws_connect(bench.url(await bench.lease(), "/")) as socket:
            await socket.send_str("drop")

            assert await close_of(socket) == (1011, "the other side broke off")


async def test_a_client_that_hangs_up_ends_the_socket_in_the_container(bench: Bench) -> None:
    talker = Talker()
    async with serving(talker.talk) as port:
        await bench.add(port)
        socket = await bench.session.ws_connect(bench.url(await bench.lease(), "/"))
        await socket.send_str("hello")
        await socket.receive_str(timeout=10)

        socket.get_extra_info("socket").shutdown(2)

        code, _ = await asyncio.wait_for(talker.closed.get(), 10)
        assert code in (1001, 1006, 1011, None)
        await socket.close()


async def test_a_message_beyond_all_measure_is_refused(bench: Bench) -> None:
    async with serving(Talker().talk) as port:
        await bench.add(port)
        async with bench.session.ws_connect(bench.url(await bench.lease(), "/"), max_msg_size=0) as socket:
            with suppress(ConnectionError):  # it may hang up before it has all of it
                await socket.send_bytes(bytes(65 * 2**20))

            assert (await close_of(socket))[0] in (1009, WSMsgType.CLOSED, WSMsgType.ERROR)


async def test_a_refused_handshake_is_refused_alike(bench: Bench) -> None:
    async with serving(Talker().talk) as port:
        await bench.add(port)
        lease = await bench.lease()
        with pytest.raises(WSServerHandshakeError) as refusal:
            await bench.session.ws_connect(bench.url(lease, "/refuse"))
        assert refusal.value.status == 403
    with pytest.raises(WSServerHandshakeError) as refusal:
        await bench.session.ws_connect(bench.url(lease, "/"))
    assert refusal.value.status == 502
