"""The server's side of the benchmark over HTTP, in a process of its own as it is in life: `python -m … URL`.

It writes one line of JSON with where it listens, and ends when its stdin does.
"""

from __future__ import annotations

import asyncio
import json
import sys

from aiohttp import web

from pool.api import ApiServer
from pool.config import Config
from pool.store import Connection
from pool.telemetry import configure_logging

_HOST = "127.0.0.1"
#: What the target of the gateway sends where much is asked for, in bytes.
_MUCH = 16 * 2**20
_CHUNK = 64 * 1024


async def _empty(_: web.Request) -> web.Response:
    """Do nothing: what aiohttp itself takes."""
    return web.Response(body=b"{}", content_type="application/json")


async def _much(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(_MUCH)})
    await response.prepare(request)
    for _ in range(_MUCH // _CHUNK):
        await response.write(bytes(_CHUNK))
    await response.write_eof()
    return response


async def _plain() -> tuple[web.AppRunner, int]:
    """Start a server with nothing of ours."""
    app = web.Application()
    app.router.add_route("*", "/", _empty)
    app.router.add_get("/much", _much)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, _HOST, 0).start()
    return runner, runner.addresses[0][1]


async def _serve(url: str) -> None:
    config = Config.model_validate(
        {
            "http": {"host": _HOST, "port": 0},
            "pools": {"none": {"size": 1, "container": {"image": "none"}, "health": {"tcp": None}}},
        }
    )
    connection = Connection(url)
    server = ApiServer(config, connection, None)
    plain, port = await _plain()
    try:
        await server.start()
        sys.stdout.write(json.dumps({"api": server.url, "port": port}) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
    finally:
        await server.close()
        await plain.cleanup()
        await connection.close()


if __name__ == "__main__":
    configure_logging(quiet=True)
    asyncio.run(_serve(sys.argv[1]))
