"""How what is open ends with the lease: at its release, its revocation, its expiry, and while Redis is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import ClientError, WSMsgType, web

from pool.api.gateway import guard
from pool.api.gateway.guards import Guards
from pool.embedded import ensure_server, stop_server
from pool.models import LeaseData
from tests.support import eventually
from tests.support_gateway import Bench, gateway_bench, serving, speaking
from tests.support_manager import when

#: What the gateway promises is 100 ms; the tests' machine may be busy with anything.
GENEROUS_S = 5.0


@pytest.fixture
async def bench(redis_url: str) -> AsyncIterator[Bench]:
    async with gateway_bench(redis_url) as bench:
        yield bench


class Container:
    """A server that streams, pushes events and talks by WebSocket for ever, and knows when each was cut off."""

    def __init__(self) -> None:
        self.ended = {kind: asyncio.Event() for kind in ("stream", "sse", "upload", "socket")}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        kind = request.path.strip("/")
        try:
            if kind == "socket":
                return await self._talk(request)
            if kind == "upload":
                return web.Response(text=str(len(await request.read())))
            return await self._push(request, b"x" * 4096 if kind == "stream" else b"data: 1\n\n")
        finally:
            if kind in self.ended:
                self.ended[kind].set()

    async def _push(self, request: web.Request, piece: bytes) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        if request.path == "/quick":
            return response
        while True:
            await response.write(piece)
            await asyncio.sleep(0.01)

    async def _talk(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 1024
        await asyncio.sleep(0.01)


async def open_all(bench: Bench, lease: LeaseData) -> list[Awaitable[str]]:
    """Open a stream, events, an upload and a WebSocket; returns what says how each ended at the client."""
    ready = []

    async def read(path: str) -> str:
        try:
            async with bench.session.get(bench.url(lease, path)) as answer:
                ready.append(await answer.content.readany())
                while await answer.content.readany():
                    pass
        except ClientError:
            return "broken off"
        return "as if it were whole"

    async def upload() -> str:
        ready.append(b"")
        try:
            async with bench.session.post(bench.url(lease, "/upload"), data=endless()) as answer:
                return str(answer.status)
        except ClientError:
            return "broken off"

    async def talk() -> str:
        async with bench.session.ws_connect(bench.url(lease, "/socket")) as socket:
            await socket.send_str("hello")
            ready.append((await socket.receive_str()).encode())
            message = await socket.receive()
            return f"{message.data} {message.extra}" if message.type is WSMsgType.CLOSE else str(message.type)

    tasks: list[Awaitable[str]] = [
        asyncio.ensure_future(each) for each in (read("/stream"), read("/sse"), upload(), talk())
    ]
    await eventually(lambda: when(lambda: len(ready) == len(tasks)))
    return tasks


async def end_by_release(bench: Bench, lease: LeaseData) -> float:
    began = time.monotonic()
    await bench.release(lease)
    return began


async def end_by_revocation(bench: Bench, lease: LeaseData) -> float:
    began = time.monotonic()
    await bench.revoke(lease)
    return began


async def end_by_expiry(bench: Bench, lease: LeaseData) -> float:
    """No reaper runs, and no event tells: only the gateway's own clock does."""
    held = (lease.request_id, lease.fence, lease.token)
    (expires_at,) = await bench.store.heartbeat("process", [held], liveness_s=60)
    assert expires_at is not None
    sight = await bench.store.look(lease.request_id)
    assert sight is not None
    return time.monotonic() + expires_at - sight.at


@pytest.mark.parametrize(
    ("end", "ttl_s", "code"),
    [
        (end_by_release, 60.0, "lease_already_released"),
        (end_by_revocation, 60.0, "lease_lost"),
        (end_by_expiry, 1.0, "lease_lost"),
    ],
)
async def test_everything_that_is_open_ends_with_the_lease(
    bench: Bench,
    record_property: Callable[[str, object], None],
    end: Callable[[Bench, LeaseData], Awaitable[float]],
    ttl_s: float,
    code: str,
) -> None:
    container = Container()
    async with serving(container.answer) as port:
        await bench.add(port)
        lease = await bench.lease(ttl_s=ttl_s)
        clients = await open_all(bench, lease)

        ends_at = await end(bench, lease)
        async with asyncio.timeout(GENEROUS_S + ttl_s):
            how = []
            for name, client in zip(("stream", "sse", "upload", "socket"), clients, strict=True):
                how.append(await client)
                record_property(f"{name}_ms", round((time.monotonic() - ends_at) * 1000, 1))
            for name, ended in container.ended.items():
                await ended.wait()
                record_property(f"{name}_in_container_ms", round((time.monotonic() - ends_at) * 1000, 1))
        print(f"{end.__name__}: all ended {(time.monotonic() - ends_at) * 1000:.1f} ms after the lease")

        assert how[:2] == ["broken off"] * 2
        assert how[2] in ("broken off", "410")
        assert how[3] == f"1008 {code}"
        async with bench.session.get(bench.url(lease, "/quick")) as answer:
            assert (answer.status, (await answer.json(content_type=None))["code"]) == (410, code)


async def test_heartbeats_keep_what_is_open(bench: Bench) -> None:
    container = Container()
    async with serving(container.answer) as port:
        await bench.add(port)
        lease = await bench.lease(ttl_s=2.0)
        held = (lease.request_id, lease.fence, lease.token)
        async with bench.session.ws_connect(bench.url(lease, "/socket")) as socket:
            until = time.monotonic() + 3
            while time.monotonic() < until:
                await bench.store.heartbeat("process", [held], liveness_s=60)
                await socket.send_str("on")
                assert await socket.receive_str() == "on"
                await asyncio.sleep(0.05)


async def test_the_deadline_ends_it_heartbeats_or_not(bench: Bench) -> None:
    container = Container()
    async with serving(container.answer) as port:
        await bench.add(port)
        lease = await bench.lease(ttl_s=60.0, timeout_s=0.8)
        async with bench.session.ws_connect(bench.url(lease, "/socket")) as socket:
            message = await asyncio.wait_for(socket.receive(), 0.8 + GENEROUS_S)

            assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 1008, "lease_lost")


async def test_a_later_lease_of_the_container_fences_off_the_former_one_whatever_events_tell(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Guards, "_hear", lambda *_: None)
    container = Container()
    async with serving(container.answer) as port:
        await bench.add(port)
        first = await bench.lease("first")
        async with bench.session.ws_connect(bench.url(first, "/socket")) as socket:
            await bench.release(first)
            await bench.add(port)  # it is available again
            second = await bench.lease("second")
            async with bench.session.get(bench.url(second, "/quick")) as answer:
                assert answer.status == 200

            async with bench.session.get(bench.url(first, "/quick")) as answer:
                assert answer.status == 410
            assert (await asyncio.wait_for(socket.receive(), GENEROUS_S)).data == 1008
        async with bench.session.get(bench.url(second, "/quick")) as answer:
            assert answer.status == 200


async def test_the_end_that_comes_while_the_lease_is_read_is_not_missed(bench: Bench) -> None:
    """Released a moment after the gateway has asked, however the two interleave."""
    container = Container()
    async with serving(container.answer) as port:
        for n in range(20):
            await bench.add(port, container_id=f"c{n}")
            lease = await bench.lease(f"r{n}")

            async def talk(lease: LeaseData = lease) -> int:
                try:
                    async with bench.session.ws_connect(bench.url(lease, "/socket")) as socket:
                        return (await socket.receive()).data  # type: ignore[no-any-return]  # a close code
                except ClientError as error:
                    return int(getattr(error, "status", 0))

            talking = asyncio.create_task(talk())
            for _ in range(n):
                await asyncio.sleep(0)
            await bench.release(lease)

            assert await asyncio.wait_for(talking, GENEROUS_S) in (1008, 1006, 410)


async def test_an_end_that_no_event_told_of_is_found_by_a_look(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Guards, "_hear", lambda *_: None)
    container = Container()
    async with serving(container.answer) as port:
        await bench.add(port)
        lease = await bench.lease(ttl_s=600.0)
        async with bench.session.ws_connect(bench.url(lease, "/socket")) as socket:
            await bench.release(lease)
            message = await asyncio.wait_for(socket.receive(), 10)

            assert (message.data, message.extra) == (1008, "lease_already_released")


class Keeper:
    """A server that keeps connections, and knows how many there were and how many ended."""

    def __init__(self) -> None:
        self.begun = self.ended = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.begun += 1
        while (await reader.readline()).strip():
            while (await reader.readline()).strip():
                pass
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.ended += 1


async def test_connections_that_are_kept_end_with_the_lease(bench: Bench) -> None:
    keeper = Keeper()
    async with speaking(keeper.talk) as port:
        await bench.add(port)
        lease = await bench.lease()
        for _ in range(3):
            async with bench.session.get(bench.url(lease, "/")) as answer:
                assert await answer.text() == "ok"
        assert (keeper.begun, keeper.ended) == (1, 0)

        await bench.release(lease)

        await eventually(lambda: when(lambda: keeper.ended == 1))


async def test_a_lease_that_is_not_used_for_a_while_is_given_up_and_read_again_at_its_next_use(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_IDLE_S", 0.05)
    monkeypatch.setattr(guard, "_SECOND_LOOK_S", 0.01)
    keeper = Keeper()
    async with speaking(keeper.talk) as port:
        await bench.add(port)
        lease = await bench.lease()
        for number in (1, 2):
            async with bench.session.get(bench.url(lease, "/")) as answer:
                assert await answer.text() == "ok"
            await eventually(lambda number=number: when(lambda: keeper.ended == number))  # type: ignore[misc]


async def test_while_redis_is_away_what_is_open_goes_on_until_the_known_end_of_the_lease(tmp_path: Path) -> None:
    container = Container()
    async with serving(container.answer) as port:
        try:
            async with gateway_bench(ensure_server(tmp_path).url) as bench:
                await bench.add(port)
                lease = await bench.lease("r", ttl_s=3.0)
                async with bench.session.ws_connect(bench.url(lease, "/socket")) as socket:
                    began = time.monotonic()
                    stop_server(tmp_path)
                    await socket.send_str("still there")
                    assert await socket.receive_str() == "still there"
                    async with bench.session.get(bench.url(lease, "/quick")) as answer:
                        assert answer.status == 200, "the lease is known, and holds as far as anybody knows"
                    message = await asyncio.wait_for(socket.receive(), 3 + GENEROUS_S)
                    print(f"cut off {time.monotonic() - began:.2f} s after Redis was gone, of a ttl of 3 s")

                    assert (message.type, message.data) == (WSMsgType.CLOSE, 1008)
                    async with bench.session.get(bench.url(lease, "/quick")) as answer:
                        assert (answer.status, (await answer.json(content_type=None))["code"]) == (
                            503,
                            "store_unavailable",
                        )
                ensure_server(tmp_path)
        finally:
            stop_server(tmp_path)


async def test_a_gateway_that_stops_cuts_off_what_is_open(redis_url: str) -> None:
    container = Container()
    async with serving(container.answer) as port, gateway_bench(redis_url) as bench:
        await bench.add(port)
        lease = await bench.lease()
        async with bench.session.ws_connect(bench.url(lease, "/socket")) as socket:
            await bench.server.close()
            message = await asyncio.wait_for(socket.receive(), GENEROUS_S)

            assert message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING)
