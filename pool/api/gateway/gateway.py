"""The gateway's one route: who asks by which lease, and what happens when the lease ends meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from aiohttp import HttpVersion10, HttpVersion11, web

from pool.api.gate import GATE
from pool.api.gateway.address import Address, read_address
from pool.api.gateway.guard import Guard
from pool.api.gateway.guards import Guards
from pool.api.gateway.headers import Target
from pool.api.gateway.proxy import broken_off, pass_on
from pool.api.gateway.sockets import relay, wants_socket
from pool.api.keys import SERVICES
from pool.api.problems import Problem
from pool.api.routing import Access, Routes
from pool.api.security import PASSED_ON
from pool.api.traffic import TRAFFIC
from pool.errors import InvalidRequest, LeaseError, PortUnknown, Unauthenticated
from pool.leases import LeaseRef

#: What a lease that has ended is to who comes by its URL: gone.
_GONE = 410


class Gateway:
    """Answers below `/c/`.

    Args:
        guards: Watch over the leases.
    """

    def __init__(self, guards: Guards) -> None:
        self._guards = guards

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on to the container of the lease whose token is in its path."""
        if request.version not in (HttpVersion10, HttpVersion11):
            raise Problem(505, "version_unsupported", "the gateway speaks HTTP/1.1 and HTTP/1.0")
        address = read_address(request.raw_path)
        with _ends_are_gone():
            guard = await self._admit(request, address)
            target = _target(request, address, guard)
            if address.bare and request.method in ("GET", "HEAD") and not wants_socket(request):
                return _with_slash(address)
            return await _while_held(request, address, target, guard)

    async def _admit(self, request: web.Request, address: Address) -> Guard:
        """Return the lease's guard. Only who fails is told to wait: a holder is heard, whatever its neighbours do.

        Raises:
            Unauthenticated, TooManyFailures: The token is no lease's.
            LeaseError: The lease has ended.
        """
        try:
            return await self._guards.admit(_unsealed(address))
        except Unauthenticated as error:
            gate = request.app[GATE]
            gate.expect_patience(request)
            gate.count_failure(request)
            await gate.audit_refusal(request, "access.denied", who="nobody", why=error.message)
            raise


async def _while_held(request: web.Request, address: Address, target: Target, guard: Guard) -> web.StreamResponse:
    request[PASSED_ON] = True
    way, kind = (relay, "websocket") if wants_socket(request) else (pass_on, "http")
    try:
        with structlog.contextvars.bound_contextvars(lease_id=guard.request_id), request.app[TRAFFIC].passing_on(kind):
            async with guard.hold():
                return await way(request, address, target, guard)
    except TimeoutError:  # the block raises no other: it was interrupted
        if request.writer.output_size:
            return broken_off(request)
        raise guard.ended or AssertionError("a lease that holds interrupts nobody") from None
    finally:
        if not request.writer.output_size:
            request[PASSED_ON] = False


@contextmanager
def _ends_are_gone() -> Iterator[None]:
    try:
        yield
    except LeaseError as error:
        raise Problem(_GONE, error.code, error.message, hint=error.hint) from error


def _unsealed(address: Address) -> LeaseRef:
    try:
        return LeaseRef.unseal(address.token)
    except InvalidRequest as error:
        raise Unauthenticated("what follows /c/ is no lease token", hint="use the gateway_url of a lease") from error


def _target(request: web.Request, address: Address, guard: Guard) -> Target:
    """Return the port that is asked for.

    Raises:
        GatewayOff: The pool has no gateway.
        PortUnknown: The container has no such port.
    """
    rules, info = guard.rules, guard.info
    port = address.port or next(iter(info.ports), 0)
    if port not in info.ports:
        known = ", ".join(map(str, info.ports)) or "none"
        raise PortUnknown(f"container {info.id!r} has no port {port}", hint=f"its ports are: {known}")
    return Target.of(info, rules, port, request.host)


def _with_slash(address: Address) -> web.Response:
    """Send a browser to where relative links of the page lead below the prefix."""
    return web.Response(status=308, headers={"Location": address.prefix + address.target, "Cache-Control": "no-store"})


def add_gateway(app: web.Application, routes: Routes) -> None:
    """Add the gateway to an application that has its services, for as long as that runs."""
    services = app[SERVICES]
    guards = Guards(services.connection, services.hub)
    gateway = Gateway(guards)

    async def start(_: web.Application) -> None:
        guards.start()

    async def stop(_: web.Application) -> None:
        await guards.close()

    app.on_startup.append(start)
    app.on_shutdown.append(stop)
    for path in ("/c/{token}", "/c/{token}/{rest:.*}"):
        routes.add("*", path, gateway.handle, access=Access.PUBLIC)
