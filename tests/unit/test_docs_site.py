"""The documentation as a site: built without a warning, and without anything from another host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from math import factorial
from pathlib import Path

import pytest

from tests.docs_commands import DOCS, ROOT

#: What a browser would fetch by itself. Links that a reader follows are another thing.
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b(?![^>]*rel=["']?(?:canonical|next|prev))[^>]*\bhref=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|url\(["']?((?:https?:)?//[^"')]+)|@import\s+["']((?:https?:)?//[^"']+)"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(directory)]
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=90)
    assert built.returncode == 0, built.stderr
    return directory


def test_the_pages_fetch_nothing_from_another_host(site: Path) -> None:
    files = [file for file in site.rglob("*") if file.suffix in {".html", ".css"}]
    found = {
        (file.name, next(filter(None, match)))
        for file in files
        for match in FETCHED.findall(file.read_text(encoding="utf-8"))
    }

    assert len(files) > len(list(DOCS.rglob("*.md")))
    assert found == set()


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://elsewhere/x.js">',
        '<link rel="stylesheet" href="//elsewhere/x.css">',
        "body { background: url(https://elsewhere/x.png) }",
        '@import "https://elsewhere/x.css"',
    ],
)
def test_what_would_be_fetched_is_noticed(html: str) -> None:
    assert FETCHED.search(html)


def test_the_matrix_of_failures_names_tests_that_exist() -> None:
    page = (DOCS / "explanation" / "failures.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "what happens" not in line]
    tests = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }

    assert [row for row in rows if not re.search(r"`test_\w+`", row)] == []
    assert set(re.findall(r"`(test_\w+)`", page)) - tests == set()


def mean_wait(containers: int, use: float) -> float:
    """The mean wait in M/M/c, as a multiple of the time that one keeps a container: Erlang's C."""
    busy = containers * use
    some_free = sum(busy**k / factorial(k) for k in range(containers))
    all_busy = busy**containers / factorial(containers) / (1 - use)
    return all_busy / (some_free + all_busy) / (containers * (1 - use))


def test_the_table_of_waits_is_what_the_mathematics_say() -> None:
    page = (DOCS / "how-to" / "size.md").read_text(encoding="utf-8")
    head, _, *rows = page.split("<!-- waits -->\n")[1].split("<!-- /waits -->")[0].splitlines()
    counts = [int(count) for count in re.findall(r"c = (\d+)", head)]

    assert len(rows) == 5
    for row in rows:
        use, *waits = re.findall(r"[\d.]+", row)
        assert waits == [f"{mean_wait(count, int(use) / 100):.2f}" for count in counts]
