"""The tables of events and log lines are complete: held against the scripts and sources that tell of things."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import typer

import pool
from pool.audit import describe
from pool.catalogue import events, logs
from pool.catalogue.events import AUDIT_ONLY, EVENTS, SECTIONS
from pool.catalogue.logs import LOGS
from pool.cli import app
from pool.config import Config
from pool.health.recovery import STRATEGIES, Action, Fault
from pool.metrics import counting
from pool.models import Event
from pool.observed import Condition
from tests.catalogue import strangers

DOCS = Path(__file__).parents[2] / "docs"
SOURCES = sorted(Path(inspect.getfile(pool)).parent.rglob("*.py"))
SCRIPTS = sorted(
    (entry.name, entry.read_text())
    for entry in (resources.files("pool") / "lua").iterdir()
    if entry.name.endswith("lua")
)
NAME = re.compile(r"[a-z_]+(\.[a-z_]+)+")
LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}


# Events


def emitted() -> Iterator[list[str]]:
    """Yield the arguments of each `emit` of the scripts, from the type on."""
    for _, text in SCRIPTS:
        for call in re.finditer(r"(?<!function )\bemit\(", text):
            depth, arguments = 0, [""]
            for character in text[call.end() :]:
                depth += {"(": 1, ")": -1}.get(character, 0)
                if depth < 0:
                    break
                if character == "," and depth == 0:
                    arguments.append("")
                else:
                    arguments[-1] += character
            yield [argument.strip() for argument in arguments[1:]]


def of_scripts() -> dict[str, tuple[set[str], bool]]:
    """Return each type that the scripts emit → the facts that they name, and whether others may be added."""
    everything = "\n".join(text for _, text in SCRIPTS)
    made = {
        "'request.' .. state": ["request." + state for state in re.findall(r"dequeue\(\w+, '(\w+)'", everything)],
        "'lease.' .. request_state": [
            "lease." + state for state in re.findall(r"\bfinish\(\w+, [^,]+, '(\w+)'", everything)
        ],
        "event": [f"container.{word}{over}" for word in Condition for over in ("", "_over")],
        "kind": [],  # told by Python
    }
    found: dict[str, tuple[set[str], bool]] = {}
    for kind, *facts in emitted():
        is_open = bool(facts) and facts[-1].startswith(("...", "unpack("))
        named = {fact.strip("'") for fact in (facts[:-1] if is_open else facts)[::2]}
        for name in made[kind] if kind in made else [kind.strip("'")]:
            assert NAME.fullmatch(name), kind
            before, was_open = found.get(name, (set(), False))
            found[name] = (before | named, was_open or is_open)
    return found


def told_by_python() -> set[str]:
    """Return the types that Python puts into the stream."""
    return {
        str(call.args[0].value)
        for _, call in calls()
        if isinstance(call.func, ast.Attribute) and call.func.attr == "tell" and "store" in ast.unparse(call.func.value)
        if isinstance(call.args[0], ast.Constant)
    }


def test_every_type_of_event_that_is_emitted_is_explained_and_no_other() -> None:
    assert {*of_scripts(), *told_by_python()} == EVENTS.keys()


@pytest.mark.parametrize("name", of_scripts())
def test_the_facts_of_an_event_are_those_that_its_script_names(name: str) -> None:
    named, is_open = of_scripts()[name]

    assert named <= EVENTS[name].facts.keys() if is_open else named == EVENTS[name].facts.keys()


def test_what_counts_events_and_what_audits_them_knows_no_type_that_there_is_not() -> None:
    assert counting._COUNTED.keys() <= EVENTS.keys()
    assert {*describe._AUDITED, *describe._BY_OWNER} <= EVENTS.keys()
    assert not {kind.name for kind in AUDIT_ONLY} & EVENTS.keys()


def test_an_event_or_a_fact_that_is_not_explained_is_noticed() -> None:
    told = [
        Event("1-0", 1.0, "lease.confirmed", {"container": "a", "request": "r"}),
        Event("2-0", 1.0, "lease.confirmed", {"container": "a", "request": "r", "mood": "good"}),
        Event("3-0", 1.0, "lease.sold", {}),
    ]

    assert strangers(told) == ["lease.confirmed: mood", "lease.sold"]


# Log lines


def calls() -> Iterator[tuple[Path, ast.Call]]:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield path, node


def logged() -> Iterator[tuple[str, str]]:
    """Yield the names that the sources log, and how grave they are."""
    for path, call in calls():
        where = f"{path}:{call.lineno}"
        match called(call):
            case "_tell", _ if path.parent.name in ("manager", "audit"):  # see PoolManager._tell
                yield from lasting(call.args[0], where)
            case "_every", _ if path.parent.name == "manager":
                yield from lasting(ast.parse(f"'{text_of(call.args[1])}.delayed'").body[0].value, where)  # type: ignore[attr-defined]  # an expression
            case "audit_refusal", _:
                yield text_of(call.args[1]), "info"
            case name, True if name in LEVELS:
                for each in names(call.args[0], where):
                    yield each, LEVELS[name]
            case several, True:
                for name in several.split():
                    yield text_of(call.args[0]), LEVELS[name]


def called(call: ast.Call) -> tuple[str, bool]:
    """Return what is called, by its last name, and whether that belongs to a log; of a choice, both."""
    if isinstance(call.func, ast.IfExp):
        choice = [call.func.body, call.func.orelse]
        if all(isinstance(each, ast.Attribute) and each.attr in LEVELS for each in choice):
            return " ".join(ast.unparse(each).rpartition(".")[2] for each in choice), True
    text = ast.unparse(call.func)
    holder, _, name = text.rpartition(".")
    return name, holder in ("log", "self._log") and name in LEVELS


def text_of(node: ast.expr) -> str:
    assert isinstance(node, ast.Constant), ast.unparse(node)
    return str(node.value)


def names(node: ast.expr, where: str) -> Iterator[str]:
    """Yield the names that the first argument of a log call can be."""
    match ast.unparse(node):
        case "f'container.{strategy.condition}'":
            yield from (f"container.{condition}" for condition in told_conditions())
        case "event" | "f'{event}.over'" | "kind":  # in the functions that `logged` knows
            assert where.partition(":")[0].endswith(("pool_manager.py", "gate.py")), where
        case _:
            yield from [
                text_of(part) for part in ((node.body, node.orelse) if isinstance(node, ast.IfExp) else (node,))
            ]


def told_conditions() -> set[Condition]:
    """What is logged where a lease goes on; of a leak, which follows from samples, there is only the event."""
    kinds = [strategy for fault, strategy in STRATEGIES.items() if fault is not Fault.LEAK]
    return {each.condition for each in kinds if each.condition and Action.TELL in (each.idle, each.leased)}


def lasting(node: ast.expr, where: str) -> Iterator[tuple[str, str]]:
    if ast.unparse(node) == "f'{name}.delayed'":  # of `_every`, whose callers are looked at
        return
    for name in names(node, where):
        yield name, "warning"
        yield f"{name}.over", "info"


def test_every_line_that_is_logged_is_explained_at_its_level_and_no_other() -> None:
    found: dict[str, set[str]] = {}
    for name, level in logged():
        found.setdefault(name, set()).add(level)

    assert found == {line.name: set(line.level.split(" or ")) for line in LOGS.values()}


# Texts


@pytest.mark.parametrize("page", ["events", "logs"])
def test_the_pages_are_what_the_tables_say(page: str) -> None:
    renewed = {"events": events, "logs": logs}[page].render_reference()

    shown = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    assert shown == renewed, f"python -m pool.catalogue.{page} > docs/{page}.md"


def texts() -> list[str]:
    kinds = [*EVENTS.values(), *AUDIT_ONLY]
    return [text for kind in kinds for text in (kind.meaning, kind.do, *kind.facts.values())] + [
        text for line in LOGS.values() for text in (line.meaning, line.do)
    ]


def options(model: Any = None, schema: Any = None, path: str = "") -> Iterator[str]:
    """Yield the paths of all options, as they stand below a pool or at the top."""
    schema = schema or Config.model_json_schema()
    for name, option in (model or schema).get("properties", {}).items():
        yield path + name
        for reference in re.findall(r"#/\$defs/(\w+)", str(option)):
            deeper = "" if name == "pools" else f"{path}{name}."
            yield from options(schema["$defs"][reference], schema, deeper)


def test_texts_name_only_options_commands_events_and_pages_that_exist() -> None:
    words = {word for text in texts() for word in re.findall(r"`([^`]+)`", text)}
    root: Any = typer.main.get_command(app)
    known = {*options(), *EVENTS, *LOGS}

    assert [word for word in words if "." in word and NAME.fullmatch(word) and word not in known] == []
    commands = [word.split()[1:] for word in words if word.startswith("poolctl ")]
    assert [words for words in commands if words[0] not in root.commands] == []
    pages = {page for text in texts() for page in re.findall(r"docs/([\w-]+\.md)", text)}
    assert [page for page in pages if not (DOCS / page).is_file()] == []


def test_every_text_is_a_sentence_and_no_type_is_explained_twice() -> None:
    explained: list[events.EventKind | logs.LogLine] = [*EVENTS.values(), *AUDIT_ONLY, *LOGS.values()]
    sentences = [text for each in explained for text in (each.meaning, each.do)]

    assert [text for text in sentences if text and not text.endswith(".") and text != "chmod 600"] == []
    assert sum(len(kinds) for kinds in SECTIONS.values()) == len(EVENTS)
    assert sum(len(lines) for lines in logs.SECTIONS.values()) == len(LOGS)
