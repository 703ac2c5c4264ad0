"""Does what a page says: writes its files, types its commands into one shell, compares what that prints.

A block `console` has commands behind `$ ` and, below each, what it prints: `…` stands for any text in a line, and alone
on a line for any lines. A block `sh` has a command in each line, and none prints anything. A block with `title="name"`
is a file. Other blocks are for reading only.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r'(?ms)^```(?P<language>\w+)(?: title="(?P<title>[\w.-]+)")?\n(?P<body>.*?)^```$')


@dataclass(frozen=True)
class File:
    """A file that the reader is asked to write."""

    name: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command that the reader is asked to type, and what is said to be printed."""

    text: str
    printed: str


def steps_of(page: str) -> Iterator[File | Command]:
    """Yield what a page asks for, in its order."""
    for block in _BLOCK.finditer(page):
        if block["title"]:
            yield File(block["title"], block["body"])
        elif block["language"] == "console":
            for part in re.split(r"^\$ ", block["body"], flags=re.MULTILINE)[1:]:
                text, _, printed = part.partition("\n")
                yield Command(text, printed)
        elif block["language"] == "sh":
            yield from (Command(text, "") for text in block["body"].splitlines())


def looks_like(printed: str, said: str) -> bool:
    """Whether what was printed is what a page says; blanks at the ends of lines and lines at the end do not count."""
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == "…" else re.escape(line.rstrip()).replace("…", ".*") + "[ \t]*\n"
        for line in said.rstrip().splitlines()
    )
    return re.fullmatch(pattern, f"{printed.rstrip()}\n".lstrip("\n")) is not None


class Shell:
    """One shell, as a reader has it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._mark = f"end-of-command-{process.pid}"

    async def type(self, command: str, *, deadline_s: float) -> tuple[str, int]:
        """Return what a command prints, and its exit code."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        typed = f"{{ {command}\n}} </dev/null\nprintf '%s %s\\n' {self._mark} $?\n"
        self._process.stdin.write(typed.encode())
        shown = ""
        async with asyncio.timeout(deadline_s):
            while self._mark not in shown:
                shown += (await self._process.stdout.readuntil(b"\n")).decode()
        printed, _, code = shown.rpartition(f"{self._mark} ")
        return printed, int(code)


@asynccontextmanager
async def open_shell(directory: Path, environment: Mapping[str, str]) -> AsyncIterator[Shell]:
    """Start a shell; whatever it started in the background ends with it."""
    process = await asyncio.create_subprocess_exec(
        *("env", "--default-signal=INT,QUIT,HUP,TERM", "bash", "--norc"),
        cwd=directory, env=dict(environment), stdin=PIPE, stdout=PIPE, stderr=STDOUT, start_new_session=True,
        limit=2**20,
    )  # fmt: skip
    try:
        yield Shell(process)
    finally:
        for number, grace_s in ((signal.SIGTERM, 20.0), (signal.SIGKILL, 20.0)):
            if process.stdin is not None:
                process.stdin.close()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await process.communicate()  # ends when all that could write to the shell's output has ended
                    break
