"""All routes as Markdown; `python -m pool.api.reference > docs/api-reference.md` renews the page."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from pool.api.openapi import describe
from pool.api.routes import add_all
from pool.api.routing import Routes

_HEAD = """\
# All routes

Made of the OpenAPI document that a server gives at `/openapi.json`, by
`python -m pool.api.reference > docs/api-reference.md`. [api.md](api.md) explains what belongs together.

## Problems

What is not as it should be is answered by a problem (RFC 9457), whose `code` says more than its status:
[errors.md](errors.md) lists the codes. Each route below names the statuses that it can have.
"""

_WHO = {
    "lease": "the lease's token",
    "token": "an API token",
    "": "none",
}
_PROBLEM = "application/problem+json"


def render_reference() -> str:
    """Return the reference of all routes as Markdown."""
    routes = Routes()
    add_all(routes)
    document = describe(routes)
    lines = [_HEAD, *_problems(document), *_groups(document), "## What is sent and answered\n", *_schemas(document)]
    return "\n".join(lines).rstrip() + "\n"


def _problems(document: Mapping[str, Any]) -> Iterator[str]:
    """Write what each status of a problem means, once for all routes."""
    yield "| status | means |\n|---|---|"
    texts = {
        status: response["description"]
        for methods in document["paths"].values()
        for operation in methods.values()
        for status, response in operation["responses"].items()
        if _PROBLEM in response.get("content", {})
    }
    yield from (f"| {status} | {_cell(text)} |" for status, text in sorted(texts.items()))
    yield ""


def _groups(document: Mapping[str, Any]) -> Iterator[str]:
    for tag in document["tags"]:
        yield f"## {tag['name'].capitalize()}\n"
        yield f"{tag['description']}\n"
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if tag["name"] in operation["tags"]:
                    yield from _operation(f"{method.upper()} {path}", operation)


def _operation(name: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"### `{name}`\n"
    summary = operation["summary"].rstrip(".")
    who = _WHO[next((kind for entry in operation["security"] for kind in entry), "")]
    yield f"{summary}. Authorization: {who}.\n"
    if about := operation.get("description"):
        yield f"{_filled(about)}\n"
    body = operation.get("requestBody")
    if body is not None:
        yield f"Takes {_link(body['content']['application/json']['schema'])} as JSON.\n"
    if parameters := operation.get("parameters"):
        yield "| parameter | in | type | meaning |\n|---|---|---|---|"
        for parameter in parameters:
            kind = _type(parameter["schema"])
            yield f"| `{parameter['name']}` | {parameter['in']} | {kind} | {_cell(parameter['description'])} |"
        yield ""
    yield "| status | answer |\n|---|---|"
    answers = sorted(operation["responses"].items())
    problems = [status for status, response in answers if _PROBLEM in response.get("content", {})]
    yield from (f"| {status} | {_answer(response)} |" for status, response in answers if status not in problems)
    yield f"| {', '.join(problems)} | a problem |\n"


def _answer(response: Mapping[str, Any]) -> str:
    text = _cell(response["description"])
    for media, content in response.get("content", {}).items():
        if media == "application/json":
            return f"{text} {_link(content['schema'])}"
        return f"{text} `{media}`"
    return text


def _schemas(document: Mapping[str, Any]) -> Iterator[str]:
    """Write a table for each model, and its first example. Only of what is sent may fields be left out."""
    taken = {_ref(content["schema"]) for content in _bodies(document)}
    for name, schema in document["components"]["schemas"].items():
        yield f"### {name} object\n"
        if about := schema.get("description"):
            yield f"{_filled(about)}\n"
        if properties := schema.get("properties"):
            yield "| field | type | meaning |\n|---|---|---|"
            for field, option in properties.items():
                needed = " Required." if name in taken and field in schema.get("required", ()) else ""
                yield f"| `{field}` | {_type(option)} | {_cell(option.get('description', ''))}{needed} |"
            yield ""
        for example in schema.get("examples", ())[:1]:
            yield f"```json\n{json.dumps(example, indent=2, ensure_ascii=False)}\n```\n"


def _type(schema: Mapping[str, Any]) -> str:
    """Say in a few words what a value is: its kind, its bounds, its default."""
    said = _kind(schema)
    least, most = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    if least is not None:
        said += f" {'≥' if 'minimum' in schema else '>'} {least:g}"
    if most is not None:
        said += f"{',' if least is not None else ''} ≤ {most:g}"
    if schema.get("default") is not None:
        said += f"; default `{json.dumps(schema['default'])}`"
    return said


def _kind(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return _link(schema)
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(_type(kind) for kind in schema[several])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"mapping to {_type(schema['additionalProperties'])}"
    kind = str(schema.get("type", "anything"))
    return {"string": "text", "boolean": "true, false"}.get(kind, kind)


def _bodies(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for methods in document["paths"].values():
        for operation in methods.values():
            yield from operation.get("requestBody", {}).get("content", {}).values()


def _ref(schema: Mapping[str, Any]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _link(schema: Mapping[str, Any]) -> str:
    name = _ref(schema)
    return f"[{name}](#{name.lower()}-object)" if name else _kind(schema)


def _filled(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 120, break_on_hyphens=False)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(render_reference())
