"""What this server has answered, for its metrics: never by whose call it was."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPMethod

from aiohttp import web

from pool.api.routing import Handler, route_of

#: As proxies write it that a caller left before it was answered.
_LEFT = 499
_METHODS = frozenset(HTTPMethod)


class Traffic:
    """Counts.

    Attributes:
        requests: Route, method and status → how many calls were answered.
        passed_on: Kind → how many calls are passed on to containers right now.
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self.passed_on: Counter[str] = Counter()

    @contextmanager
    def passing_on(self, kind: str) -> Iterator[None]:
        """Count a call that is passed on, for as long as the block lasts."""
        self.passed_on[kind] += 1
        try:
            yield
        finally:
            self.passed_on[kind] -= 1

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count what is answered."""
        try:
            response = await handler(request)
        except web.HTTPException as answer:
            self._count(request, answer.status)
            raise
        except asyncio.CancelledError:
            self._count(request, _LEFT)
            raise
        self._count(request, response.status)
        return response

    def _count(self, request: web.Request, status: int) -> None:
        """Count an answer by the route's template: what a caller may choose would be without end."""
        route = route_of(request)
        template = re.sub(r":[^}]*}", "}", route.path) if route is not None else "unknown"
        method = request.method if request.method in _METHODS else "other"
        self.requests[template, method, str(status)] += 1


#: Where a running application keeps them.
TRAFFIC = web.AppKey("traffic", Traffic)
