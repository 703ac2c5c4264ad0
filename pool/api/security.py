"""What protects the server and its users: which addresses and names it answers to, and what its answers forbid."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import resource
import ssl
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from pool.api.gate import IDENTITY, LEASE
from pool.api.problems import REQUEST_ID, Problem
from pool.api.routing import Handler, route_of
from pool.config import HttpOptions
from pool.errors import ConfigError
from pool.store import Connection, TokenStore

log = structlog.get_logger()

#: A connection that has not sent a whole head of a request for so long is closed.
HEAD_TIMEOUT_S = 30.0
#: A body of the API has to be there within this time.
BODY_TIMEOUT_S = 20.0

_LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})
#: Files that the server may have open beside its connections: Redis, the engine, logs.
_OTHER_FILES = 256
_LOOK_S = 0.5

_API_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_GATEWAY = "/c/"
#: Set on requests whose answer comes from a container: the gateway sees to its headers.
PASSED_ON = web.RequestKey("passed_on", bool)
#: Calls without side effects, which another site's page may cause and cannot read.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address.

    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "pool.example.com")]
    [True, True, True, False, False]
    """
    if host.lower().rstrip(".") in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def check_exposure(http: HttpOptions, connection: Connection) -> None:
    """Refuse to be reachable from elsewhere while nobody needs a token.

    Raises:
        ConfigError: The address is not loopback, and no API token was ever made.
    """
    closed = await TokenStore(connection).any()
    if is_loopback(http.host):
        if not closed:
            log.info("http.open", why="no API token was ever made: everybody on this machine is an operator")
        return
    if not closed:
        raise ConfigError(
            f"http.host: {http.host!r} is not allowed yet: others can reach it, and there is no API token",
            hint="make one with `poolctl token create admin --role operator`, or listen on 127.0.0.1",
        )
    if http.tls_cert is None:
        log.warning("http.without_tls", host=http.host, why="tokens can be read on the way; set http.tls_cert")


def load_tls(http: HttpOptions) -> ssl.SSLContext | None:
    """Return what the server proves itself with; None where it speaks plain HTTP.

    Raises:
        ConfigError: Certificate or key cannot be read, or do not belong together.
    """
    if http.tls_cert is None or http.tls_key is None:
        return None
    for name, path in (("tls_cert", http.tls_cert), ("tls_key", http.tls_key)):
        _check_readable(name, path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # a password would be asked for at the terminal, where nobody is
        context.load_cert_chain(http.tls_cert, http.tls_key, password="")
    except ssl.SSLError as error:
        raise _tls_fault(http.tls_cert, http.tls_key, error) from error
    if http.tls_key.stat().st_mode & 0o077:
        log.warning("http.key_readable", file=str(http.tls_key), why="others can read it; chmod 600")
    return context


def _check_readable(name: str, path: Path) -> None:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise ConfigError(
            f"http.{name}: {str(path)!r} cannot be read: {error.strerror or error}",
            hint="give the path of a PEM file that this user can read",
        ) from error


def _tls_fault(certificate: Path, key: Path, error: ssl.SSLError) -> ConfigError:
    if error.reason == "KEY_VALUES_MISMATCH":
        return ConfigError(
            f"http.tls_key: {str(key)!r} does not belong to the certificate in {str(certificate)!r}",
            hint="give the key that the certificate was made for",
        )
    return ConfigError(
        f"http.tls_cert: {str(certificate)!r} and http.tls_key: {str(key)!r} cannot be used: {error.reason or error}",
        hint="both are PEM: a certificate, followed by its chain, and an unencrypted private key",
    )


class Hosts:
    """The names under which clients may call the server; any other is a page that had its own name point to us.

    Args:
        http: The server's options.
    """

    def __init__(self, http: HttpOptions) -> None:
        named = {http.host, *http.allowed_hosts}
        if http.public_url:
            named.add(urlsplit(http.public_url).hostname or "")
        self._names = frozenset(_plain(name) for name in named) | _LOOPBACK_NAMES
        # Bound to all addresses, it is called by whichever it has: a page cannot have a name that is an address.
        self._any_address = http.host in ("0.0.0.0", "::", "")  # noqa: S104 - recognised, not listened on

    def allow(self, authority: str) -> bool:
        """Whether a Host header, with or without port, names us."""
        match = _AUTHORITY.fullmatch(authority)
        if not match:
            return False
        name = _plain(match[1])
        return name in self._names or is_loopback(name) or (self._any_address and _is_address(name))


def _plain(name: str) -> str:
    return name.lower().strip("[]").rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


#: Where a running application keeps the names it answers to.
HOSTS = web.AppKey("hosts", Hosts)


@web.middleware
async def host_check(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer only who calls us by our name, and no page of another site that wants something changed."""
    hosts = request.app[HOSTS]
    given = request.headers.getall("Host", [])
    if len(given) != 1 or not hosts.allow(given[0]):
        shown = given[0][:100] if given else "none"
        raise Problem(
            421, "host_unknown", f"Host {shown!r} is not a name of this server",
            hint="name it in http.allowed_hosts or http.public_url",
        )  # fmt: skip
    if request.method not in _SAFE and not request.path.startswith(_GATEWAY):
        _check_origin(request, given[0])
    return await handler(request)


def _check_origin(request: web.Request, host: str) -> None:
    """Refuse what a browser sends for a page that is not ours; programs send neither of these headers."""
    origin = request.headers.get("Origin")
    site = request.headers.get("Sec-Fetch-Site", "none")
    foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
    if foreign or site not in ("none", "same-origin"):
        raise Problem(
            403, "origin_foreign", "a page of another site may not do this", hint="call the API from a program"
        )


async def secure(request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers that keep browsers from doing with an answer what they should not; a signal of aiohttp.

    Pages that need more than the API's policy set one themselves.
    """
    if request.get(PASSED_ON):
        return
    headers = response.headers
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"  # a lease's token may be in the path
    headers.setdefault("Content-Security-Policy", _API_POLICY)
    headers.setdefault("Cache-Control", "no-store")
    headers["X-Frame-Options"] = "DENY"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    if request.secure:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    headers.pop("Server", None)


async def read_in_time(request: web.Request) -> bytes:
    """Return the whole body of a request.

    Raises:
        HTTPRequestEntityTooLarge: It is longer than `http.max_body_kb`.
        Problem: It does not come.
    """
    if request.content.is_eof():  # it came with the head, as most do
        return await request.read()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError:
        raise Problem(408, "body_too_slow", f"the body did not come within {BODY_TIMEOUT_S:g} s") from None


class AccessLog(AbstractAccessLogger):
    """Writes an entry for each answer: at debug level where all went well, since heartbeats are many."""

    @property
    def enabled(self) -> bool:
        """Whether there is anything to write."""
        return True

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Write it; `time` is how long it took, in seconds."""
        (log.debug if response.status < web.HTTPBadRequest.status_code else log.info)(
            "http.request",
            method=request.method,
            path=shown_path(request),
            status=response.status,
            ms=round(time * 1000, 1),
            bytes=response.body_length,
            address=request.remote,
            request_id=request.get(REQUEST_ID, ""),
            **_who(request),
        )


def _who(request: web.BaseRequest) -> dict[str, str]:
    """Return whose request it was, as far as it is known: the token's name, the lease."""
    lease, identity = request.get(LEASE), request.get(IDENTITY)
    named = {"identity": identity.name} if identity is not None else {}
    return named | ({"lease_id": lease.request_id} if lease is not None else {})


def shown_path(request: web.BaseRequest) -> str:
    """Return the path of a request as logs show it: of the gateway, nothing that is the lease's token."""
    if isinstance(request, web.Request) and (route := route_of(request)) is not None and _GATEWAY in route.path:
        return f"{_GATEWAY}…"
    return request.path[:500]


class Crowd:
    """Keeps room for callers: of too many connections, those that have said nothing for longest are closed.

    Args:
        most: Connections that may be open; by default as many as this process may have files.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most if most is not None else _allow_files() - _OTHER_FILES
        self._busy: set[object] = set()
        self._task: asyncio.Task[None] | None = None

    def watch(self, server: web.Server) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._watch(server))

    async def close(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self, server: web.Server) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            self.thin_out(server.connections)

    def thin_out(self, connections: Iterable[web.RequestHandler]) -> int:
        """Close the oldest idle connections beyond the limit; return how many."""
        everybody = list(connections)
        idle = [each for each in everybody if each not in self._busy]
        surplus = idle[: max(len(everybody) - self._most, 0)]
        for connection in surplus:
            connection.close()
        if surplus:
            log.warning("http.crowded", closed=len(surplus), most=self._most)
        return len(surplus)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Know which connections have a request that is being answered."""
        self._busy.add(request.protocol)
        try:
            return await handler(request)
        finally:
            self._busy.discard(request.protocol)


def _allow_files() -> int:
    """Let this process have as many files as it may; return how many. The usual 1024 are soon taken by idle callers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return 65_536 if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
