"""What operators look into: logs, statistics, evidence, and who did what."""

from __future__ import annotations

import asyncio
import os
import stat
import tarfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from fnmatch import fnmatchcase
from typing import Any

from aiohttp import web

from pool.analytics import read_history
from pool.api.answers import answer
from pool.api.gate import IDENTITY
from pool.api.keys import SERVICES
from pool.api.operations import pools as operations
from pool.api.problems import Problem
from pool.api.reading import read_query
from pool.api.routes_containers import pool_of
from pool.api.routing import Access, Routes
from pool.api.schemas import AnalyticsQuery, AuditQuery, LogQuery
from pool.audit import Entry, Reader
from pool.errors import EngineUnavailable, UnknownContainer
from pool.evidence import Bundle, Shelf, evidence_root
from pool.models import PoolStatus
from pool.moments import moment
from pool.ports import EngineContainer, Runtime, newest
from pool.recommendations import analytics_json

_CHUNK = 64 * 1024


async def _engine(request: web.Request, status: PoolStatus) -> tuple[Runtime, EngineContainer]:
    """Return the engine, and its container of the slot that the path names.

    Raises:
        EngineUnavailable: This server has no engine.
        UnknownContainer: Its engine has no such container.
    """
    runtime = request.app[SERVICES].runtime
    if runtime is None:
        raise EngineUnavailable("this server has no engine", hint="ask the server of the pool's manager")
    container_id = request.match_info["id"]
    made = [container for container in await runtime.list(status.deployment) if container.pool == status.pool]
    found = newest(made, container_id)
    if found is None:
        raise UnknownContainer(f"the engine has no container {container_id!r} of pool {status.pool!r}")
    return runtime, found


async def get_logs(request: web.Request) -> web.StreamResponse:
    """Write the log of a container, and with `follow` go on with it."""
    query = read_query(request, LogQuery)
    runtime, found = await _engine(request, await pool_of(request, LogQuery))
    if not query.follow:
        text = await runtime.logs(found.ref, tail=query.tail)
        return web.Response(body=text.encode(), content_type="text/plain", charset="utf-8")
    response = web.StreamResponse()
    response.content_type, response.charset = "text/plain", "utf-8"
    async with aclosing(runtime.follow_logs(found.ref, tail=query.tail)) as pieces:
        return await _stream(request, response, pieces)


async def get_stats(request: web.Request) -> web.Response:
    """Measure a container."""
    runtime, found = await _engine(request, await pool_of(request))
    stats = await runtime.stats(found.ref)
    document = {
        "id": request.match_info["id"],
        "memory_bytes": stats.memory_bytes,
        "memory_limit_bytes": stats.memory_limit_bytes,
        "cpu_ns": stats.cpu_ns,
        "pids": stats.pids,
    }
    return answer(document)


async def get_evidence(request: web.Request) -> web.Response:
    """List what was kept of a container."""
    bundles = await _bundles(request)
    return answer({"bundles": await asyncio.to_thread(lambda: [_bundle_document(bundle) for bundle in bundles])})


async def get_bundle(request: web.Request) -> web.StreamResponse:
    """Send one bundle as a tar archive."""
    bundle_id = request.match_info["bundle"]
    for bundle in await _bundles(request):
        if bundle.id == bundle_id:
            response = web.StreamResponse(headers={"Content-Disposition": f'attachment; filename="{bundle_id}.tar"'})
            response.content_type = "application/x-tar"
            async with aclosing(_archive(bundle)) as pieces:
                return await _stream(request, response, pieces)
    raise Problem(404, "evidence_unknown", f"nothing was kept of this container as {bundle_id[:128]!r}")


async def get_audit(request: web.Request) -> web.Response:
    """Return entries of the audit."""
    query = read_query(request, AuditQuery)
    since, who = query.since or "", query.who

    def wants(entry: Entry) -> bool:
        return who is None or fnmatchcase(str(entry.get("who", "")), who)

    services, identity = request.app[SERVICES], request[IDENTITY]
    if query.pool is not None:
        await services.statuses(identity, query.pool)
    pools = [query.pool] if query.pool is not None else None if identity.pools is None else sorted(identity.pools)
    entries = await Reader(services.connection, pools).last(query.tail, wants, since=since)
    return answer({"entries": entries})


async def get_analytics(request: web.Request) -> web.Response:
    """Return the past of pools in figures."""
    query = read_query(request, AnalyticsQuery)
    services = request.app[SERVICES]
    found = []
    for status in await services.statuses(request[IDENTITY], query.pool):
        since = moment(query.since, status.at)
        history = await read_history(services.connection, status.pool, since=since, until=status.at)
        setup = await services.store(status.pool).setup()
        found.append(await asyncio.to_thread(analytics_json, history, setup, owner=query.owner))
    return answer({"pools": found})


async def _bundles(request: web.Request) -> list[Bundle]:
    """Return what was kept of the container that the path names, on this host."""
    status = await pool_of(request)
    config = request.app[SERVICES].config
    if status.pool not in config.pools:
        raise EngineUnavailable("this server does not manage the pool", hint="ask the server of the pool's manager")
    shelf = Shelf(evidence_root(config, status.pool), config.deployment, status.pool)
    bundles = await asyncio.to_thread(shelf.bundles)
    return [bundle for bundle in bundles if bundle.facts.get("container") == request.match_info["id"]]


def _bundle_document(bundle: Bundle) -> dict[str, Any]:
    return {**bundle.facts, "id": bundle.id, "size_bytes": bundle.size_bytes, "files": bundle.files()}


async def _archive(bundle: Bundle) -> AsyncGenerator[bytes, None]:
    """Yield a bundle as a tar archive: plain files only, whatever else somebody may have put there."""
    for name in await asyncio.to_thread(bundle.files):
        try:
            descriptor = os.open(bundle.path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:  # no file, or not any more
            continue
        with os.fdopen(descriptor, "rb") as file:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                continue
            head = tarfile.TarInfo(f"{bundle.id}/{name}")
            head.size, head.mode, head.mtime = facts.st_size, 0o600, int(bundle.at)
            yield head.tobuf(tarfile.PAX_FORMAT)
            left = facts.st_size
            while left and (piece := await asyncio.to_thread(file.read, min(_CHUNK, left))):
                left -= len(piece)
                yield piece
            yield bytes(left + -facts.st_size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


async def _stream(
    request: web.Request, response: web.StreamResponse, pieces: AsyncGenerator[bytes, None]
) -> web.StreamResponse:
    """Write pieces as they come. What fails before the first is a problem; after that the answer just breaks off."""
    first = await anext(pieces, b"")
    await response.prepare(request)
    await response.write(first)
    async for piece in pieces:
        await response.write(piece)
    await response.write_eof()
    return response


def add_insight(routes: Routes) -> None:
    """Add the routes of this module."""
    operator, container = Access.OPERATOR, "/v1/containers/{id}"
    routes.add("GET", f"{container}/logs", get_logs, access=operator, operation=operations.LOGS)
    routes.add("GET", f"{container}/stats", get_stats, access=operator, operation=operations.STATS)
    routes.add("GET", f"{container}/evidence", get_evidence, access=operator, operation=operations.EVIDENCE)
    routes.add("GET", f"{container}/evidence/{{bundle}}", get_bundle, access=operator, operation=operations.BUNDLE)
    routes.add("GET", "/v1/analytics", get_analytics, access=operator, operation=operations.ANALYTICS)
    routes.add("GET", "/v1/audit", get_audit, access=operator, operation=operations.AUDIT)
