"""What a recommendation is, and what there is to know of each kind of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class Severity(IntEnum):
    """How much it matters; the greater, the more."""

    INFO = 0  # nothing is wrong; it could be cheaper or quicker
    WARNING = 1  # users feel it, or soon will
    CRITICAL = 2  # the pool does not do what it is there for

    @property
    def label(self) -> str:
        """The name in lower case."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One thing to do about a pool, and why.

    Attributes:
        code: Which, as `docs/recommendations.md` lists them; stable.
        title: What is so, in one sentence with figures.
        evidence: The figures that it follows from; names carry units, shares are from 0 to 1.
        action: What to do.
        saves: What that would save; None where that is not known.
    """

    code: str
    severity: Severity
    title: str
    evidence: Mapping[str, float | int | str]
    action: str
    saves: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON types."""
        return {
            "code": self.code,
            "severity": self.severity.label,
            "title": self.title,
            "evidence": dict(self.evidence),
            "action": self.action,
            "saves": self.saves,
        }


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of recommendation.

    Attributes:
        code: Its name.
        severities: Those that it can have.
        when: What must be so, with its thresholds.
        do: What it advises.
        moves: What it would have go up (1) or down (-1); two that move the same thing apart contradict each other.
        covered_by: Others that say more about the same; beside one of them it is left out.
    """

    code: str
    severities: tuple[Severity, ...]
    when: str
    do: str
    moves: Mapping[str, int] = field(default_factory=dict)
    covered_by: frozenset[str] = frozenset()

    def contradicts(self, other: Entry) -> bool:
        """Whether both cannot be followed."""
        return any(self.moves[what] * other.moves.get(what, 0) < 0 for what in self.moves)


#: What rules give.
Advice = Iterator[Recommendation]


def duration(seconds: float) -> str:
    """Write a time as people say it.

    >>> duration(0.042), duration(4.2), duration(41.3), duration(1500), duration(20_000), duration(math.inf)
    ('0.042 s', '4.2 s', '41 s', '25 min', '5.6 h', 'no end')
    """
    if math.isinf(seconds):
        return "no end"
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def counted(n: int, what: str) -> str:
    """Write how many there are.

    >>> counted(1, "container"), counted(2, "container")
    ('1 container', '2 containers')
    """
    return f"{n} {what}{'' if n == 1 else 's'}"


def rounded(seconds: float) -> int:
    """Round a time up to what one would write in a configuration, in seconds.

    >>> [rounded(seconds) for seconds in (0.3, 7, 41, 130, 3000)]
    [1, 10, 45, 130, 3000]
    """
    step = next((step for least, step in ((1000, 100), (100, 10), (5, 5)) if seconds >= least), 1)
    return max(-int(-seconds // step) * step, 1)
