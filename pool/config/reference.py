"""The options as Markdown; `python -m pool.config.reference > docs/configuration.md` renews the page."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from pool.config.root import Config

_HEAD = """\
# Configuration

One YAML file describes one deployment. `config/pool.yaml` shows every option in use, `config/demo.yaml` is a small one
that runs anywhere. Unknown keys, duplicate keys and values out of range are refused with the path of each fault.

- `${NAME}` stands for an environment variable, `${NAME:-default}` for one that may be unset or empty, `$$` for a `$`.
  An empty text means `null` where `null` is allowed.
- Durations end in `_s` and are seconds. Sizes are bytes, or text such as `64k`, `512m`, `2g`.
- `poolctl config check FILE` validates a file, `poolctl config show FILE` prints it with all defaults and without
  secrets, `poolctl config schema` prints the JSON Schema for your editor.

This page is generated: `python -m pool.config.reference > docs/configuration.md`.
"""


def render_reference() -> str:
    """Return the reference of all options as Markdown."""
    schema = Config.model_json_schema()
    return "\n".join([_HEAD, *_section(schema, schema["$defs"], "The file", "")])


def _section(model: dict[str, Any], models: dict[str, Any], title: str, path: str) -> Iterator[str]:
    """Write one object's options as a table, then the objects inside it."""
    yield f"## {title}\n"
    yield model["description"] + "\n"
    yield "| option | type | default | meaning |\n|---|---|---|---|"
    inner: list[tuple[str, str]] = []
    for name, option in model["properties"].items():
        if name in model.get("required", ()):
            default = "required"
        else:
            default = "see below" if option["default"] and _model_in(option) else f"`{json.dumps(option['default'])}`"
        kind = _kind(option).replace("|", "\\|")
        yield f"| `{name}` | {kind} | {default} | {' '.join(option['description'].split())} |"
        if found := _model_in(option):
            inner.append((f"{path}{name}{found[1]}", found[0]))
    yield ""
    for place, found_model in inner:
        yield from _section(models[found_model], models, f"`{place}`", f"{place}.")


def _model_in(option: dict[str, Any]) -> tuple[str, str] | None:
    """Return the name of the object that an option holds, and how its path goes on, if it holds one."""
    if reference := option.get("$ref"):
        return reference.rsplit("/", 1)[1], ""
    for held, suffix in ((option.get("items"), "[]"), (_values(option), ".<name>")):
        if held and (found := _model_in(held)):
            return found[0], suffix + found[1]
    return next((found for choice in option.get("anyOf", ()) if (found := _model_in(choice))), None)


def _kind(option: dict[str, Any]) -> str:
    """Say in words what an option takes."""
    if "anyOf" in option:
        return " or ".join(_kind(choice) for choice in option["anyOf"])
    if "$ref" in option:
        return "object"
    if "enum" in option:
        return ", ".join(f"`{value}`" for value in option["enum"])
    match option["type"]:
        case "array":
            return f"list of {_kind(option['items'])}"
        case "object":
            return f"mapping to {_kind(_values(option))}"
        case ["integer", "string"]:
            return "size"
        case kind:
            return " ".join([{"string": "text"}.get(kind, kind), ", ".join(_range(option))]).strip()


def _values(option: dict[str, Any]) -> dict[str, Any]:
    """Return what a mapping holds; nothing for other options."""
    held: dict[str, Any] = option.get("additionalProperties") or next(
        iter(option.get("patternProperties", {}).values()), {}
    )
    return held


def _range(option: dict[str, Any]) -> Iterator[str]:
    for key, sign in (("exclusiveMinimum", ">"), ("minimum", "≥"), ("maximum", "≤")):
        if key in option:
            yield f"{sign} {option[key]}"


if __name__ == "__main__":
    sys.stdout.write(render_reference())
