"""What the pages say that a reader shall type: every `poolctl …` in them, held against the commands that there are.

`problems_of(page)` is all that a test needs: an empty list, or one line for each mistake.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import typer

from pool.cli import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
#: Languages of fenced blocks that are typed into a shell, and of those that also show what is printed.
_SHELLS = frozenset({"sh", "bash", "shell"})
_SHOWN = frozenset({"console", "text"})
_FENCE = re.compile(r"^\s*(?P<fence>`{3,})(?P<language>[\w-]*)")
_INLINE = re.compile(r"`(poolctl(?: [^`]*)?)`")
_SUBSTITUTION = re.compile(r"\$\((.*?)\)")
#: What ends a command in a shell.
_ENDS = frozenset({"|", "||", "&", "&&", ";", ">", ">>", "<", "<<<", "(", ")", "#"})
#: In prose: a word that stands for others, an argument in capitals, an option that may be left out.
_STANDS_FOR = re.compile(r"…|^\[?[A-Z][A-Z_]*\]?…?$")


def pages() -> list[Path]:
    """All pages that tell how things are now, so not the change log."""
    return sorted(page for page in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")] if page.name != "CHANGELOG.md")


def problems_of(page: Path) -> list[str]:
    """Say of each `poolctl` command of a page that does not exist as it stands there what is wrong with it."""
    found = [(line, words, wrong) for line, words in commands_of(page) if (wrong := mistake(words))]
    return [f"{page.name}:{line}: poolctl {shlex.join(words)}: {wrong}" for line, words, wrong in found]


def commands_of(page: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and words after `poolctl` of each command, in blocks and in prose."""
    for number, language, text in _lines(page.read_text(encoding="utf-8")):
        if language == "":
            for inline in _INLINE.findall(text):
                yield number, inline.split()[1:]
        elif language in _SHELLS or (language in _SHOWN and text.lstrip().startswith("$ ")):
            for words in _commands_in(re.sub(r"^\s*[$] ", "", text)):
                yield number, words


def mistake(words: list[str]) -> str:
    """Say what is wrong with the words after `poolctl`; nothing if such a command can be given."""
    command: Any = _root()
    rest = list(words)
    while hasattr(command, "commands"):
        while rest and rest[0].startswith("-"):  # options of the group itself, such as --url
            if unknown := _option_of(command, rest):
                return unknown
        if not rest or _STANDS_FOR.search(rest[0]):
            return ""
        if rest[0] not in command.commands:
            return f"there is no command {rest[0]!r}"
        command = command.commands[rest.pop(0)]
    while rest and rest[0] != "--":
        if not rest[0].startswith("-") or rest[0] == "-":
            if command.name == "run":  # what follows is somebody else's command
                break
            rest.pop(0)
        elif unknown := _option_of(command, rest):
            return unknown
    return ""


@cache
def _root() -> Any:
    return typer.main.get_command(app)


def _option_of(command: Any, rest: list[str]) -> str:
    """Take an option, with its value, off the words; say so if the command has none such."""
    name, _, value = rest.pop(0).partition("=")
    if name in {"-h", "--help", "--install-completion", "--show-completion"}:
        return ""
    for parameter in command.params:
        if name in (*parameter.opts, *parameter.secondary_opts):
            if not parameter.is_flag and not value and rest:
                rest.pop(0)
            return ""
    return f"there is no option {name!r}"


def _lines(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield number, language of the block (empty in prose) and text of each line; continued lines are joined."""
    fence, language, held = "", "", ""
    for number, line in enumerate(text.splitlines(), 1):
        mark = _FENCE.match(line)
        if mark and not fence:
            fence, language = mark["fence"], mark["language"] or "text"
        elif fence and line.strip() == fence:
            fence, language = "", ""
        elif language in _SHELLS | _SHOWN and line.endswith("\\"):
            held += line[:-1]
        else:
            yield number, language, held + line
            held = ""


def _commands_in(line: str) -> Iterator[list[str]]:
    """Yield the words after each `poolctl` of a line of shell, those in `$(…)` too."""
    for inner in _SUBSTITUTION.findall(line):
        yield from _commands_in(inner)
    lexer = shlex.shlex(_SUBSTITUTION.sub("SUBSTITUTED", line), posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    words: list[str] | None = None
    for word in [*lexer, ";"]:
        if word in _ENDS:
            if words is not None:
                yield words
            words = None
        elif words is not None:
            words.append(word)
        elif word.rsplit("/", 1)[-1] == "poolctl":  # also behind `docker compose exec manager`
            words = []
