"""One WebSocket: two connections, between which messages, pings and closes pass in both directions."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import aiohttp
from aiohttp import WSCloseCode, WSMsgType, web

from pool.api.gateway.address import Address
from pool.api.gateway.guard import Guard
from pool.api.gateway.headers import Target, request_headers
from pool.api.gateway.proxy import FAILURES, failure, url_of

#: The longest message, in bytes: it is held in memory as a whole.
_LONGEST = 64 * 2**20
#: How long either side may take to answer a close.
_CLOSING_S = 5.0
#: How long a client may take to hear that its lease has ended, before it is cut off without a word.
_LAST_WORD_S = 0.05
#: They say how a connection ended without a close, so none may carry them.
_NOT_SENT = frozenset({0, 1005, 1006, 1015})

#: Either end.
Socket = aiohttp.ClientWebSocketResponse | web.WebSocketResponse


def wants_socket(request: web.Request) -> bool:
    """Whether a request is the handshake of a WebSocket."""
    return request.method == "GET" and request.headers.get("Upgrade", "").lower() == "websocket"


async def relay(request: web.Request, address: Address, target: Target, guard: Guard) -> web.StreamResponse:
    """Connect a client's WebSocket with the container's, until either closes it.

    Raises:
        TargetUnreachable, TargetTimeout: The container does not answer the handshake.
    """
    offered = [
        name.strip() for value in request.headers.getall("Sec-WebSocket-Protocol", []) for name in value.split(",")
    ]
    headers = request_headers(request, address, target)
    for name in [name for name in headers if name.lower().startswith("sec-websocket-")]:
        headers.popall(name, None)
    try:
        inner = await guard.session(reuse=False).ws_connect(
            url_of(target, address), protocols=offered, headers=headers, autoclose=False, autoping=False,
            max_msg_size=_LONGEST, timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSING_S),
        )  # fmt: skip
    except aiohttp.WSServerHandshakeError as refusal:
        return web.Response(status=refusal.status, reason=refusal.message)
    except FAILURES as error:
        raise failure(error, target) from error
    outer = web.WebSocketResponse(
        protocols=[inner.protocol] if inner.protocol else [], autoclose=False, autoping=False, compress=False,
        max_msg_size=_LONGEST, timeout=_CLOSING_S,
    )  # fmt: skip
    try:
        await outer.prepare(request)
        await _Bridge(outer, inner).run()
    finally:
        if guard.ended is not None:
            await _say_last(outer, WSCloseCode.POLICY_VIOLATION, guard.ended.code.encode())
            if request.transport is not None:
                request.transport.abort()  # without a reset, which could overtake the last word
        await _say_last(inner, WSCloseCode.GOING_AWAY, b"")
    return outer


async def _say_last(socket: Socket, code: int, words: bytes) -> None:
    """Close one side, if it is open, without waiting long for its answer."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LAST_WORD_S):
            await socket.close(code=code, message=words)


class _Bridge:
    """Passes on what either side sends; the first to end decides how the other one is closed."""

    def __init__(self, outer: web.WebSocketResponse, inner: aiohttp.ClientWebSocketResponse) -> None:
        self._outer = outer
        self._inner = inner
        self._over = False

    async def run(self) -> None:
        """Return when both sides are closed."""
        ways = [
            asyncio.create_task(self._pump(self._inner, self._outer)),
            asyncio.create_task(self._pump(self._outer, self._inner)),
        ]
        try:
            await asyncio.gather(*ways)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pump(self, source: Socket, sink: Socket) -> None:
        try:
            while await self._pass_one(source, sink):
                pass
        except (ConnectionError, aiohttp.ClientError):  # one of them is gone
            await self._end(source, sink, WSCloseCode.INTERNAL_ERROR, "the other side broke off")

    async def _pass_one(self, source: Socket, sink: Socket) -> bool:
        """Pass on the next message; returns whether there may be more."""
        message = await source.receive()
        match message.type:
            case WSMsgType.TEXT:
                await sink.send_str(message.data)
            case WSMsgType.BINARY:
                await sink.send_bytes(message.data)
            case WSMsgType.PING:
                await sink.ping(message.data)
            case WSMsgType.PONG:
                await sink.pong(message.data)
            case WSMsgType.CLOSE:
                await self._end(sink, source, message.data, message.extra or "")
                return False
            case _:
                code = getattr(message.data, "code", None) or WSCloseCode.INTERNAL_ERROR
                await self._end(sink, source, code, "the other side broke off")
                return False
        return True

    async def _end(self, first: Socket, second: Socket, code: int, words: str) -> None:
        if self._over:
            return
        self._over = True
        for socket in (first, second):
            await socket.close(code=WSCloseCode.OK if code in _NOT_SENT else code, message=words.encode())
