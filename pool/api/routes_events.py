"""What happens, as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from aiohttp import web

from pool.access import Identity
from pool.api.gate import IDENTITY
from pool.api.hub import Subscription
from pool.api.keys import SERVICES, Services
from pool.api.operations import pools as operations
from pool.api.reading import read_query
from pool.api.routes_pools import sees
from pool.api.routing import Access, Routes
from pool.api.schemas import EventQuery
from pool.errors import InvalidRequest
from pool.models import Event
from pool.shapes import event_json
from pool.store import event_order, read_events

#: A line that says nothing is sent so often, so that whoever listens, and what is in between, knows that we live.
_SILENCE_S = 15.0
_BATCH = 500
#: Told to browsers: when to connect again, in milliseconds.
_RETRY_MS = 1000


async def get_events(request: web.Request) -> web.StreamResponse:
    """Write events as they happen, and before that what the listener has missed."""
    services, identity = request.app[SERVICES], request[IDENTITY]
    query = read_query(request, EventQuery)
    if query.pool is not None:
        await services.statuses(identity, query.pool)
    known = _positions(request.headers.get("Last-Event-ID", ""))
    stream = _Stream(identity, query, known)
    with services.hub.subscribe(stream.wants) as subscription:
        missed = await _missed(services, identity, query, known)
        response = web.StreamResponse(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        response.content_type, response.charset = "text/event-stream", "utf-8"
        await response.prepare(request)
        await response.write(f"retry: {_RETRY_MS}\n\n".encode())
        for pool, event in missed:
            await response.write(stream.write(pool, event))
        await _pass_on(subscription, stream, response)
    await response.write_eof()
    return response


async def _pass_on(subscription: Subscription, stream: _Stream, response: web.StreamResponse) -> None:
    """Write what is heard until there is no more; whoever lagged behind connects again, and reads what it missed."""
    while True:
        try:
            async with asyncio.timeout(_SILENCE_S):
                pool, event = await anext(subscription)
        except TimeoutError:
            await response.write(b": still here\n\n")
            continue
        except StopAsyncIteration:
            return
        await response.write(stream.write(pool, event))


class _Stream:
    """What one listener gets.

    Args:
        identity: Who listens.
        query: What it wants.
        known: The last event that it knows of each pool; what it gets is noted here.
    """

    def __init__(self, identity: Identity, query: EventQuery, known: dict[str, str]) -> None:
        self._identity = identity
        self._query = query
        self._known = known

    def wants(self, pool: str, event: Event) -> bool:
        """Whether the listener gets an event."""
        query, allowed = self._query, self._identity.pools
        kind = query.type
        return (
            (query.pool is None or query.pool == pool)
            and (allowed is None or pool in allowed)
            and (kind is None or event.type == kind or event.type.startswith(f"{kind.rstrip('.')}."))
        )

    def write(self, pool: str, event: Event) -> bytes:
        """Return an event as it is sent; nothing if it was sent before."""
        if pool in self._known and event_order(event.id) <= event_order(self._known[pool]):
            return b""
        self._known[pool] = event.id
        where = ",".join(f"{name}:{position}" for name, position in sorted(self._known.items()))
        data = json.dumps(event_json(pool, event, sees=sees(self._identity)))
        return f"id: {where}\nevent: {event.type}\ndata: {data}\n\n".encode()


async def _missed(
    services: Services, identity: Identity, query: EventQuery, known: Mapping[str, str]
) -> list[tuple[str, Event]]:
    """Return what happened since the last event of each pool that the listener knows."""
    found: list[tuple[str, Event]] = []
    wanted = _Stream(identity, query, {})
    for pool in [query.pool] if query.pool is not None else await services.pools(identity):
        after = known.get(pool)
        while after is not None:
            events = await read_events(services.connection, pool, after=after, count=_BATCH)
            found += [(pool, event) for event in events if wanted.wants(pool, event)]
            after = events[-1].id if len(events) == _BATCH else None
    return sorted(found, key=lambda entry: event_order(entry[1].id))


def _positions(text: str) -> dict[str, str]:
    """Read the id of an event as we write it: where its listener stands in each pool.

    Raises:
        InvalidRequest: It is none of ours.
    """
    known = {}
    for part in text.split(",") if text else ():
        pool, _, position = part.rpartition(":")
        moment, _, number = position.partition("-")
        if not pool or not (moment.isdecimal() and number.isdecimal() and position.isascii() and len(position) < 40):
            raise InvalidRequest("Last-Event-ID", text[:60], "use the id of an event that this server has sent")
        known[pool] = position
    return known


def add_events(routes: Routes) -> None:
    """Add the routes of this module."""
    routes.add("GET", "/v1/events", get_events, access=Access.OPERATOR, operation=operations.EVENTS)
