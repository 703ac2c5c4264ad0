"""What a request says: its body, its query, its lease; and what is wrong with it, field by field."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from pool.allocator import ALLOWED
from pool.api.gate import LEASE
from pool.api.problems import Problem
from pool.api.security import read_in_time
from pool.errors import InvalidRequest
from pool.models import LeaseRef

M = TypeVar("M", bound=BaseModel)

_JSON = "application/json"


async def read_body(request: web.Request, model: type[M]) -> M:
    """Return the JSON body of a request.

    Raises:
        Problem: It is no JSON, or does not come.
        InvalidRequest: It is not what the route takes; names the field.
    """
    raw = await read_in_time(request)
    if request.content_type != _JSON:
        given = request.content_type if "Content-Type" in request.headers else "none"
        raise Problem(415, "media_type_unsupported", f"the body is {given}, not {_JSON}", allowed=_JSON)
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        if fault["type"] == "json_invalid":
            raise Problem(400, "json_malformed", f"the body is no JSON: {fault['ctx']['error']}") from None
        raise _refusal(error, model) from None


async def read_optional_body(request: web.Request, model: type[M]) -> M:
    """Return the JSON body of a request that may have none; see `read_body`."""
    if request.body_exists and await read_in_time(request):
        return await read_body(request, model)
    return model()


def read_query(request: web.Request, model: type[M]) -> M:
    """Return the parameters of a request's query.

    Raises:
        InvalidRequest: One is unknown, stands there twice, or is not what the route takes.
    """
    query = request.query
    for name in query:
        if len(query.getall(name)) > 1:
            raise InvalidRequest(name, query.getall(name), "give it once")
    try:
        return model.model_validate(dict(query))
    except ValidationError as error:
        raise _refusal(error, model) from None


def read_path(request: web.Request, model: type[M]) -> M:
    """Return what the placeholders of a path stand for.

    Raises:
        InvalidRequest: One is not what the route takes.
    """
    try:
        return model.model_validate(dict(request.match_info))
    except ValidationError as error:
        raise _refusal(error, model) from None


def lease_of(request: web.Request) -> LeaseRef:
    """Return the lease that the path names and whose token the request carries. Whether it holds, Redis says.

    Raises:
        Problem: The token is another lease's.
    """
    ref = request[LEASE]
    if not hmac.compare_digest(ref.request_id.encode(), request.match_info["id"].encode()):
        raise Problem(403, "lease_token_mismatch", "the token is that of another lease than the path names")
    return ref


def _refusal(error: ValidationError, model: type[BaseModel]) -> InvalidRequest:
    """Return the first fault as an error that names the field, what stands there and what may."""
    fault = error.errors(include_url=False)[0]
    at, known = fault["loc"], ", ".join(model.model_fields)
    if fault["type"] == "extra_forbidden" and len(at) == 1:
        return InvalidRequest(str(at[0]), _shown(fault["input"]), f"there is no such field; use {known or 'none'}")
    if fault["type"] == "missing":
        return InvalidRequest(_path(at), None, "this field is needed")
    return InvalidRequest(_path(at) or "body", _shown(fault["input"]), ALLOWED.get(_path(at)) or _lowered(fault["msg"]))


def _path(at: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in at)


def _lowered(message: str) -> str:
    return message[:1].lower() + message[1:]


def _shown(value: Any) -> Any:
    """Return a value as far as it is needed to recognise it."""
    if isinstance(value, str | list | dict) and len(value) > 60:
        return f"{str(value)[:60]}…"
    return value
