"""The page of commands, and what all commands have in common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from pool.cli import app
from pool.cli.environment import BOTH, MANY, ONE
from pool.cli.reference import render_reference

DOCS = Path(__file__).parents[2] / "docs"
#: Commands whose output is somebody else's, or a log, or nothing, or JSON anyway.
WITHOUT_JSON = {"run", "serve", "release", "config schema"}


def commands(group: Any = None, path: str = "") -> Iterator[tuple[str, Any]]:
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            if command.invoke_without_command:
                yield path + name, command
            yield from commands(command, f"{path}{name} ")
        else:
            yield path + name, command


ALL = dict(commands())


def test_the_page_is_what_the_commands_say() -> None:
    renewed = render_reference()

    assert (DOCS / "cli-reference.md").read_text() == renewed, "python -m pool.cli.reference > docs/cli-reference.md"


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_help_and_examples_that_fit_80_columns(name: str) -> None:
    shown = CliRunner(env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"}).invoke(app, [*name.split(), "--help"])

    assert shown.exit_code == 0
    assert f"poolctl {name}" in shown.stdout.split("Examples")[1]
    assert max(map(len, shown.stdout.splitlines())) <= 80


@pytest.mark.parametrize("name", sorted(ALL.keys() - WITHOUT_JSON))
def test_every_command_that_prints_does_so_for_programs_too(name: str) -> None:
    assert any("--json" in parameter.opts for parameter in ALL[name].params)


def test_the_page_of_the_command_line_names_every_variable_that_run_sets() -> None:
    page = (DOCS / "cli.md").read_text()

    assert [name for name in {**ONE, **MANY, **BOTH} if f"`{name}`" not in page] == []
