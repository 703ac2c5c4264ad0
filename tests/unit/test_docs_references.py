"""The pages that are made of code: the same as the code makes them, and complete."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pool.api import reference as routes
from pool.api.problems import status_of
from pool.cli import error_reference as errors
from pool.cli.error_reference import ADVICE, HTTP_ONLY, tree
from tests.docs_commands import DOCS, ROOT

CODES = {kind.code: kind for kind in tree()}


def raised_problems() -> Iterator[tuple[str, int]]:
    """Code and status of each problem that the server raises by name."""
    for file in (ROOT / "pool" / "api").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name("Problem"), args=[ast.Constant(int(status)), ast.Constant(str(code)), *_]):
                    yield code, status


@pytest.mark.parametrize(
    ("page", "renewed", "command"),
    [
        ("api-reference.md", routes.render_reference, "python -m pool.api.reference"),
        ("errors.md", errors.render_reference, "python -m pool.cli.error_reference"),
    ],
)
def test_a_page_is_what_the_code_makes(page: str, renewed: object, command: str) -> None:
    assert callable(renewed)
    assert (DOCS / page).read_text(encoding="utf-8") == renewed(), f"renew it: {command} > docs/{page}"


def test_every_error_says_what_to_do_about_it() -> None:
    assert ADVICE.keys() == CODES.keys()


def test_every_problem_that_the_server_raises_is_explained_with_its_status() -> None:
    statuses = {code: problem.status for code, problem in HTTP_ONLY.items()}
    of_the_tree = {code: status_of(kind) for code, kind in CODES.items()}

    wrong = {(code, status) for code, status in raised_problems() if (statuses | of_the_tree).get(code) != status}

    assert wrong == set()
    assert statuses.keys() - {code for code, _ in raised_problems()} == {"http_error"}  # has aiohttp's own status
    assert not statuses.keys() & of_the_tree.keys()


def test_the_page_of_the_api_names_every_code_of_a_problem() -> None:
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+|forbidden|unauthenticated)`", page.split("## Problems")[1]))

    assert sorted(
        code for code in named if code.partition("_")[0] != "retry" and code not in CODES.keys() | HTTP_ONLY
    ) == ["request_id"]


def test_every_object_that_a_route_names_is_described() -> None:
    page = Path(DOCS / "api-reference.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\]\(#(\w+)-object\)", page))

    assert named <= {name.lower() for name in re.findall(r"^### (\w+) object$", page, re.MULTILINE)}
