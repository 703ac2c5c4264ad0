"""Who is let in: the token in the Authorization header, checked against what its route asks for."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import structlog
from aiohttp import web

from pool.access import EVERYBODY, Admission, Identity, Parsed, TokenKeeper, identity_of, matches, parse_token, valid
from pool.api.routing import Access, Handler, route_of
from pool.audit import AccessJournal
from pool.config import HttpOptions
from pool.errors import Forbidden, InvalidRequest, StoreError, TooManyFailures, Unauthenticated
from pool.models import LeaseRef
from pool.store import Connection, TokenRecord, TokenStore

log = structlog.get_logger()

#: Where the authentication middleware keeps who asks.
IDENTITY = web.RequestKey("identity", Identity)
#: Where it keeps the lease of a route that is about one. Whether it is held, the scripts in Redis say.
LEASE = web.RequestKey("lease", LeaseRef)

#: A revoked token is noticed within this time.
_FRESH_S = 1.0
#: The use of a token is noted no more often.
_USED_S = 60.0
_WINDOW_S = 60.0
#: What an attacker with many addresses, or many names of tokens, can make us remember.
_MOST_ADDRESSES = 10_000
_MOST_TOKENS = 10_000
#: Refusals that are audited in a minute; of the others only the number is.
_MOST_AUDITED = 30

_NONE_GIVEN = "this needs an API token in the Authorization header, behind the word Bearer; it begins with cpt_"
_NOT_VALID = "the token is not valid"  # unknown, expired and revoked look the same
_MAKE_ONE = "`poolctl token create NAME` makes one"


def bearer_of(request: web.Request) -> str:
    """Return the token in the Authorization header; empty where there is none, or several."""
    given = request.headers.getall("Authorization", [])
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    return token.strip() if scheme.lower() == "bearer" else ""


class Failures:
    """Counts failed authentications by address. Addresses of one IPv6 network of a customer count as one.

    Args:
        most: Failures of an address in a minute after which it has to wait.
        clock: Returns seconds, rising.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def add(self, address: str) -> None:
        """Count a failure."""
        key = _network(address)
        since, count = self._current(key)
        self._counts[key] = (since, count + 1)
        self._counts.move_to_end(key)
        if len(self._counts) > _MOST_ADDRESSES:
            self._counts.popitem(last=False)

    def wait_s(self, address: str) -> float:
        """Return how long an address has to wait, in seconds; 0 where it may try."""
        since, count = self._current(_network(address))
        return max(since + _WINDOW_S - self._clock(), 0.1) if count >= self._most else 0.0

    def _current(self, key: str) -> tuple[float, int]:
        now = self._clock()
        since, count = self._counts.get(key, (now, 0))
        return (now, 0) if now - since >= _WINDOW_S else (since, count)


def _network(address: str) -> str:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv6Address):
        return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))
    return str(found)


class Gate:
    """Says who asks, and turns away who may not.

    Attributes:
        tokens: Makes tokens, and makes them invalid.
        admission: Keeps tokens within their limits.

    Args:
        http: The server's options.
        connection: Where the tokens are.
        local: Whether only this machine can reach the server: then nobody needs a token until one was made.
        clock: Returns seconds, rising.
    """

    def __init__(
        self, http: HttpOptions, connection: Connection, *, local: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = TokenStore(connection)
        self.tokens = TokenKeeper(self._store)
        self.admission = Admission(connection)
        self._journal = AccessJournal(connection)
        self._failures = Failures(http.auth_failures_per_minute, clock)
        self._local = local
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, TokenRecord]] = OrderedDict()
        self._good: OrderedDict[str, None] = OrderedDict()
        self._used: dict[str, float] = {}
        self._open_until = 0.0
        self._audited = (0.0, 0)
        self._unaudited = 0

    async def identify(self, request: web.Request) -> Identity:
        """Return whose API token a request carries.

        Raises:
            Unauthenticated: It carries none, or none that is valid.
            TooManyFailures: Its address has to wait.
        """
        token = bearer_of(request)
        given = "Authorization" in request.headers
        if not given and await self._is_open():
            return EVERYBODY
        parsed = parse_token(token)
        self.expect_patience(request, known=parsed is not None and parsed.digest in self._good)
        record = await self._look_up(parsed) if parsed else None
        if parsed is None or record is None:
            why = _NOT_VALID if given else _NONE_GIVEN
            if given:  # to give none is no guess
                self.count_failure(request)
            await self.audit_refusal(request, "access.denied", who="nobody", why=why)
            raise Unauthenticated(why, hint=_MAKE_ONE)
        self._good[parsed.digest] = None
        _keep_newest(self._good, parsed.digest)
        await self._note_use(record.id)
        return identity_of(record)

    def lease_of(self, request: web.Request) -> LeaseRef:
        """Return the lease whose token a request carries; whether it is held, Redis says.

        One that may be a lease's is never turned away here, however many others of its address failed: who holds a
        lease would lose it.

        Raises:
            Unauthenticated: It carries none.
            TooManyFailures: It carries none, and its address has to wait.
        """
        try:
            return LeaseRef.unseal(bearer_of(request))
        except InvalidRequest:
            self.expect_patience(request)
            self.count_failure(request)
            raise Unauthenticated(
                "this needs the lease's token in the Authorization header, behind the word Bearer; it begins with cpl_",
                hint="POST /v1/leases gives it",
            ) from None

    def expect_patience(self, request: web.Request, *, known: bool = False) -> None:
        """Turn an address away that has failed too often. Whoever holds a token that was good before is still heard.

        Raises:
            TooManyFailures: It has to wait.
        """
        wait_s = 0.0 if known else self._failures.wait_s(request.remote or "")
        if wait_s:
            raise TooManyFailures(
                "too many tokens from this address were not valid", hint="wait, then use another", retry_after_s=wait_s
            )

    def count_failure(self, request: web.Request) -> None:
        """Count a token that was not valid."""
        self._failures.add(request.remote or "")

    async def audit_refusal(self, request: web.Request, kind: str, *, who: str, why: str) -> None:
        """Have the audit say that somebody was turned away; of more than so many a minute it has only the number."""
        since, count = self._audited
        now = self._clock()
        if now - since >= _WINDOW_S:
            since, count = now, 0
        self._audited = (since, count + 1)
        address = request.remote or "an unknown address"
        route = route_of(request)
        what = f"{request.method} {route.path if route else 'nothing'}"
        if count >= _MOST_AUDITED:
            self._unaudited += 1
            return
        log.info(kind, who=who, address=address, what=what, why=why)
        unaudited, self._unaudited = self._unaudited, 0
        facts = {"address": address} | ({"not_audited_before": unaudited} if unaudited else {})
        try:
            await self._journal.record(kind, who=who, what=what, why=why, result="refused", facts=facts)
        except StoreError as error:
            log.warning("access.not_audited", why=error.message)

    async def _is_open(self) -> bool:
        """Whether nobody needs a token: only this machine can call, and no token was ever made.

        Once one was seen it stays closed, whatever Redis loses.
        """
        if not self._local:
            return False
        if self._clock() < self._open_until:
            return True
        if await self._store.any():
            self._local = False
            return False
        self._open_until = self._clock() + _FRESH_S
        return True

    async def _look_up(self, parsed: Parsed) -> TokenRecord | None:
        """Return the token on record, if it is the bearer's and valid."""
        at, record = self._known.get(parsed.id, (0.0, None))
        if record is None or self._clock() - at >= _FRESH_S:
            record = await self._store.get(parsed.id)
            if record is None:
                self._known.pop(parsed.id, None)
            else:
                self._known[parsed.id] = (self._clock(), record)
                _keep_newest(self._known, parsed.id)
        fits = matches(record, parsed)  # in a time that does not tell whether there is such a token
        return record if fits and record is not None and valid(record, time.time()) else None

    async def _note_use(self, token_id: str) -> None:
        now = self._clock()
        if now - self._used.get(token_id, -_USED_S) >= _USED_S:
            self._used[token_id] = now  # only tokens that were made get here, so this stays small
            await self._store.used(token_id, at=time.time())


def _keep_newest(known: OrderedDict[str, Any], key: str) -> None:
    known.move_to_end(key)
    if len(known) > _MOST_TOKENS:
        known.popitem(last=False)


#: Where a running application keeps its gate.
GATE = web.AppKey("gate", Gate)


@web.middleware
async def authentication(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request through if its token is what its route asks for."""
    route = route_of(request)
    if route is None or route.access is Access.PUBLIC:
        return await handler(request)
    gate = request.app[GATE]
    if route.access is Access.LEASE:
        request[LEASE] = gate.lease_of(request)
        with structlog.contextvars.bound_contextvars(lease_id=request[LEASE].request_id):
            return await handler(request)
    try:
        identity = request[IDENTITY] = await gate.identify(request)
    except StoreError:
        if not route.without_redis:
            raise
        return await handler(request)
    with structlog.contextvars.bound_contextvars(identity=identity.name):
        try:
            if route.access is Access.OPERATOR:
                identity.expect_operator()
            return await handler(request)
        except Forbidden as error:
            await gate.audit_refusal(request, "access.forbidden", who=identity.name, why=error.message)
            raise
