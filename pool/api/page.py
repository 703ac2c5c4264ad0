"""The OpenAPI document as a page to read. It needs no script, no network and nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from html import escape
from typing import Any

_STYLE = """\
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
code, pre { font: 14px/1.4 ui-monospace, monospace; }
pre { background: var(--soft); border-radius: 6px; overflow-x: auto; padding: .7rem; }
h1 { font-size: 1.7rem; } h2 { border-bottom: 1px solid var(--line); margin-top: 2.5rem; } h3 { margin: 0; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .6rem 0; padding: .5rem .8rem; }
summary { cursor: pointer; } summary h3 { display: inline; font-size: 1rem; font-weight: normal; }
.verb { display: inline-block; font-weight: bold; min-width: 4.5rem; }
.who { color: #777; float: right; font-size: .85rem; }
table { border-collapse: collapse; margin: .5rem 0; width: 100%; }
td, th { border-bottom: 1px solid var(--line); padding: .25rem .6rem .25rem 0; text-align: left; vertical-align: top; }
"""

_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
#: What a browser may do with the page: show it.
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def render(document: dict[str, Any]) -> str:
    """Return the page."""
    return "\n".join(_page(document))


def _page(document: dict[str, Any]) -> Iterator[str]:
    info = document["info"]
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(info['title'])}: API</title><style>{_STYLE}</style></head><body>"
    yield f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>"
    yield from _paragraphs(info["description"])
    yield '<p>For programs: <a href="openapi.json">openapi.json</a> (OpenAPI 3.1).</p>'
    for tag in document["tags"]:
        yield f'<h2 id="{escape(tag["name"])}">{escape(tag["name"])}</h2><p>{escape(tag["description"])}</p>'
        for path, verbs in document["paths"].items():
            for verb, operation in verbs.items():
                if operation["tags"] == [tag["name"]]:
                    yield from _operation(path, verb, operation)
    yield "<h2>Schemas</h2>"
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield f'<details id="{escape(name)}"><summary><h3><code>{escape(name)}</code></h3></summary>'
        yield f"<p>{escape(schema.get('description', ''))}</p>"
        yield from _properties(schema)
        yield "</details>"
    yield "</body></html>"


def _paragraphs(text: str) -> Iterator[str]:
    for part in text.strip().split("\n\n"):
        lines = part.split("\n- ")
        yield f"<p>{_code(lines[0].removeprefix('- '))}</p>" if len(lines) == 1 else "<ul>"
        if len(lines) > 1:
            yield from (f"<li>{_code(line.removeprefix('- '))}</li>" for line in lines)
            yield "</ul>"


def _code(text: str) -> str:
    """Return text as HTML, what stands between backticks as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))


def _operation(path: str, verb: str, operation: dict[str, Any]) -> Iterator[str]:
    who = [scheme for need in operation["security"] for scheme in need]
    yield f'<details id="{escape(operation["operationId"])}"><summary>'
    yield f'<h3><span class="verb">{escape(verb.upper())}</span>'
    yield f"<code>{escape(path)}</code> {_code(operation['summary'])}</h3>"
    yield f'<span class="who">{escape(", ".join(who) or "everybody")}</span></summary>'
    if about := operation.get("description"):
        yield f"<p>{_code(about)}</p>"
    if parameters := operation.get("parameters"):
        yield "<table><tr><th>parameter</th><th>in</th><th>type</th><th></th></tr>"
        for one in parameters:
            cells = (f"<code>{escape(one['name'])}</code>", escape(one["in"]), _type(one["schema"]))
            yield f"<tr>{''.join(f'<td>{cell}</td>' for cell in (*cells, _code(one['description'])))}</tr>"
        yield "</table>"
    if body := operation.get("requestBody"):
        content = body["content"]["application/json"]
        yield f"<p>Body: {_type(content['schema'])}</p>"
        for example in content.get("examples", {}).values():
            yield f"<pre>{escape(json.dumps(example['value'], indent=2))}</pre>"
    yield "<table><tr><th>status</th><th></th><th>body</th></tr>"
    for status, reply in operation["responses"].items():
        bodies = (
            f"{_type(content['schema'])} ({escape(media)})" for media, content in reply.get("content", {}).items()
        )
        yield f"<tr><td>{escape(status)}</td><td>{_code(reply['description'])}</td><td>{', '.join(bodies)}</td></tr>"
    yield "</table></details>"


def _properties(schema: dict[str, Any]) -> Iterator[str]:
    yield "<table><tr><th>field</th><th>type</th><th></th></tr>"
    for name, option in schema.get("properties", {}).items():
        needed = (
            ""
            if name in schema.get("required", ())
            else f", default <code>{escape(json.dumps(option.get('default')))}</code>"
        )
        about = _code(option.get("description", ""))
        yield f"<tr><td><code>{escape(name)}</code></td><td>{_type(option)}{needed}</td><td>{about}</td></tr>"
    yield "</table>"


def _type(schema: dict[str, Any]) -> str:
    """Return a schema in a few words."""
    if reference := schema.get("$ref"):
        name = escape(reference.rsplit("/", 1)[1])
        return f'<a href="#{name}">{name}</a>'
    if kinds := schema.get("anyOf"):
        return " or ".join(_type(kind) for kind in kinds)
    if values := schema.get("enum"):
        return " or ".join(f"<code>{escape(str(value))}</code>" for value in values)
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("type") == "object" and isinstance(inner := schema.get("additionalProperties"), dict):
        return f"map to {_type(inner)}"
    limits = [f"{sign} {schema[name]:g}" for name, sign in _BOUNDS.items() if name in schema]
    return " ".join([escape(str(schema.get("type", "anything"))), *limits])


_BOUNDS = {"minimum": "≥", "maximum": "≤", "exclusiveMinimum": "&gt;"}
