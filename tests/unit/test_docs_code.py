"""What stands in the pages as configuration, Python or a path of the API is such."""

from __future__ import annotations

import ast
import itertools
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from pool.api.routes import add_all
from pool.api.routing import Routes
from pool.config import Config, PoolOptions
from tests.docs_commands import ROOT, pages

PAGES = {str(page.relative_to(ROOT)): page for page in pages()}
#: The least that a deployment and a pool need, under what a page shows of them.
POOL: dict[str, Any] = {"size": 1, "container": {"image": "any", "ports": [{"container": 3000}]}}
DEPLOYMENT: dict[str, Any] = {"pools": {"any": POOL}}


def blocks(page: Path, language: str) -> list[str]:
    found = re.findall(
        rf"^ *```{language}\b[^\n]*\n(.*?)^ *```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return [textwrap.dedent(block) for block in found]


def under(shown: Any, least: Any) -> Any:
    """What a page shows, completed by the least that is needed."""
    if not isinstance(shown, dict) or not isinstance(least, dict):
        return shown
    return least | {key: under(value, least.get(key)) for key, value in shown.items()}


def configurations(name: str) -> Iterator[tuple[type[BaseModel], dict[str, Any]]]:
    """What a page shows of a configuration: all of it, some of its sections, or some options of a pool."""
    for block in blocks(PAGES[name], "yaml"):
        shown = yaml.safe_load(block)
        if not isinstance(shown, dict):
            continue
        if "pools" in shown:
            yield Config, {"deployment": "any"} | shown
        elif shown.keys() <= Config.model_fields.keys():
            yield Config, under(shown, DEPLOYMENT)
        elif shown.keys() & PoolOptions.model_fields.keys():
            yield PoolOptions, under(shown, POOL)


@pytest.mark.parametrize("name", [name for name in PAGES if any(configurations(name))])
def test_every_configuration_on_a_page_is_valid(name: str) -> None:
    for model, shown in configurations(name):
        model.model_validate(shown)


@pytest.mark.parametrize("name", [name for name in PAGES if blocks(PAGES[name], "python")])
def test_all_python_on_a_page_can_be_compiled(name: str) -> None:
    for block in blocks(PAGES[name], "python"):
        compile(block, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


ROUTES = Routes()
add_all(ROUTES)
KNOWN = [(route.method, re.compile(re.sub(r"\{\w+\}", "[^/]+", route.path) + "$")) for route in ROUTES]


def alternatives(path: str) -> list[str]:
    """`/a/{b,c}` as a page writes it for `/a/b` and `/a/c`."""
    parts = [part.split(",") for part in re.split(r"\{([^{}]*,[^{}]*)\}", path)]
    return ["".join(parts) for parts in itertools.product(*parts)]


@pytest.mark.parametrize("name", PAGES)
def test_every_route_that_a_page_names_exists(name: str) -> None:
    named = re.findall(r"\b(GET|POST|DELETE|PUT|PATCH) (/v1/[^\s`?\"']*)", PAGES[name].read_text(encoding="utf-8"))
    routes = [(method, each.rstrip(".,;:)")) for method, path in named for each in alternatives(path)]

    unknown = [
        (method, path)
        for method, path in routes
        if not any(method == known and pattern.match(path) for known, pattern in KNOWN)
    ]

    assert unknown == []


def in_code(pattern: str) -> set[str]:
    """What the code says of a kind of name."""
    files = [file for root in ("pool", "deploy") for file in (ROOT / root).rglob("*") if file.suffix in CODE]
    return {name for file in files for name in re.findall(pattern, file.read_text(encoding="utf-8"))}


CODE = {".py", ".lua", ".yaml", ".yml", ".sh", ".conf", ".service", ".example", ".mjs"}
#: Variables that are named after a pool, or a port.
OF_EACH = re.compile(r"POOL_(?:CONTAINER_PORT_\w*|\w+_(?:URLS|IDS)|)$")


@pytest.mark.parametrize("kind", [r"\bPOOL_[A-Z_]*[A-Z]\b", r"--pool-[a-z]+(?:-[a-z]+)*"])
def test_every_variable_and_option_of_pytest_on_a_page_is_known_to_the_code(kind: str) -> None:
    known = in_code(kind)
    named = {
        (name, word) for name, page in PAGES.items() for word in re.findall(kind, page.read_text(encoding="utf-8"))
    }

    assert known
    assert {(name, word) for name, word in named if word not in known and not OF_EACH.match(word)} == set()
