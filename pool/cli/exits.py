"""How a command ends: one table of exit codes, and how errors are told."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Any

import typer
from typer.core import TyperGroup

from pool.errors import AccessDenied, ConfigError, LeaseError, PoolError, Refused, Unauthenticated


class Exit(IntEnum):
    """Exit codes of every command. `run` otherwise ends like the command it ran, 128 + n after signal n."""

    OK = 0
    CHECK_FAILED = 1
    BAD_INPUT = 2
    REFUSED = 3
    LEASE_ENDED = 4
    WARNED = 5
    DENIED = 6
    NOT_EXECUTABLE = 126
    NOT_FOUND = 127
    INTERRUPTED = 130


#: What each code means, for `poolctl --help` and docs/cli.md.
MEANING: Mapping[Exit, str] = MappingProxyType(
    {
        Exit.OK: "done",
        Exit.CHECK_FAILED: "a check failed, a reset ended in quarantine, or garbage stayed",
        Exit.BAD_INPUT: "bad input, configuration or environment",
        Exit.REFUSED: "nothing became free in time, or the pool takes no request now",
        Exit.LEASE_ENDED: "the lease is lost, was released before, or may not be extended",
        Exit.WARNED: "doctor: all works, but something is not as it should be",
        Exit.DENIED: "the access token is missing or wrong, or does not allow it",
        Exit.NOT_EXECUTABLE: "run: the command cannot be executed",
        Exit.NOT_FOUND: "run: the command does not exist",
        Exit.INTERRUPTED: "interrupted",
    }
)

#: Said where something that was asked for will not be done until somebody starts a manager.
NO_MANAGER = "no active manager: start one with `poolctl serve CONFIG`"

_CODES: Mapping[type, Exit] = MappingProxyType(
    {
        Refused: Exit.REFUSED,
        LeaseError: Exit.LEASE_ENDED,
        AccessDenied: Exit.DENIED,
        PoolError: Exit.BAD_INPUT,
    }
)


def exit_of(kind: type[PoolError]) -> Exit:
    """Return the exit code of the closest class in an error's ancestry that has one."""
    return next(_CODES[above] for above in kind.__mro__ if above in _CODES)


def exit_code(error: PoolError) -> Exit:
    """Return the exit code of an error."""
    return exit_of(type(error))


def tell(kind: str, text: str, *, style: str = "") -> None:
    """Write one line such as `error: …` to stderr, where no terminal's width breaks it."""
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble((f"{kind}:", style), " ", "\n".join(map(printable, text.splitlines())))
    Console(stderr=True, highlight=False).print(line, soft_wrap=True)


def printable(text: str) -> str:
    """Replace what a terminal would obey rather than show: an owner's name or a note may come from anybody."""
    return "".join(character if character.isprintable() else "�" for character in text)


def tell_error(error: PoolError) -> None:
    """Say what happened and what to do about it; for a configuration, one line for each problem."""
    problems = error.problems if isinstance(error, ConfigError) else ()
    source = error.message.removesuffix("; ".join(problems))
    for message in [source + problem for problem in problems] or [error.message]:
        tell("error", message, style="bold red")
    if error.hint:
        tell("hint", error.hint, style="cyan")
    if isinstance(error, Unauthenticated):
        tell("hint", "poolctl takes it from POOL_TOKEN, or from the file that POOL_TOKEN_FILE names", style="cyan")


class Commands(TyperGroup):
    """The commands, and what their errors become. Only an error that is a bug of ours shows its traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command.

        Raises:
            Exit: It ended with an error that its user can do something about.
        """
        try:
            return super().invoke(ctx)
        except PoolError as error:
            tell_error(error)
            raise typer.Exit(exit_code(error)) from error
        except KeyboardInterrupt:
            raise typer.Exit(Exit.INTERRUPTED) from None
