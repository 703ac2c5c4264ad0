"""All commands as Markdown; `python -m pool.cli.reference > docs/cli-reference.md` renews the page."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import typer

from pool.cli import app

_HEAD = """\
# The commands of `poolctl`

Made of what `poolctl COMMAND --help` says: `python -m pool.cli.reference > docs/cli-reference.md`. [cli.md](cli.md)
explains what belongs together: leases for commands and shells, exit codes, JSON, completion.
"""
_MARKUP = re.compile(r"\[/?(?:dim|cyan)\]")
_PLACEHOLDER = re.compile(r"\w*<\w+>\w*")
_UNSAID = frozenset({"help", "install_completion", "show_completion"})


def render_reference() -> str:
    """Return the reference of all commands as Markdown."""
    root: Any = typer.main.get_command(app)
    options = "\n".join(_options(root))
    return "\n".join([_HEAD, "## Before any command\n", options, *_commands(root, "poolctl")])


def _commands(group: Any, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            if command.invoke_without_command:
                yield from _command(command, f"{path} {name}")
            yield from _commands(command, f"{path} {name}")
        else:
            yield from _command(command, f"{path} {name}")


def _command(command: Any, path: str) -> Iterator[str]:
    """Write one command: what it does, what it takes, examples."""
    arguments = " ".join(
        parameter.metavar if parameter.required else f"[{parameter.metavar}]"
        for parameter in command.params
        if parameter.param_type_name == "argument"
    )
    yield f"## `{f'{path} {arguments}'.strip()}`\n"
    for paragraph in _PLACEHOLDER.sub(r"`\g<0>`", command.help or "").split("\n\n"):
        yield textwrap.fill(paragraph, 120, break_on_hyphens=False) + "\n"
    yield from _options(command)
    examples = [line.strip() for line in _MARKUP.sub("", command.epilog or "").splitlines()[1:]]
    if examples:
        yield "\n".join(["```sh", *examples, "```", ""])


def _options(command: Any) -> Iterator[str]:
    """Write a table of arguments and options, where there are any."""
    shown = [parameter for parameter in command.params if parameter.name not in _UNSAID]
    if not shown:
        return
    yield "| option | meaning |\n|---|---|"
    for parameter in shown:
        yield f"| {_name(parameter)} | {_meaning(parameter)} |"
    yield ""


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar}`"
    value = "" if parameter.is_flag else f" {parameter.metavar or 'VALUE'}"
    return ", ".join(f"`{name}{value}`" for name in parameter.opts)


def _meaning(parameter: Any) -> str:
    text = (parameter.help or "").replace("|", "\\|")
    if parameter.required:
        text += " Required."
    elif parameter.default and isinstance(parameter.default, str | int | float) and not parameter.is_flag:
        text += f" Default: `{parameter.default}`."
    return f"{text} Environment: `{parameter.envvar}`." if parameter.envvar else text


if __name__ == "__main__":
    sys.stdout.write(render_reference())
