"""What goes wrong, as RFC 9457 says it: one table from error to status, and the middleware that applies it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import structlog
from aiohttp import web

from pool.api.routing import Handler
from pool.errors import (
    AccessDenied,
    AlreadyReleased,
    ClientClosed,
    ConfigError,
    ContainerChanged,
    EngineError,
    EngineTimeout,
    ExtensionDenied,
    ForbiddenTransition,
    GatewayError,
    GatewayOff,
    InvalidRequest,
    LeaseError,
    LeaseLimitReached,
    LeaseLost,
    OwnerLeaseLimitReached,
    OwnerQueueFull,
    PoolError,
    PortUnknown,
    QueueFull,
    Refused,
    RequestConflict,
    RequirementsUnmet,
    StoreError,
    TargetTimeout,
    TooManyConnections,
    TooManyFailures,
    Unauthenticated,
    UnknownContainer,
    UnknownPool,
    UnknownRequest,
    WrongState,
)
from pool.redaction import redact
from pool.telemetry import escape

log = structlog.get_logger()

MEDIA = "application/problem+json"
#: Set by the outermost middleware; see `server.py`.
REQUEST_ID = web.RequestKey("request_id", str)

#: The status of each kind of error; a kind that is not here has that of the nearest one above it in the tree.
STATUS: Mapping[type[PoolError], int] = MappingProxyType(
    {
        PoolError: 500,
        ConfigError: 500,
        InvalidRequest: 422,
        UnknownPool: 404,
        UnknownContainer: 404,
        UnknownRequest: 404,
        RequestConflict: 409,
        RequirementsUnmet: 422,
        Refused: 503,
        QueueFull: 429,
        OwnerQueueFull: 429,
        LeaseLimitReached: 429,
        OwnerLeaseLimitReached: 429,
        LeaseError: 409,
        ExtensionDenied: 409,
        LeaseLost: 409,
        AlreadyReleased: 409,
        TooManyConnections: 429,
        GatewayError: 502,
        GatewayOff: 404,
        PortUnknown: 404,
        TargetTimeout: 504,
        AccessDenied: 403,
        Unauthenticated: 401,
        TooManyFailures: 429,
        WrongState: 409,
        ContainerChanged: 409,
        ForbiddenTransition: 409,
        ClientClosed: 503,
        StoreError: 503,
        EngineError: 502,
        EngineTimeout: 504,
    }
)

#: When to ask again where the error does not say, for statuses with which asking again makes sense.
_RETRY_AFTER_S = {503: 1.0, 502: 5.0, 504: 5.0}


class Problem(Exception):
    """What is wrong with a request before the pool is asked; raise it in a handler or middleware.

    Args:
        status: Of the answer.
        code: For programs.
        detail: What happened.
        hint: What the client can do about it.
        headers: Further headers of the answer.
        facts: Further members of the problem, such as `field`, `allowed` or `retry_after_s`.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        hint: str = "",
        headers: Mapping[str, str] | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.hint = hint
        self.headers = dict(headers or {})
        self.facts = facts


def status_of(kind: type[PoolError]) -> int:
    """Return the status of a kind of error."""
    return next(STATUS[above] for above in kind.__mro__ if above in STATUS)


def of_error(error: PoolError) -> Problem:
    """Return what an error of the pool is to a client."""
    status = status_of(type(error))
    facts: dict[str, Any] = {}
    if isinstance(error, InvalidRequest):
        facts = {"field": error.field, "value": redact(str(error.value))[:100], "allowed": error.allowed}
    wait = error.retry_after_s if isinstance(error, Refused | TooManyFailures) else _RETRY_AFTER_S.get(status)
    headers = {"WWW-Authenticate": 'Bearer realm="containerpool"'} if isinstance(error, Unauthenticated) else {}
    if wait is not None:
        facts["retry_after_s"] = round(wait, 3)
    return Problem(status, error.code, error.message, hint=error.hint, headers=headers, **facts)


def problem_response(request: web.Request, problem: Problem) -> web.Response:
    """Return the answer to a request that a problem amounts to."""
    body: dict[str, Any] = {
        "type": f"urn:containerpool:problem:{problem.code}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": escape(redact(problem.detail)),
        "code": problem.code,
    }
    if problem.hint:
        body["hint"] = problem.hint
    body |= problem.facts
    body["request_id"] = request.get(REQUEST_ID, "")
    headers = dict(problem.headers)
    if (wait := problem.facts.get("retry_after_s")) is not None:
        headers.setdefault("Retry-After", str(max(math.ceil(wait), 1)))
    return web.Response(status=problem.status, body=json.dumps(body).encode(), content_type=MEDIA, headers=headers)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error as a problem; only one that is a bug of ours is logged with its traceback."""
    try:
        return await handler(request)
    except Problem as problem:
        return problem_response(request, problem)
    except PoolError as error:
        return problem_response(request, of_error(error))
    except web.HTTPException as answer:
        if answer.status < HTTPStatus.BAD_REQUEST:
            raise
        return problem_response(request, _of_aiohttp(request, answer))
    except Exception:  # the last resort: a client never sees a traceback, the log does
        log.exception("http.failed", method=request.method, path=request.path)
        return problem_response(request, Problem(500, "internal_error", "the server failed; its log says why"))


def _of_aiohttp(request: web.Request, answer: web.HTTPException) -> Problem:
    """Return what aiohttp's own refusals are to a client."""
    match answer:
        case web.HTTPNotFound():
            return Problem(404, "route_unknown", f"there is nothing at {request.path}", hint="see /docs")
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(answer.allowed_methods))
            detail = f"{request.method} is not possible at {request.path}; {allowed} is"
            return Problem(405, "method_not_allowed", detail, headers={"Allow": allowed}, allowed=allowed)
        case web.HTTPRequestEntityTooLarge():
            return Problem(413, "body_too_large", "the body is longer than http.max_body_kb allows")
    return Problem(answer.status, "http_error", answer.reason)
