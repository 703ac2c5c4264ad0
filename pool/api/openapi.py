"""The OpenAPI 3.1 document, made of the table of routes and the models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from pool import __version__
from pool.api.problems import MEDIA
from pool.api.routing import Access, Operation, Route
from pool.api.schemas import LabelPath, ProblemModel

_REFERENCE = "#/components/schemas/{model}"
_JSON = "application/json"

_ABOUT = """\
Take a container of a pool, keep its lease alive with heartbeats, give it back.

- Times are RFC 3339 in UTC, durations seconds.
- Every error is a problem (RFC 9457) whose `code` is for programs and stays as it is. `retry_after_s`, also as
  `Retry-After`, says when asking again makes sense.
- `X-Request-Id` of a request is that of its answer and of the server's log.
"""

_TAGS = {
    "leases": "Taking containers, and holding them.",
    "requests": "What waits in the queue.",
    "pools": "How pools are.",
    "containers": "How containers are.",
    "operators": "What operators want of pools and containers; an operator's token is needed.",
    "events": "What happens, and what was done.",
    "service": "How this server is.",
}

_SECURITY: Mapping[Access, list[dict[str, list[str]]]] = {
    Access.PUBLIC: [],
    Access.LEASE: [{"lease": []}],
    Access.CLIENT: [{"token": []}, {}],
    Access.OPERATOR: [{"token": []}, {}],
}

_PROBLEMS = {
    400: "The request cannot be read.",
    401: "The token is missing, or not valid.",
    403: "The token is not good for this.",
    404: "There is no such thing.",
    408: "The body does not come.",
    409: "It is not in a state that allows this, or belongs to somebody else.",
    410: "It has ended.",
    413: "The body is too long.",
    415: "The body is of another kind.",
    421: "The Host header names another server.",
    422: "A field is wrong; `field`, `value` and `allowed` say which.",
    429: "That would be over a limit; ask again later.",
    502: "The container engine failed.",
    503: "Not now; ask again later.",
    504: "The container engine took too long.",
}


def describe(routes: Iterable[Route], *, server: str = "/") -> dict[str, Any]:
    """Return the document.

    Args:
        routes: The table; what has no operation is left out.
        server: Base URL of the routes.
    """
    described = [(route, route.operation) for route in routes if route.operation is not None]
    models = _models(operation for _, operation in described)
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for route, operation in described:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, operation)
    used = {operation.tag for _, operation in described}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Container pool",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": server}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items() if name in used],
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API token, of `poolctl token create`. None is needed while none was ever made.",
                },
                "lease": {"type": "http", "scheme": "bearer", "description": "The `token` of a lease."},
            },
        },
    }


def _models(operations: Iterable[Operation]) -> list[type[BaseModel]]:
    found: dict[type[BaseModel], None] = {ProblemModel: None}
    for operation in operations:
        replies = [reply.model for reply in operation.replies.values()]
        found |= dict.fromkeys(model for model in (operation.body, *replies) if model is not None)
    return list(found)


def _operation(route: Route, operation: Operation) -> dict[str, Any]:
    document: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "security": _SECURITY[route.access],
    }
    if operation.about:
        document["description"] = operation.about
    if parameters := _parameters(route, operation):
        document["parameters"] = parameters
    if operation.body is not None:
        document["requestBody"] = {
            "required": any(field.is_required() for field in operation.body.model_fields.values())
            or route.access is not Access.OPERATOR,
            "content": {_JSON: _content(operation.body)},
        }
    document["responses"] = _responses(route, operation)
    return document


def _content(model: type[BaseModel]) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": _REFERENCE.format(model=_name(model))}}
    extra = model.model_config.get("json_schema_extra")
    if isinstance(extra, dict) and isinstance(examples := extra.get("examples"), list):
        content["examples"] = {f"example{number}": {"value": value} for number, value in enumerate(examples, 1)}
    return content


def _name(model: type[BaseModel]) -> str:
    """Return a model's name among the components, which is that of its class."""
    return model.__name__


def _parameters(route: Route, operation: Operation) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": operation.path.get(name, ""),
            "schema": _PATH.get(name, {"type": "string", "minLength": 1, "maxLength": 200}),
        }
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    if operation.query is not None:
        schema = operation.query.model_json_schema(ref_template=_REFERENCE)
        for name, option in schema.get("properties", {}).items():
            shape = {key: value for key, value in option.items() if key not in ("description", "title")}
            parameters.append(
                {"name": name, "in": "query", "description": option["description"], "schema": _plain(shape)}
            )
    parameters += [
        {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}
        for name, text in operation.headers.items()
    ]
    return parameters


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter that may be left out: a query cannot say null."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if not kinds:
        return schema
    shape: dict[str, Any] = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    shape |= kinds[0]
    return shape


def _responses(route: Route, operation: Operation) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, reply in operation.replies.items():
        response: dict[str, Any] = {"description": reply.text, "headers": {"X-Request-Id": _TEXT_HEADER}}
        response["headers"] |= {
            name: {"description": text, "schema": {"type": "string"}} for name, text in reply.headers.items()
        }
        if reply.model is not None:
            response["content"] = {_JSON: {"schema": {"$ref": _REFERENCE.format(model=_name(reply.model))}}}
        elif reply.media:
            response["content"] = {reply.media: {"schema": {"type": "string"}}}
        if links := operation.links.get(status):
            response["links"] = dict(links)
        responses[str(status)] = response
    for status in sorted(_problems(route, operation)):
        responses[str(status)] = _problem(status)
    return responses


def _problems(route: Route, operation: Operation) -> set[int]:
    """Return the statuses of the problems that a route can answer with."""
    statuses = set(operation.problems) | {400, 421}
    if operation.body is not None:
        statuses |= {408, 413, 415, 422}
    if operation.query is not None or "{" in route.path or route.access is Access.CLIENT:
        statuses.add(422)
    if route.access is not Access.PUBLIC:
        statuses |= {401, 403, 429, 503}
    return statuses


_PATH: Mapping[str, dict[str, Any]] = LabelPath.model_json_schema()["properties"]
_TEXT_HEADER = {"description": "Names the request.", "schema": {"type": "string"}}


def _problem(status: int) -> dict[str, Any]:
    headers: dict[str, Any] = {"X-Request-Id": _TEXT_HEADER}
    if status in (429, 503):
        headers["Retry-After"] = {"description": "Seconds.", "schema": {"type": "string"}}
    if status == 401:
        headers["WWW-Authenticate"] = {"description": "How to authenticate.", "schema": {"type": "string"}}
    schema = {"$ref": _REFERENCE.format(model=_name(ProblemModel))}
    return {"description": _PROBLEMS[status], "headers": headers, "content": {MEDIA: {"schema": schema}}}
