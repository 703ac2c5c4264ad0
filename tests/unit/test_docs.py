"""What the pages say, held against the project: commands, links, names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs_commands import ROOT, commands_of, mistake, pages, problems_of

PAGES = {str(page.relative_to(ROOT)): page for page in pages()}


@pytest.mark.parametrize("name", PAGES)
def test_every_command_on_a_page_exists(name: str) -> None:
    assert problems_of(PAGES[name]) == []


@pytest.mark.parametrize("name", PAGES)
def test_every_file_that_a_page_links_is_there(name: str) -> None:
    page = PAGES[name]
    links = re.findall(r"\]\((?![a-z]+:)([^)#\s]+)", page.read_text(encoding="utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("name", PAGES)
def test_every_target_of_make_on_a_page_exists(name: str) -> None:
    page = PAGES[name].read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]\w*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    typed = re.findall(r"(?:`|\$ )make (\w+)", page)
    for block in re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        typed += re.findall(r"^make (\w+)", block, re.MULTILINE)

    assert set(typed) - targets == set()


def outline(page: Path) -> list[str]:
    """The levels of a page's headings, and its blocks of code word by word, in their order."""
    parts = re.findall(r"^(?:(#+) .*|(```[\s\S]*?^```))$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [level or block for level, block in parts]


def test_the_korean_readme_has_the_headings_blocks_tables_and_links_of_the_english_one() -> None:
    english, korean = ROOT / "README.md", ROOT / "README.ko.md"
    links, rows = re.compile(r"\]\(([^)]+)\)"), re.compile(r"^\|", re.MULTILINE)
    texts = [page.read_text(encoding="utf-8") for page in (english, korean)]

    assert outline(korean) == outline(english)
    linked = [{*links.findall(text)} - {"README.md", "README.ko.md"} for text in texts]
    assert linked[1] == linked[0]
    assert len(rows.findall(texts[1])) == len(rows.findall(texts[0]))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("$ poolctl status", ["status"]),
        ('$ eval "$(poolctl acquire browsers --shell)"', ["acquire", "browsers", "--shell"]),
        ("$ POOL_URL=unix:///x .venv/bin/poolctl status | head", ["status"]),
        ('$ curl "$(field url)/x" | poolctl release -', ["release", "-"]),
        ("$ docker compose exec manager poolctl top --once  # live", ["top", "--once"]),
    ],
)
def test_a_command_is_found_wherever_it_stands_in_a_line(tmp_path: Path, line: str, words: list[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"```console\n{line}\npoolctl is what it printed\n```\n")

    assert list(commands_of(page)) == [(2, words)]


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["stats"], "there is no command 'stats'"),
        (["status", "--wacht"], "there is no option '--wacht'"),
        (["config", "chek", "pool.yaml"], "there is no command 'chek'"),
        (["run", "--pol", "browsers", "--", "pytest"], "there is no option '--pol'"),
        (["run", "--", "pytest", "--nonsense"], ""),
        (["--url", "http://localhost", "status"], ""),
        (["COMMAND", "--help"], ""),
        (["audit"], ""),
    ],
)
def test_a_command_that_does_not_exist_is_found(words: list[str], wrong: str) -> None:
    assert mistake(words) == wrong
