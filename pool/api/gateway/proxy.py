"""One HTTP exchange: the request goes to the container as it comes, and so does the answer back."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web
from yarl import URL

from pool.api.context import HEADER
from pool.api.gateway.address import Address
from pool.api.gateway.guard import Guard
from pool.api.gateway.headers import Target, request_headers, response_headers
from pool.api.problems import REQUEST_ID, Problem
from pool.errors import PoolError, TargetTimeout, TargetUnreachable

#: May be sent twice, and have no body: over a connection that is kept.
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})

#: Linger for no time: closing resets the connection.
_RESET = struct.pack("ii", 1, 0)

#: What a container that is not there, breaks off, or speaks no HTTP comes to.
FAILURES = (aiohttp.ClientError, OSError, asyncio.TimeoutError)


async def pass_on(request: web.Request, address: Address, target: Target, guard: Guard) -> web.StreamResponse:
    """Ask the container what the client asks, and answer what it answers; both bodies flow as they come.

    Raises:
        TargetUnreachable, TargetTimeout: There is no answer. One that has begun and breaks off is broken off, too.
        Problem: The client's body breaks off.
    """
    headers = request_headers(request, address, target)
    body = _chunks(request) if request.body_exists else None
    session = guard.session(reuse=body is None and request.method in _REPEATABLE)
    url = url_of(target, address)
    response: web.StreamResponse | None = None
    try:
        async with session.request(request.method, url, headers=headers, data=body, allow_redirects=False) as answer:
            passed = response_headers(answer.headers, address, target)
            passed.setdefault(HEADER, request.get(REQUEST_ID, ""))
            response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=passed)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
    except FAILURES as error:
        if response is not None and response.prepared:
            return broken_off(request)
        if request.content.exception() is not None:
            raise Problem(400, "body_broken", "the body of the request broke off, or is malformed") from error
        raise failure(error, target) from error
    return response


def url_of(target: Target, address: Address) -> URL:
    """Return what to ask for, byte by byte as the client wrote it, at the target whatever that is."""
    path, _, query = address.target.partition("?")
    info = target.info
    return URL.build(
        scheme=target.rules.scheme, host=info.host, port=info.ports[target.port],
        path=path, query_string=query, encoded=True,
    )  # fmt: skip


async def _chunks(request: web.Request) -> AsyncIterator[bytes]:
    async for chunk in request.content.iter_any():
        yield chunk


def broken_off(request: web.Request) -> web.StreamResponse:
    """End an answer that cannot be completed so that the client notices, whatever tells it the answer's length."""
    hang_up(request)
    return web.Response()  # for nobody


def hang_up(request: web.Request) -> None:
    """Reset the client's connection, since an orderly end may be how an answer without a length is completed."""
    if request.transport is None:
        return
    if (connection := request.transport.get_extra_info("socket")) is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    request.transport.abort()


def failure(error: BaseException, target: Target) -> PoolError:
    """Return what a failure to reach a container is to a client."""
    name = f"container {target.info.id!r}, port {target.port}"
    if isinstance(error, asyncio.TimeoutError):
        allowed = f"gateway.connect_timeout_s of the pool is {target.rules.connect_timeout_s:g}"
        return TargetTimeout(f"{name} did not accept a connection in time", hint=allowed)
    if isinstance(error, aiohttp.ClientConnectorError):
        return TargetUnreachable(f"{name} takes no connection", hint="does its server listen on that port?")
    return TargetUnreachable(f"{name} gave no answer: {type(error).__name__}", hint="its log may say why")
