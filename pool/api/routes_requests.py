"""Requests that wait: asking about one, and withdrawing it."""

from __future__ import annotations

from aiohttp import web

from pool.access import Identity
from pool.api.gate import IDENTITY
from pool.api.keys import SERVICES, Services
from pool.api.operations import leases as operations
from pool.api.problems import Problem, of_error
from pool.api.reading import read_query
from pool.api.routes_leases import lease_or_place
from pool.api.routing import Access, Routes
from pool.api.schemas import PollQuery, PoolQuery
from pool.api.waits import ended
from pool.errors import PoolError, RequestConflict, UnknownRequest
from pool.models import RequestState
from pool.store import PoolStore, RequestRecord

#: What still may become a lease, or is one.
_LIVING = (RequestState.WAITING, RequestState.GRANTED, RequestState.LEASED)
#: A request that has ended is gone, however it did.
_GONE = 410


async def get_request(request: web.Request) -> web.Response:
    """Wait on for a request; closing the connection leaves it in the queue."""
    services, identity = request.app[SERVICES], request[IDENTITY]
    query = read_query(request, PollQuery)
    store, record = await _find(services, identity, query.pool, request.match_info["id"])
    limits = await services.limits(store.pool)
    try:
        if record.state not in _LIVING:
            raise await ended(store, record.spec, record.state)
        found = await services.desk.ask(
            store,
            services.ours(record.spec, limits.max_wait_s),
            wait_s=min(query.wait_s, services.http.max_poll_s),
            stay=True,
        )
    except PoolError as error:
        raise await _gone(store, record, error) from error
    return await lease_or_place(request, found, status=200)


async def _gone(store: PoolStore, record: RequestRecord, error: PoolError) -> Problem:
    """Return the same problem however the end of a request came to be known: in this very call, or before."""
    problem = of_error(error)
    now = await store.find(record.spec.request_id)
    if now is None or now.state not in _LIVING:
        problem.status = _GONE
        if isinstance(error, RequestConflict) and now is not None:  # the script knows only that it has ended
            problem = of_error(await ended(store, now.spec, now.state))
            problem.status = _GONE
    return problem


async def delete_request(request: web.Request) -> web.Response:
    """Withdraw a request, and give back what it may have been granted."""
    services, identity = request.app[SERVICES], request[IDENTITY]
    query = read_query(request, PoolQuery)
    store, record = await _find(services, identity, query.pool, request.match_info["id"])
    if record.state in _LIVING:
        await services.desk.withdraw(store, record)
    return web.Response(status=204)


async def _find(
    services: Services, identity: Identity, pool: str | None, request_id: str
) -> tuple[PoolStore, RequestRecord]:
    """Return a request, and its pool.

    Raises:
        UnknownRequest: There is none that the one who asks may know.
    """
    if pool is not None:
        identity.expect_pool(pool)
    for name in [pool] if pool is not None else await services.pools(identity):
        store = services.store(name)
        if pool is not None:
            await services.limits(name)  # tells a pool that is not known from one that does not know the request
        record = await store.find(request_id)
        if record is not None and (pool is not None or identity.owns(record.spec.owner)):
            identity.expect_owner(record.spec.owner)
            return store, record
    raise UnknownRequest(
        f"no request {request_id[:128]!r} is known", hint="an hour after its end it is forgotten; ask again for a lease"
    )


def add_requests(routes: Routes) -> None:
    """Add the routes of this module."""
    routes.add("GET", "/v1/requests/{id}", get_request, access=Access.CLIENT, operation=operations.POLL)
    routes.add("DELETE", "/v1/requests/{id}", delete_request, access=Access.CLIENT, operation=operations.WITHDRAW)
