"""`poolctl logs`: what a container's first process wrote."""

from __future__ import annotations

import asyncio
import codecs
import json
import re
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from pool.cli.exits import tell
from pool.cli.options import ContainerArgument, Json, PoolOption, Url, address, connected, is_http
from pool.cli.status import pool_of
from pool.errors import EngineUnavailable, UnknownContainer

if TYPE_CHECKING:
    from pool.models import PoolStatus
    from pool.ports import EngineContainer
    from pool.runtimes import DockerRuntime

_TAIL = 200
#: How soon it is noticed that a container runs again, in seconds.
_LOOK_S = 0.3
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def logs(
    container: ContainerArgument,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what it writes, also after a restart, until Ctrl-C.")
    ] = False,
    tail: Annotated[int, typer.Option("--tail", "-n", metavar="N", min=0, help="The last N lines.")] = _TAIL,
    pool: PoolOption = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Show what a container's first process wrote to stdout and stderr.

    The engine is asked: run it on the host that has the engine ($DOCKER_HOST, or the local socket), or give the URL of
    a manager's HTTP API. With --json, each line of the log is one line of JSON.
    """
    asyncio.run(_show(url, pool, container, tail, _Writer(container, as_json=as_json), follow=follow))


async def _show(url: str | None, pool: str | None, container: str, tail: int, out: _Writer, *, follow: bool) -> None:
    from pool.runtimes import DockerRuntime

    async with connected(url) as client:
        status = await pool_of(client, pool, container)
    if is_http(place := address(url)):
        await _over_http(place, status.pool, container, tail, out, follow=follow)
        return
    runtime = DockerRuntime()
    try:
        found = await _find(runtime, status, container)
        if not follow:
            out.write((await runtime.logs(found.ref, tail=tail)).encode())
        else:
            async with aclosing(_lasting(runtime, status, container, found, tail)) as pieces:
                async for piece in pieces:
                    out.write(piece)
        out.close()
    finally:
        await runtime.close()


async def _over_http(place: str, pool: str, container: str, tail: int, out: _Writer, *, follow: bool) -> None:
    from pool.cli.remote import container_path, remote

    query = {"pool": pool, "tail": str(tail), "follow": str(follow).lower()}
    async with remote(place) as api, api.open(container_path(container, "logs"), query=query) as response:
        async for piece in response.content.iter_any():
            out.write(piece)
    out.close()
    if follow:
        tell("note", f"container {container!r} ended; over HTTP its log is not followed across a restart")


async def _lasting(
    runtime: DockerRuntime, status: PoolStatus, container: str, found: EngineContainer, tail: int
) -> AsyncGenerator[bytes, None]:
    """Yield what a container writes, and what the ones write that come in its place."""
    lines: int | None = tail
    since_s = 0.0
    while True:
        async with aclosing(runtime.follow_logs(found.ref, tail=lines, since_s=since_s)) as pieces:
            async for piece in pieces:
                yield piece
        ended = found
        while not found.running or (found.ref, found.started_at) == (ended.ref, ended.started_at):
            await asyncio.sleep(_LOOK_S)
            found = await _again(runtime, status, container) or ended
        lines, since_s = None, found.started_s


async def _find(runtime: DockerRuntime, status: PoolStatus, container: str) -> EngineContainer:
    """Return the engine's container of a slot.

    Raises:
        EngineUnavailable: No engine answers here.
        UnknownContainer: This engine has no such container.
    """
    try:
        found = await _again(runtime, status, container)
    except EngineUnavailable as error:
        hint = "run it on the manager's host, set DOCKER_HOST, or give --url http://… of the manager"
        raise EngineUnavailable(error.message, hint=hint) from error
    if found is None:
        raise UnknownContainer(
            f"the engine has no container {container!r} of deployment {status.deployment!r}",
            hint="is it the engine that the manager uses? see DOCKER_HOST",
        )
    return found


async def _again(runtime: DockerRuntime, status: PoolStatus, container: str) -> EngineContainer | None:
    from pool.ports import newest

    return newest((made for made in await runtime.list(status.deployment) if made.pool == status.pool), container)


class _Writer:
    """Writes what comes in pieces, as it is or as lines of JSON. What others wrote does not steer a terminal."""

    def __init__(self, container: str, *, as_json: bool) -> None:
        self._container = container
        self._as_json = as_json
        self._terminal = sys.stdout.isatty()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def write(self, piece: bytes) -> None:
        """Write the lines that are whole."""
        *lines, self._rest = (self._rest + self._decoder.decode(piece)).split("\n")
        for line in lines:
            self._line(line)

    def close(self) -> None:
        """Write what did not end with a line."""
        if self._rest:
            self._line(self._rest)
            self._rest = ""

    def _line(self, line: str) -> None:
        if self._as_json:
            typer.echo(json.dumps({"container": self._container, "line": line}, ensure_ascii=False))
        else:
            typer.echo(_shown(line) if self._terminal else line)


def _shown(line: str) -> str:
    """Return a line of a log as a terminal may see it: with tabs, without colours, and with nothing that steers it."""
    from pool.cli.exits import printable

    plain = _COLOUR.sub("", line.removesuffix("\r"))
    return "\t".join(printable(part) for part in plain.split("\t"))
