"""Which headers go on to the container, which come back, and how they change on the way."""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiohttp import web
from multidict import CIMultiDict, MultiMapping

from pool.api.gateway.address import Address
from pool.models import ContainerInfo, GatewayRules

#: They concern one connection only; so do those that `Connection` names.
_HOP_BY_HOP = frozenset(
    {
        "connection", "http2-settings", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
        "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
#: Answered or set by us. Whatever a client says of who forwarded it is not to be believed.
_OURS = frozenset({"expect", "forwarded", "host", "origin", "referer", "x-real-ip"})
_FORWARDED = "x-forwarded-"
#: They speak for the whole origin, which is ours and not the container's.
_WHOLE_ORIGIN = frozenset(
    {
        "alt-svc", "clear-site-data", "nel", "public-key-pins", "report-to", "reporting-endpoints",
        "service-worker-allowed", "strict-transport-security",
    }
)  # fmt: skip
#: API tokens and lease tokens; never anybody else's.
_CREDENTIAL = re.compile(r"cp[lt]_[A-Za-z0-9_-]{16,}")
_ABSOLUTE = re.compile(r"(?:(?:https?|wss?):)?//(?P<authority>[^/?#]*)(?P<rest>.*)", re.IGNORECASE)
#: What a container answers with is somebody else's: it may run scripts, but not as this server's own pages.
_SANDBOX = "sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts"


@dataclass(frozen=True, slots=True)
class Target:
    """One port of a leased container.

    Attributes:
        authority: Where it is connected to, as host and port.
        port: The container port.
        host: What the Host header names.
    """

    info: ContainerInfo
    rules: GatewayRules
    authority: str
    port: int
    host: str

    @classmethod
    def of(cls, info: ContainerInfo, rules: GatewayRules, port: int, asked: str) -> Target:
        """Return a port of a container, for a client that sent the Host header `asked`."""
        authority = _authority(info.host, info.ports[port])
        host = {"target": authority, "original": asked}.get(rules.host_header, rules.host_header)
        return cls(info, rules, authority, port, host.replace("{port}", str(port)))

    @property
    def origin(self) -> str:
        """The target as an origin, under the name that it knows itself by."""
        return f"{self.rules.scheme}://{self.host}"


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def request_headers(request: web.Request, address: Address, target: Target) -> CIMultiDict[str]:
    """Return the headers that the container gets."""
    passed: CIMultiDict[str] = CIMultiDict({"Host": target.host})
    for name, value in _end_to_end(request.headers):
        plain = name.lower().replace("_", "-")  # servers of the CGI kind take one for the other
        if plain not in _OURS and not plain.startswith(_FORWARDED) and not _CREDENTIAL.search(value):
            passed.add(name, value)
    if (origin := request.headers.get("Origin")) is not None and target.rules.origin != "remove":
        passed["Origin"] = target.origin if target.rules.origin == "target" else origin
    if referer := _referer(request.headers.get("Referer", ""), address, target):
        passed["Referer"] = referer
    passed["X-Forwarded-For"] = request.remote or "unknown"
    passed["X-Forwarded-Proto"] = request.scheme
    passed["X-Forwarded-Host"] = request.host
    return passed


def _referer(value: str, address: Address, target: Target) -> str:
    """Return the page that a request came from as the container knows it: the prefix has the lease's token in it."""
    _, found, rest = value.partition(address.prefix)
    if found:
        value = f"{target.origin}{rest if rest.startswith('/') else f'/{rest}'}"
    return "" if _CREDENTIAL.search(value) else value


def response_headers(answered: MultiMapping[str], address: Address, target: Target) -> CIMultiDict[str]:
    """Return the headers that the client gets."""
    passed: CIMultiDict[str] = CIMultiDict()
    for name, value in _end_to_end(answered):
        plain = name.lower()
        if plain in ("location", "content-location"):
            passed.add(name, _outside(value, address, target))
        elif plain == "set-cookie":
            passed.add(name, _cookie(value, address))
        elif plain not in _WHOLE_ORIGIN:
            passed.add(name, value)
    passed["Referrer-Policy"] = "same-origin"  # our URLs have a secret in them
    if target.rules.sandbox:
        passed.add("Content-Security-Policy", _SANDBOX)
    return passed


def _end_to_end(headers: MultiMapping[str]) -> list[tuple[str, str]]:
    """Return the headers that are not about one connection only, repeated ones too, with values that can be written."""
    named = headers.getall("Connection", [])
    dropped = _HOP_BY_HOP | {name.strip().lower() for value in named for name in value.split(",")}
    # What frames the body is ours to keep: whoever names it there would have us send a body without its length.
    dropped -= {"content-length"}
    return [(name, _mended(value)) for name, value in headers.items() if name.lower() not in dropped]


def _mended(value: str) -> str:
    """Take bytes that are no UTF-8, which aiohttp reads as lone surrogates and would not write, for Latin-1."""
    if value.isascii():
        return value
    raw = value.encode("utf-8", "surrogateescape")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _outside(value: str, address: Address, target: Target) -> str:
    """Return a place in the container as clients reach it; what is elsewhere, or relative, stays as it is."""
    if found := _ABSOLUTE.fullmatch(value):
        prefix = _prefixes(address, target).get(found["authority"].lower())
        rest: str = found["rest"]
        return value if prefix is None else prefix + (rest if rest.startswith("/") else f"/{rest}")
    return address.prefix + value if value.startswith("/") else value


def _prefixes(address: Address, target: Target) -> dict[str, str]:
    """Return below which prefix clients reach each authority by which the container may know itself."""
    first = next(iter(target.info.ports))
    known = {}
    for inside, outside in target.info.ports.items():
        prefix = address.root if inside == first else f"{address.root}/_port/{inside}"
        known[_authority(target.info.host, outside).lower()] = prefix
    return known | {target.host.lower(): address.prefix}


def _cookie(value: str, address: Address) -> str:
    """Return a cookie for this container's part of our origin only, wherever the container wanted it sent."""
    pair, *attributes = value.split(";")
    path = address.target.split("?", 1)[0].rpartition("/")[0] or "/"
    kept = []
    for attribute in attributes:
        name, _, given = attribute.strip().partition("=")
        match name.strip().lower():
            case "domain":
                continue
            case "path":
                path = given.strip() if given.strip().startswith("/") else path
            case _:
                kept.append(attribute)
    return ";".join([pair, *kept, f" Path={address.prefix}{path}"])
