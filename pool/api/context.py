"""Every request has an id, which its answer and whatever is logged meanwhile carry."""

from __future__ import annotations

import re
import secrets

import structlog
from aiohttp import web

from pool.api.problems import REQUEST_ID
from pool.api.routing import Handler

HEADER = "X-Request-Id"
_USABLE = re.compile(r"[A-Za-z0-9._-]{1,64}")


@web.middleware
async def request_ids(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Take the id that the client gives, if it is one, or make one."""
    given = request.headers.get(HEADER, "")
    request_id = given if _USABLE.fullmatch(given) else secrets.token_hex(8)
    request[REQUEST_ID] = request_id
    with structlog.contextvars.bound_contextvars(request_id=request_id):
        response = await handler(request)
    if not response.prepared:
        response.headers[HEADER] = request_id
    return response
