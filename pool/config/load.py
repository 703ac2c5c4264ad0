"""From a YAML file to a `Config`, or to an error that names every fault by its path."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from pool.config.root import Config
from pool.errors import ConfigError

_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\})")
_SECRET = "•••"  # noqa: S105 - what is shown in place of a secret


class _Loader(yaml.SafeLoader):
    """YAML in which a key may stand only once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
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
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}", hint="give the path of a YAML file, such as config/demo.yaml"
        ) from error
    return parse_config(text, source=str(path), environment=environment)


def parse_config(text: str, *, source: str = "configuration", environment: Mapping[str, str] | None = None) -> Config:
    """Validate a configuration given as YAML text.

    Raises:
        ConfigError: The text is not YAML, or does not describe a configuration.
    """
    try:
        document = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not valid YAML: {_one_line(error)}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{source}: the file must be a mapping that has at least `pools`")
    problems: list[str] = []
    document = _interpolate(document, os.environ if environment is None else environment, "", problems)
    if not problems:
        try:
            return Config.model_validate(document)
        except ValidationError as error:
            problems = [_describe(dict(fault)) for fault in error.errors(include_url=False)]
    raise ConfigError(f"{source}: " + "; ".join(problems), problems=tuple(problems))


def render_config(config: Config) -> dict[str, Any]:
    """Return the effective configuration as plain types, with environment values hidden."""
    document = config.model_dump(mode="json", by_alias=True)
    for pool, options in config.pools.items():
        rendered = document["pools"][pool]
        container = rendered["container"]
        container["environment"] = dict.fromkeys(container["environment"], _SECRET)
        for level in ("on_release", "on_failure", "on_expiry"):
            rendered["reset"][level] = getattr(options.reset, level).label
    if config.redis.url:
        document["redis"]["url"] = re.sub(r"(?<=://)[^@/]*@", f"{_SECRET}@", config.redis.url)
    return document


def _interpolate(node: Any, environment: Mapping[str, str], path: str, problems: list[str]) -> Any:
    def at(key: object) -> str:
        return f"{path}.{key}" if path else str(key)

    def substitute(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$"
        value = environment.get(match["name"], match["default"])
        if value is None:
            problems.append(f"{path}: the environment has no {match['name']}; set it, or write ${{{match['name']}:-default}}")
            return ""
        return value

    if isinstance(node, dict):
        return {key: _interpolate(value, environment, at(key), problems) for key, value in node.items()}
    if isinstance(node, list):
        return [_interpolate(value, environment, at(index), problems) for index, value in enumerate(node)]
    if not isinstance(node, str):
        return node
    result = _VARIABLE.sub(substitute, node)
    return None if not result and node else result


def _describe(fault: dict[str, Any]) -> str:
    location = fault["loc"]
    path = ".".join(str(part) for part in location)
    if fault["type"] == "extra_forbidden":
        allowed = sorted(_keys_at(location[:-1]))
        close = difflib.get_close_matches(str(location[-1]), allowed, n=1)
        guess = f"did you mean {close[0]!r}? " if close else ""
        return f"{path}: unknown key; {guess}allowed: {', '.join(allowed)}"
    if fault["type"] == "missing":
        return f"{path}: required, but missing"
    message = fault["msg"].removeprefix("Value error, ")
    if isinstance(fault["input"], dict | list | BaseModel):
        return f"{path}: {message}" if path else message
    return f"{path}: {fault['input']!r} is not allowed; {message[:1].lower()}{message[1:]}"


def _keys_at(location: tuple[int | str, ...]) -> set[str]:
    """Return the keys that the model at a place of the document has."""
    current: Any = Config
    for part in location:
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = next((f for name, f in current.model_fields.items() if part in (name, f.alias)), None)
            current = field.annotation if field else None
        else:
            current = get_args(current)[-1] if get_args(current) else None
        current = next((model for model in _models(current)), current)
    models = list(_models(current))
    return {field.alias or name for model in models for name, field in model.model_fields.items()}


def _models(annotation: Any) -> Iterator[Any]:
    """Unwrap `X | None` and `Annotated[X, …]` down to models or containers of models."""
    if get_origin(annotation) in (Union, UnionType, Annotated):
        for argument in get_args(annotation):
            yield from _models(argument)
    elif annotation is not None and annotation is not type(None) and (get_origin(annotation) or isinstance(annotation, type)):
        if get_origin(annotation) or issubclass(annotation, BaseModel):
            yield annotation


def _one_line(error: yaml.YAMLError) -> str:
    return " ".join(str(error).split())
