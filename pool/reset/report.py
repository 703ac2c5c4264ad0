"""What a reset's script reports, read as it comes: only so is it known how long each stage took.

The script could not tell the time itself: images without a `date` that knows fractions are normal, and /proc/uptime
counts in hundredths.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

#: Of what a stage prints, so much is kept; of a line, so much is looked at; and so many files are remembered.
_PRINTED_CHARACTERS = 300
_LINE_BYTES = 8192
_FILES = 10_000

#: In place of an exit code that is none.
_NO_CODE = 256


@dataclass(frozen=True, slots=True)
class Stage:
    """How one stage of a reset went.

    Attributes:
        exit_code: 0 where it succeeded.
        ms: Milliseconds until its end was heard of here, from the end of the one before, or from the beginning.
        printed: What it printed, cut short.
    """

    name: str
    exit_code: int
    ms: float
    printed: str = ""


@dataclass(frozen=True, slots=True)
class StageReport:
    """What the script said.

    Attributes:
        stages: Those that were reached, in their order.
        files: What is left at the paths that were to be wiped and in other tmpfs, and logs that are not empty.
    """

    stages: tuple[Stage, ...]
    files: frozenset[str]

    def problem(self, expected: Sequence[str]) -> str:
        """Name the first of the expected stages that failed, or was not reached; empty if all succeeded."""
        # None is reported twice, but by a tenant: of two the worse one counts.
        reached = {stage.name: stage for stage in sorted(self.stages, key=lambda stage: stage.exit_code)}
        for name in expected:
            stage = reached.get(name)
            if stage is None:
                return f"stage {name} was not reached"
            if stage.exit_code:
                said = f": {stage.printed}" if stage.printed else ""
                return f"stage {name} ended with code {stage.exit_code}{said}"
        return ""


def printable(text: str) -> str:
    r"""Return a tenant's words so that no terminal takes them for commands.

    >>> print(printable("a name\x1b[2J"))
    a name\x1b[2J
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


class ReportReader:
    """Reads a report while the script still runs. What does not bear the marker was printed by the stage that runs.

    Args:
        marker: What only the script's own lines begin with.
    """

    def __init__(self, marker: str) -> None:
        self._marker = f"{marker} ".encode()
        self._pending = bytearray()
        self._stages: list[Stage] = []
        self._files: set[str] = set()
        self._printed = ""
        self._since = time.perf_counter()

    def feed(self, data: bytes) -> None:
        """Take the next piece of output."""
        *lines, rest = (bytes(self._pending) + data).split(b"\n")
        self._pending = bytearray(rest[:_LINE_BYTES])
        for line in lines:
            if line.startswith(self._marker):
                self._read(line[len(self._marker) :].decode(errors="replace"))
            elif len(self._printed) < _PRINTED_CHARACTERS:
                self._printed += line[:_LINE_BYTES].decode(errors="replace") + "\n"

    def _read(self, line: str) -> None:
        kind, _, rest = line.partition(" ")
        if kind == "file":
            if len(self._files) < _FILES:
                self._files.add(rest)
            return
        if kind == "stage":
            now = time.perf_counter()
            name, _, code = rest.partition(" ")
            printed = printable(" ".join(self._printed.split()))[:_PRINTED_CHARACTERS]
            self._stages.append(
                Stage(name, int(code) if code.isdecimal() else _NO_CODE, (now - self._since) * 1000, printed)
            )
            self._since = now
        self._printed = ""

    def report(self) -> StageReport:
        """Return what has been read."""
        return StageReport(tuple(self._stages), frozenset(self._files))
