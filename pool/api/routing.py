"""The table of routes, from which router, authentication and OpenAPI are made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from aiohttp import web
from pydantic import BaseModel

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Access(StrEnum):
    """Who may use a route."""

    PUBLIC = "public"  #: Everybody.
    LEASE = "lease"  #: Whoever holds the lease, by its token in the Authorization header.
    CLIENT = "client"  #: Whoever has an API token.
    OPERATOR = "operator"  #: Whoever has an API token of an operator.


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of a route.

    Attributes:
        text: What it means.
        model: Its JSON; None for no body, or one of another kind.
        media: Media type of its body where that is not JSON.
        headers: Name of each header that it has → what it says.
    """

    text: str
    model: type[BaseModel] | None = None
    media: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """What OpenAPI says of a route.

    Attributes:
        name: Its unique name.
        tag: The group that it is shown in.
        summary: What it does, in a few words.
        about: What else there is to know.
        path: Name of each placeholder in the path → what it stands for.
        query: The parameters of its query.
        headers: Name of each header that it reads → what it says.
        body: What it takes as JSON.
        replies: Its answers by status.
        problems: Statuses of its problems, beside those that its kind of route always has.
        links: For each reply by status, the operations that go on with what it gave, as OpenAPI writes them.
    """

    name: str
    tag: str
    summary: str
    replies: Mapping[int, Reply]
    about: str = ""
    path: Mapping[str, str] = field(default_factory=dict)
    query: type[BaseModel] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: type[BaseModel] | None = None
    problems: tuple[int, ...] = ()
    links: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route:
    """One entry of the table; without an operation it is not in the OpenAPI document.

    Attributes:
        without_redis: Whether it answers everybody while Redis is away, when nobody can be authenticated. Its handler
            then finds no identity, and must not say more than anybody may know.
    """

    method: str
    path: str
    handler: Handler
    access: Access
    operation: Operation | None = None
    without_redis: bool = False


class Routes:
    """The table."""

    def __init__(self) -> None:
        self._routes: list[Route] = []
        self._by_resource: dict[object, Route] = {}

    def add(
        self,
        method: str,
        path: str,
        handler: Handler,
        *,
        access: Access,
        operation: Operation | None = None,
        without_redis: bool = False,
    ) -> None:
        """Add a route.

        Args:
            method: GET, POST, DELETE, or `*` for all.
            path: As aiohttp writes it, such as `/v1/pools/{pool}`.
            handler: What answers.
            access: Who may use it.
            operation: What OpenAPI says of it; None to leave it out there.
            without_redis: Whether it answers everybody while Redis is away.
        """
        self._routes.append(Route(method, path, handler, access, operation, without_redis))

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def register(self, app: web.Application) -> None:
        """Make aiohttp's router of the table."""
        for route in self._routes:
            self._by_resource[app.router.add_route(route.method, route.path, route.handler)] = route

    def of(self, request: web.Request) -> Route | None:
        """Return the route of a request; None where there is none, and the answer will be 404 or 405."""
        return self._by_resource.get(request.match_info.route)


#: Where a running application keeps its table.
ROUTES = web.AppKey("routes", Routes)


def route_of(request: web.Request) -> Route | None:
    """Return the route of a request; None where there is none, and the answer will be 400, 404 or 405."""
    if request._match_info is None:  # noqa: SLF001 - it could not be parsed, and what is public would say so by a crash
        return None
    return request.app[ROUTES].of(request)
