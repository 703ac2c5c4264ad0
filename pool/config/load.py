"""From a YAML file to a `Config`, or to an error that names every fault by its path."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from pool.config.names import NAME_RULE
from pool.config.root import Config
from pool.errors import ConfigError
from pool.redaction import HIDDEN, mask_url

_VARIABLE = re.compile(
    r"\$(?:\$|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<malformed>\{[^}]*\}?))"
)
#: More than any deployment needs. What is larger, or becomes larger by its aliases, is a mistake or an attack.
_MOST_BYTES = 1_048_576
_MOST_VALUES = 100_000
_DEEPEST = 50
_SECRET_KEYS = frozenset({"environment", "headers"})
_RULES = {  # where pydantic's own words are those of a Python programmer
    "bool_parsing": "use true or false",
    "dict_type": "it should be a mapping",
    "model_type": "it should be a mapping",
    "string_pattern_mismatch": NAME_RULE,
    "string_type": "it should be text; write it in quotes",
    "too_short": "give at least one",
}


class _Knot(Exception):
    """A node contains itself."""


class _Loader(yaml.SafeLoader):
    """YAML in which a key may stand only once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} stands twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_config(path: Path, *, environment: Mapping[str, str] | None = None) -> Config:
    """Read and validate a configuration file.

    Args:
        path: The YAML file.
        environment: Where `${NAME}` and `${NAME:-default}` are looked up; the process's environment by default.

    Raises:
        ConfigError: The file cannot be read, is not YAML, or does not describe a configuration.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
        if len(raw) > _MOST_BYTES:
            raise _too_long(str(path))
        text = raw.decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(
            f"{path}: cannot be read: {reason}", hint="give the path of a YAML file, such as config/demo.yaml"
        ) from error
    return parse_config(text, source=str(path), environment=environment)


def parse_config(text: str, *, source: str = "configuration", environment: Mapping[str, str] | None = None) -> Config:
    """Validate a configuration given as YAML text.

    Args:
        text: The YAML.
        source: What error messages call it.
        environment: Where variables are looked up; the process's environment by default.

    Raises:
        ConfigError: The text is not YAML, or does not describe a configuration.

    >>> parse_config("pools: {web: {size: 2, container: {image: nginx, ports: [{container: 80}]}}}").slots("web")[1].id
    'web-2'
    """
    document = _read_yaml(text, source)
    if not isinstance(document, dict):
        raise ConfigError(f"{source}: the file must be a mapping that has at least `pools`")
    problems: list[str] = []
    document = _interpolate(document, os.environ if environment is None else environment, (), problems)
    if not problems:
        try:
            return Config.model_validate(document)
        except ValidationError as error:
            problems = [_describe(dict(fault)) for fault in error.errors(include_url=False)]
    raise ConfigError(f"{source}: " + "; ".join(problems), problems=tuple(problems))


def _read_yaml(text: str, source: str) -> Any:
    """Return what a YAML text says. Its size is known before anything is made of it, whatever its aliases multiply.

    Raises:
        ConfigError: It is not YAML, or too much.
    """
    if len(text) > _MOST_BYTES:
        raise _too_long(source)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _measure(node, {}, ())[0] > _MOST_VALUES:
            raise ConfigError(
                f"{source}: with its aliases (*) written out it has more than {_MOST_VALUES} values",
                hint="use fewer aliases of aliases",
            )
        return loader.construct_document(node)
    except _Knot:
        raise ConfigError(f"{source}: an alias (*) refers to something that contains it") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: {_yaml_fault(error)}") from error
    except RecursionError:
        raise ConfigError(f"{source}: it is nested deeper than {_DEEPEST} levels") from None


def _too_long(source: str) -> ConfigError:
    hint = "no deployment needs so much; is it the right file?"
    return ConfigError(f"{source}: it is longer than {_MOST_BYTES} bytes", hint=hint)


def _measure(node: yaml.Node, known: dict[int, tuple[int, int]], above: tuple[int, ...]) -> tuple[int, int]:
    """Return how many values a node is with its aliases written out, and how deep; each node is looked at once.

    Raises:
        RecursionError: It is too deep.
    """
    if id(node) in known:
        return known[id(node)]
    if id(node) in above:
        raise _Knot
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        inner = node.value
    elif isinstance(node, yaml.MappingNode):
        inner = [part for pair in node.value for part in pair]
    sizes = [_measure(each, known, (*above, id(node))) for each in inner] if len(above) <= _DEEPEST else [(0, _DEEPEST)]
    count, depth = 1 + sum(count for count, _ in sizes), 1 + max((depth for _, depth in sizes), default=0)
    if depth > _DEEPEST:
        raise RecursionError
    known[id(node)] = count, depth
    return count, depth


def render_config(config: Config) -> dict[str, Any]:
    """Return the effective configuration as plain types, defaults included, with everything secret hidden."""
    document = config.model_dump(mode="json", by_alias=True)
    for pool in document["pools"].values():
        for holder in (pool["container"], pool["health"]["http"] or {}):
            for key in _SECRET_KEYS & holder.keys():
                holder[key] = dict.fromkeys(holder[key], HIDDEN)
    if config.redis.url:
        document["redis"]["url"] = mask_url(config.redis.url)
    return document


def _interpolate(node: Any, environment: Mapping[str, str], path: tuple[Any, ...], problems: list[str]) -> Any:
    def substitute(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if match["malformed"]:
            problems.append(
                f"{_dotted(path)}: {match[0]!r} is not allowed; use ${{NAME}}, ${{NAME:-default}} or $$ for $"
            )
        if name is None:
            return "$"
        value = environment.get(name) or default if default is not None else environment.get(name)
        if value is None:
            problems.append(f"{_dotted(path)}: the environment has no {name}; set it, or write ${{{name}:-default}}")
        return value or ""

    if isinstance(node, dict):
        return {key: _interpolate(value, environment, (*path, key), problems) for key, value in node.items()}
    if isinstance(node, list):
        return [_interpolate(value, environment, (*path, index), problems) for index, value in enumerate(node)]
    return _VARIABLE.sub(substitute, node) if isinstance(node, str) else node


def _describe(fault: dict[str, Any]) -> str:
    """Say where a fault is, what stands there, and what may."""
    location = tuple(part for part in fault["loc"] if part != "[key]")
    kind, value, context = fault["type"], fault["input"], fault.get("ctx", {})
    if kind == "extra_forbidden":
        return f"{_dotted(location)}: unknown key; {_known_keys(location)}"
    if kind == "missing":
        return f"{_dotted(location)}: required, but missing"
    if kind == "refused":
        location, value = (*location, context["at"]), context["value"]
    rule = _RULES.get(kind) or fault["msg"].removeprefix("Value error, ").replace("Input should be", "it should be")
    return f"{_dotted(location)}: {_show(location, value)} is not allowed; {rule[:1].lower()}{rule[1:]}"


def _dotted(location: Sequence[object]) -> str:
    return ".".join(map(str, location))


def _show(location: Sequence[object], value: object) -> str:
    """Write a value as the user did, unless it may be secret or is long."""
    if _SECRET_KEYS & set(location):
        return HIDDEN
    if isinstance(value, str):
        return repr(mask_url(value) if len(value) < 100 else f"{mask_url(value)[:100]}…")
    if isinstance(value, dict | BaseModel):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return json.dumps(value) if value is None or isinstance(value, bool) else repr(value)


def _known_keys(location: tuple[Any, ...]) -> str:
    """Name the keys that the object at a place has, the likeliest first."""
    model = _model_at(location[:-1])
    known = sorted(field.alias or name for name, field in model.model_fields.items())
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"{guess}allowed: {', '.join(known)}"


def _model_at(location: Sequence[Any]) -> type[BaseModel]:
    """Follow keys, names and indices down to the class of options found there."""
    here: Any = Config
    for part in location:
        if isinstance(here, type) and issubclass(here, BaseModel):
            here = next(field.annotation for name, field in here.model_fields.items() if part in (name, field.alias))
        else:
            here = get_args(here)[-1]  # what a list or mapping holds
        while get_origin(here) in (Union, UnionType, Annotated):
            here = get_args(here)[0]
    model: type[BaseModel] = here  # only such objects have unknown keys
    return model


def _yaml_fault(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return f"not YAML: {' '.join(str(error).split())}"
