"""The URL of a Redis: one server, a master that Sentinels watch, or a Cluster. Parsed for file and client alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

Mode = Literal["server", "sentinel", "cluster"]

#: More copies than anybody keeps; a larger number is a slip.
MOST_REPLICAS = 32

_SCHEMES: dict[str, Mode] = {
    "redis": "server", "rediss": "server", "unix": "server",
    "redis+sentinel": "sentinel", "rediss+sentinel": "sentinel",
    "redis+cluster": "cluster", "rediss+cluster": "cluster",
}  # fmt: skip
_FORMS = {
    "server": "redis://[user:password@]host[:6379][/db]",
    "sentinel": "redis+sentinel://[user:password@]host[:26379],host[:26379]/service[/db]",
    "cluster": "redis+cluster://[user:password@]host[:6379],host[:6379]",
}
_PORTS: dict[Mode, int] = {"server": 6379, "sentinel": 26379, "cluster": 6379}
_TLS = {
    "ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile", "ssl_keyfile", "ssl_password", "ssl_check_hostname",
}  # fmt: skip
_SENTINEL = {"sentinel_username", "sentinel_password"}


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """Where to connect, and how.

    Attributes:
        mode: One server, Sentinels, or a Cluster.
        scheme: `redis`, `rediss` or `unix`: how each single server is reached.
        nodes: Host and port of the server, of each Sentinel, or of some nodes of the Cluster; none for `unix`.
        path: The socket of a `unix` server.
        service: What the Sentinels call the master.
        options: The query, without what is ours.
        wait_replicas: How many replicas must have what is promised.
    """

    mode: Mode
    scheme: str
    nodes: tuple[tuple[str, int], ...]
    path: str = ""
    service: str = ""
    db: int = 0
    wait_replicas: int = 0
    options: dict[str, str] = field(default_factory=dict)
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    sentinel_username: str = field(default="", repr=False)
    sentinel_password: str = field(default="", repr=False)

    def server_url(self, host: str = "", port: int = 0) -> str:
        """Return the plain URL of one server that holds data; without a host, of the only one."""
        place = (
            f"{quote(self.path)}" if self.scheme == "unix" else _place(host, port) if host else _place(*self.nodes[0])
        )
        return f"{self.scheme}://{_login(self.username, self.password)}{place}?{urlencode(self._query())}"

    def sentinel_url(self, host: str, port: int) -> str:
        """Return the plain URL of one Sentinel."""
        login = _login(self.sentinel_username, self.sentinel_password)
        return f"{self.scheme}://{login}{_place(host, port)}?{urlencode(self.options)}"

    def _query(self) -> dict[str, str]:
        return self.options | ({"db": str(self.db)} if self.db else {})


def parse_redis_url(url: str) -> RedisUrl:
    """Take a URL apart.

    Raises:
        ValueError: It is none that the pool can use; says what is allowed, and shows no password.

    >>> found = parse_redis_url("redis+sentinel://:pw@a:1,b/main/2?wait_replicas=1")
    >>> found.nodes, found.service, found.db, found.wait_replicas
    ((('a', 1), ('b', 26379)), 'main', 2, 1)
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        names = [f"{name}://" for name in _SCHEMES]
        raise ValueError(f"use a URL that begins with {', '.join(names[:-1])} or {names[-1]}")
    mode = _SCHEMES[scheme]
    try:
        parts = urlsplit(url)
        login, _, hosts = parts.netloc.rpartition("@")
        path = unquote(parts.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ValueError("it is no URL; percent-encode what is special in a user or password") from None
    username, _, password = (unquote(part) for part in login.partition(":"))
    wait_replicas = _wait_replicas(query)
    own = {key: query.pop(key) for key in sorted(_SENTINEL & query.keys())} if mode == "sentinel" else {}
    db, service, socket = _database(query.pop("db", None)), "", ""
    if scheme == "unix":
        socket = path
    elif mode == "sentinel":
        service, _, tail = path.removeprefix("/").partition("/")
        db = _database(tail) or db
    else:
        db = _database(path.removeprefix("/")) or db
    _check(scheme, mode, query, hosts=hosts, db=db, place=service if mode == "sentinel" else socket)
    nodes = () if scheme == "unix" else _nodes(hosts, mode)
    return RedisUrl(
        mode, scheme.partition("+")[0], nodes, path=socket, service=service, db=db, wait_replicas=wait_replicas,
        options=query, username=username, password=password, **own,
    )  # fmt: skip


def _check(scheme: str, mode: Mode, query: dict[str, str], *, hosts: str, db: int, place: str) -> None:
    """Refuse what a URL of this kind cannot say."""
    if mode == "cluster" and db:
        raise ValueError("a Cluster has only database 0")
    if mode == "sentinel" and not place:
        raise ValueError(f"name the service that the Sentinels watch: {_FORMS[mode]}")
    if scheme == "unix" and (hosts or not place.startswith("/")):
        raise ValueError("give the path of a socket: unix:///path/to/redis.sock")
    known = {"client_name"} | (_TLS if scheme.startswith("rediss") else set())
    if unknown := sorted(query.keys() - known):
        allowed = known | {"wait_replicas"} | ({"db"} if mode != "cluster" else set())
        allowed |= _SENTINEL if mode == "sentinel" else set()
        raise ValueError(f"the parameter {unknown[0]!r} is not known; use {', '.join(sorted(allowed))}")


def _wait_replicas(query: dict[str, str]) -> int:
    text = query.pop("wait_replicas", "0")
    if not text.isdecimal() or int(text) > MOST_REPLICAS:
        raise ValueError(f"wait_replicas is a number from 0 to {MOST_REPLICAS}")
    return int(text)


def _database(text: str | None) -> int:
    if not text:
        return 0
    if not text.isdecimal():
        raise ValueError("the database is a number, such as /0")
    return int(text)


def _nodes(hosts: str, mode: Mode) -> tuple[tuple[str, int], ...]:
    found = []
    entries = hosts.split(",")
    if mode == "server" and len(entries) > 1:
        raise ValueError(f"several hosts are for {_FORMS['sentinel']} or {_FORMS['cluster']}")
    for entry in entries:
        try:
            parts = urlsplit(f"//{entry}")
            host, port = parts.hostname, parts.port or _PORTS[mode]
        except ValueError:
            raise ValueError(f"a port is a number from 1 to 65535: {_FORMS[mode]}") from None
        if not host and mode != "server":
            raise ValueError(f"a host is missing: {_FORMS[mode]}")
        found.append((unquote(host or "localhost"), port))
    return tuple(found)


def _login(username: str, password: str) -> str:
    return f"{quote(username, safe='')}:{quote(password, safe='')}@" if username or password else ""


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{quote(host)}:{port}"
