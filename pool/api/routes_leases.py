"""Asking for containers, and what the holder of a lease does with it."""

from __future__ import annotations

import itertools
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any
from urllib.parse import quote

import structlog
from aiohttp import web

from pool.access import Identity
from pool.allocator import build_request, check_counts, check_extension, check_reason
from pool.api.answers import answer, lease_document, location
from pool.api.gate import GATE, IDENTITY
from pool.api.keys import SERVICES, Services
from pool.api.operations import leases as operations
from pool.api.reading import lease_of, read_body, read_query
from pool.api.routing import Access, Routes
from pool.api.schemas import (
    BundleRequest,
    Extension,
    LeaseRequest,
    Rejection,
    ReleaseQuery,
    Tokens,
    Wish,
)
from pool.api.waits import Place, ended
from pool.client.obtaining import obtain_bundle
from pool.errors import AlreadyReleased, InvalidRequest
from pool.models import LeaseData, LeaseRef, Outcome, RequestState, rfc3339
from pool.requirements import Requirements, check_sizes, route
from pool.store import LIVENESS_S, Grant, RequestSpec
from pool.store.refusals import lost


async def post_lease(request: web.Request) -> web.Response:
    """Take a container, waiting for one if none is free."""
    services, identity = request.app[SERVICES], request[IDENTITY]
    body = await read_body(request, LeaseRequest)
    pool = await _pool_for(services, identity, body)
    wait_s = body.wait_s
    queued_s = 0.0 if wait_s == 0 else await services.wait_limit_s(pool, body.max_wait_s)
    spec = _spec(services, identity, body, wait_s=queued_s)
    structlog.contextvars.bind_contextvars(lease_id=spec.request_id)  # for as long as this request's task
    found = await services.desk.ask(
        services.store(pool),
        spec,
        wait_s=min(wait_s, services.http.max_poll_s),
        turn=await _turn(request, pool, body.request_id),
    )
    return await _handed_over(request, found)


async def _handed_over(request: web.Request, found: Grant | Place) -> web.Response:
    """Answer with a lease, unless its client left meanwhile: then the next one gets the container."""
    try:
        response = await lease_or_place(request, found)
    except BaseException:
        _take_back(request, found)
        raise
    if request.transport is None or request.transport.is_closing():
        _take_back(request, found)
    return response


def _take_back(request: web.Request, found: Grant | Place) -> None:
    services = request.app[SERVICES]
    if isinstance(found, Grant):
        lease = found.lease
        services.keeper.in_background(
            services.keeper.withdraw(services.store(lease.pool), lease.request_id, lease.token)
        )


async def lease_or_place(request: web.Request, found: Grant | Place, *, status: int = 201) -> web.Response:
    """Answer with a lease, or with where the request stands and where to ask again."""
    if isinstance(found, Grant):
        headers = location(f"/v1/leases/{quote(found.lease.request_id)}") if status == 201 else None
        return answer(await lease_document(request, found), status=status, headers=headers)
    poll = f"/v1/requests/{quote(found.request_id)}?pool={quote(found.pool)}"
    wait = found.estimated_wait_s
    document = {
        "request_id": found.request_id,
        "pool": found.pool,
        "position": found.position,
        "estimated_wait_s": None if wait is None else round(wait, 3),
        "poll": poll,
    }
    return answer(document, status=202, headers=location(poll))


async def post_bundle(request: web.Request) -> web.Response:
    """Take several containers, all or none."""
    services, identity = request.app[SERVICES], request[IDENTITY]
    body = await read_body(request, BundleRequest)
    counts = check_counts(body.pools)
    for pool in counts:
        identity.expect_pool(pool)
    spec = _spec(services, identity, body, wait_s=body.wait_s)
    if len(counts) > 1:  # a pool that is alone refuses before anything waits
        await check_sizes(services.connection, counts)
    async with request.app[GATE].admission.admit(identity, sum(counts.values())):
        pass  # its turn ends here: a bundle may wait for long
    bundle = await services.desk.run(obtain_bundle(services.keeper, counts, spec, max_retries=body.max_retries))
    documents: dict[str, list[dict[str, Any]]] = {pool: [] for pool in bundle}
    try:
        for pool, leases in bundle.items():
            for lease in leases:
                documents[pool].append(await lease_document(request, await _seen(services, lease.data.proof)))
    except BaseException:  # it is all or none here, too
        for lease in itertools.chain(*bundle.values()):
            _take_back(request, Grant(lease.data, 0.0))
        raise
    finally:
        for lease in itertools.chain(*bundle.values()):
            services.keeper.let_go(lease)
    return answer({"leases": documents}, status=201)


async def get_lease(request: web.Request) -> web.Response:
    """Show a lease to its holder."""
    ref = lease_of(request)
    return answer(await lease_document(request, await _seen(request.app[SERVICES], ref)))


async def post_heartbeat(request: web.Request) -> web.Response:
    """Keep a lease alive."""
    services, ref = request.app[SERVICES], lease_of(request)
    [expires_at] = await _beat(services, ref.pool, [ref])
    if expires_at is None:
        raise await _ended(services, ref)
    grant = await _seen(services, ref)
    lease = grant.lease
    document = {
        "expires_at": rfc3339(expires_at),
        "deadline_at": rfc3339(lease.deadline_at),
        "left_s": round(max(lease.deadline_at - grant.at, 0.0), 6),
    }
    return answer(document)


async def post_heartbeats(request: web.Request) -> web.Response:
    """Keep all leases of a client alive, by one call for each of their pools."""
    services = request.app[SERVICES]
    body = await read_body(request, Tokens)
    refs = [_unsealed(index, token) for index, token in enumerate(body.tokens)]
    expiries: dict[LeaseRef, float | None] = {}
    for pool in sorted({ref.pool for ref in refs}):
        mine = [ref for ref in refs if ref.pool == pool]
        expiries |= zip(mine, await _beat(services, pool, mine), strict=True)
    rows = []
    for ref in refs:
        expires_at = expiries[ref]
        rows.append({"id": ref.request_id, "expires_at": None if expires_at is None else rfc3339(expires_at)})
    return answer({"leases": rows})


async def post_extend(request: web.Request) -> web.Response:
    """Move the deadline of a lease."""
    services, ref = request.app[SERVICES], lease_of(request)
    body = await read_body(request, Extension)
    check_extension(body.seconds, body.reason)
    store = services.store(ref.pool)
    await store.extend(ref, extra_s=body.seconds, reason=body.reason, used=body.used)
    return answer(await lease_document(request, await _seen(services, ref)))


async def post_reject(request: web.Request) -> web.Response:
    """Give back a container that was found unfit before its use, and get another one."""
    services, ref = request.app[SERVICES], lease_of(request)
    body = await read_body(request, Rejection)
    check_reason(body.problem)
    store = services.store(ref.pool)
    record = await store.find(ref.request_id)
    if record is None:
        raise lost(ref.request_id, ref.pool, "gone")
    outcome = await store.reject(ref, f"unfit at hand-out: {body.problem}", again=body.again)
    if isinstance(outcome, RequestState):
        raise await ended(store, record.spec, outcome)
    if isinstance(outcome, Grant):
        return await lease_or_place(request, outcome)
    limits = await services.limits(ref.pool)
    found = await services.desk.ask(
        store,
        services.ours(record.spec, limits.max_wait_s),
        wait_s=min(body.wait_s, services.http.max_poll_s),
        stay=True,
    )
    return await lease_or_place(request, found)


async def delete_lease(request: web.Request) -> web.Response:
    """Give a container back."""
    services, ref = request.app[SERVICES], lease_of(request)
    query = read_query(request, ReleaseQuery)
    await services.store(ref.pool).release(ref, Outcome.parse(query.outcome))
    return web.Response(status=204)


async def _pool_for(services: Services, identity: Identity, body: LeaseRequest) -> str:
    """Return the pool of a request, which its sender may use."""
    if body.pool is not None:
        identity.expect_pool(body.pool)
    if body.requirements is not None:
        wanted = Requirements.parse(body.requirements.model_dump())
        return await route(services.connection, body.pool, wanted, among=identity.pools)
    return body.pool if body.pool is not None else await services.only_pool(identity)


def _spec(services: Services, identity: Identity, body: Wish, *, wait_s: float) -> RequestSpec:
    return build_request(
        process=services.keeper.process,
        priority=body.priority,
        request_id=body.request_id,
        owner=identity.owner_for(body.owner, identity.name),
        wait_s=wait_s,
        ttl_s=body.ttl_s,
        timeout_s=body.timeout_s,
        label=body.label,
        metadata=body.metadata,
    )


async def _turn(request: web.Request, pool: str, request_id: str | None) -> AbstractAsyncContextManager[None]:
    """Return what keeps a token within its limits; a request that was counted before is not counted again."""
    identity = request[IDENTITY]
    if not identity.limits:
        return nullcontext()
    if request_id is not None and await request.app[SERVICES].store(pool).find(request_id) is not None:
        return nullcontext()
    return request.app[GATE].admission.admit(identity)


async def _seen(services: Services, ref: LeaseRef) -> Grant:
    """Return a lease as it is now.

    Raises:
        LeaseLost, AlreadyReleased: It does not hold, or never did.
    """
    sight = await services.store(ref.pool).look(ref.request_id)
    if sight is None or sight.lease is None or not sight.lease.proof.proves(ref):
        raise await _ended(services, ref)
    lease: LeaseData = sight.lease
    return Grant(lease, sight.at)


async def _ended(services: Services, ref: LeaseRef) -> Exception:
    """Return how a lease ended, as far as its holder may know."""
    store = services.store(ref.pool)
    sight = await store.look(ref.request_id)
    if sight is None or sight.lease is not None:
        return lost(ref.request_id, ref.pool, "gone")
    if not LeaseRef(ref.pool, ref.request_id, sight.fence, sight.token).proves(ref):
        return lost(ref.request_id, ref.pool, "gone")
    if sight.state is RequestState.RELEASED:
        return AlreadyReleased(f"the lease of request {ref.request_id!r} was released before")
    return lost(ref.request_id, ref.pool, sight.state)


async def _beat(services: Services, pool: str, refs: list[LeaseRef]) -> list[float | None]:
    proofs = [(ref.request_id, ref.fence, ref.token) for ref in refs]
    return await services.store(pool).heartbeat(services.keeper.process, proofs, liveness_s=LIVENESS_S)


def _unsealed(index: int, token: str) -> LeaseRef:
    try:
        return LeaseRef.unseal(token)
    except InvalidRequest as error:
        raise InvalidRequest(f"tokens.{index}", "…", error.allowed) from None


def add_leases(routes: Routes) -> None:
    """Add the routes of this module."""
    client, lease = Access.CLIENT, Access.LEASE
    routes.add("POST", "/v1/leases", post_lease, access=client, operation=operations.TAKE)
    routes.add("POST", "/v1/bundles", post_bundle, access=client, operation=operations.TAKE_MANY)
    routes.add("POST", "/v1/heartbeats", post_heartbeats, access=client, operation=operations.BEAT_ALL)
    routes.add("GET", "/v1/leases/{id}", get_lease, access=lease, operation=operations.SHOW)
    routes.add("POST", "/v1/leases/{id}/heartbeat", post_heartbeat, access=lease, operation=operations.BEAT)
    routes.add("POST", "/v1/leases/{id}/extend", post_extend, access=lease, operation=operations.EXTEND)
    routes.add("POST", "/v1/leases/{id}/reject", post_reject, access=lease, operation=operations.REJECT)
    routes.add("DELETE", "/v1/leases/{id}", delete_lease, access=lease, operation=operations.RELEASE)
