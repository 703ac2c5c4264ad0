"""What a check found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from pool.errors import PoolError


class Verdict(IntEnum):
    """How a check ended; the greater, the worse."""

    OK = 0
    WARN = 1
    FAIL = 2

    @property
    def label(self) -> str:
        """The name in lower case."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        check: What was looked at, `area.detail`.
        seen: What was seen.
        remedy: What to do about it; empty where nothing is to be done.
    """

    check: str
    verdict: Verdict
    seen: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON types."""
        return {
            "check": self.check,
            "verdict": self.verdict.label,
            "seen": self.seen,
            "remedy": self.remedy or None,
        }


def ok(check: str, seen: str) -> Finding:
    """Return that all is well."""
    return Finding(check, Verdict.OK, seen)


def warn(check: str, seen: str, remedy: str) -> Finding:
    """Return that something works, but is not as it should be."""
    return Finding(check, Verdict.WARN, seen, remedy)


def fail(check: str, seen: str, remedy: str) -> Finding:
    """Return that something does not work, or will not."""
    return Finding(check, Verdict.FAIL, seen, remedy)


def failed(check: str, error: PoolError, remedy: str = "") -> Finding:
    """Return what an error says."""
    return fail(check, error.message, error.hint or remedy)


def judged(check: str, seen: str, remedy: str, *, bad: bool = False, poor: bool = False) -> Finding:
    """Return a finding that fails if it is bad, warns if it is poor, and is well otherwise."""
    verdict = Verdict.FAIL if bad else Verdict.WARN if poor else Verdict.OK
    return Finding(check, verdict, seen, "" if verdict is Verdict.OK else remedy)


def worst(findings: Iterable[Finding]) -> Verdict:
    """Return the worst verdict there is."""
    return max((finding.verdict for finding in findings), default=Verdict.OK)


def size(size_bytes: float) -> str:
    """Write a size in bytes for people.

    >>> size(3 * 2**20), size(5.5 * 2**30)
    ('3.0 MiB', '5.5 GiB')
    """
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} GiB"
