"""`poolctl explain`: what an event, a log line, an error code or a metric means, and what to do about it."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from typing import Annotated, Any

import typer

from pool.cli import completion
from pool.cli.options import Json
from pool.errors import InvalidRequest

#: Labels of metrics whose values are not known before.
_LABELS = {"pool": "name of the pool", "container": "id of the container"}
_LINK = re.compile(r"\[[^]]*\]\(([^)]+)\)")


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one name means, as one of the things that can have it.

    Attributes:
        kind: event, audit entry, log line, error or metric.
        do: What to do about it; empty where nothing is to be done.
        also: What else there is to say of it, such as the level of a log line.
        parts: What it comes with → what that tells: the facts of an event, the labels of a metric.
    """

    kind: str
    name: str
    meaning: str
    do: str = ""
    also: Mapping[str, str | int] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON types."""
        parts = {"metric": "labels"}.get(self.kind, "facts")
        return {
            "kind": self.kind, "name": self.name, "meaning": self.meaning, "do": self.do or None,
            **self.also, **({parts: dict(self.parts)} if self.parts else {}),
        }  # fmt: skip


def explain(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="What an event, a log line, an error or a metric is called, or a pattern such as 'lease.*'.",
            autocompletion=completion.explained,
            show_default=False,
        ),
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Say what the name of an event, a log line, an error or a metric means, and what to do about it.

    One name may stand for several of them. Without one, all are listed.
    """
    if not names:
        show(everything(), as_json=as_json, briefly=True)
        return
    show([found for name in names for found in _matching(name)], as_json=as_json)


def show(found: Sequence[Explanation], *, as_json: bool, briefly: bool = False) -> None:
    """Write explanations to stdout: in full, or a line each."""
    if as_json:
        typer.echo(json.dumps({"explanations": [each.to_json() for each in found]}, indent=2, ensure_ascii=False))
    elif briefly:
        _list(found)
    else:
        _tell(found)


def _matching(name: str) -> list[Explanation]:
    found = [each for each in beginning(name) if each.name == name or fnmatchcase(each.name, name)]
    if not found:
        near = difflib.get_close_matches(name, {each.name for each in everything()}, n=4, cutoff=0.6)
        which = f"did you mean {' or '.join(near)}?" if near else "`poolctl explain` lists all names"
        raise InvalidRequest("name", name, f"it is no event, log line, error or metric; {which}")
    return found


def beginning(name: str) -> tuple[Explanation, ...]:
    """Return the explanations among which a name, or its beginning, is to be found.

    Errors and metrics have no dot in theirs, and to know the errors' statuses takes a second: the server is loaded.
    """
    return (*events(), *_logs()) if "." in name else everything()


@cache
def everything() -> tuple[Explanation, ...]:
    """Return all explanations: events first, in the order of their pages."""
    return (*events(), *_logs(), *_errors(), *_metrics())


def events() -> Iterator[Explanation]:
    """Yield what types of events mean, and entries of the audit."""
    from pool.catalogue.events import AUDIT_ONLY, EVENTS

    for kind, kinds in (("event", EVENTS.values()), ("audit entry", AUDIT_ONLY)):
        for each in kinds:
            yield Explanation(kind, each.name, each.meaning, each.do, parts=each.facts)


def _logs() -> Iterator[Explanation]:
    from pool.catalogue.logs import LOGS

    for line in LOGS.values():
        yield Explanation("log line", line.name, line.meaning, line.do, {"level": line.level})


def _errors() -> Iterator[Explanation]:
    from pool.api.problems import status_of
    from pool.cli.error_reference import ADVICE, HTTP_ONLY, meaning_of, tree
    from pool.cli.exits import exit_of

    for error in tree():
        also: dict[str, str | int] = {"class": error.__name__, "http": status_of(error), "exit": exit_of(error).value}
        yield Explanation("error", error.code, meaning_of(error), _plain(ADVICE[error.code]), also)
    for code, problem in HTTP_ONLY.items():
        yield Explanation("error", code, problem.meaning, _plain(problem.advice), {"http": problem.status})


def _metrics() -> Iterator[Explanation]:
    from pool.metrics import FAMILIES, Source

    for family in FAMILIES.values():
        labels = {name: ", ".join(family.labels.get(name, ())) or _LABELS.get(name, "any") for name in family.names}
        where = {Source.STATE: "state of the pool", Source.EVENTS: "events of the pool", Source.SERVER: "the server"}
        also = {"type": family.kind.value, "from": where[family.source]}
        yield Explanation("metric", family.name, family.about, also=also, parts=labels)


def _plain(text: str) -> str:
    """Return a text whose links only name their pages.

    >>> _plain("See [how many](how-to/size.md) it needs.")
    'See docs/how-to/size.md it needs.'
    """
    return _LINK.sub(r"docs/\1", text)


def _list(found: Sequence[Explanation]) -> None:
    from pool.cli.tables import Column, FittingTable, open_console

    table = FittingTable("name", "kind", Column("meaning", least=30))
    for each in found:
        table.add_row(each.name, each.kind, each.meaning)
    open_console().print(table)


def _tell(found: Sequence[Explanation]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from pool.cli.tables import Column, FittingTable, open_console

    console = open_console()
    for number, each in enumerate(found):
        also = "".join(f", {name} {value}" for name, value in each.also.items())
        console.print(*([""] if number else []), Text.assemble((each.name, "bold"), f"  {each.kind}{also}"), sep="\n")
        console.print(Padding(Text(each.meaning), (0, 0, 0, 2), expand=False))
        if each.do:
            console.print(Padding(Text.assemble(("what to do: ", "dim"), each.do), (0, 0, 0, 2), expand=False))
        if each.parts:
            table = FittingTable("  label" if each.kind == "metric" else "  fact", Column("what it tells", least=30))
            for name, tells in each.parts.items():
                table.add_row(f"  {name}", tells)
            console.print(table)
