"""The result of a benchmark: rows, each a time beside its floor and its goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Goal:
    """What a ratio, or a time, shall reach: at most, or at least, some value.

    Attributes:
        unit: Empty for a ratio, ` ms` for the median itself.
    """

    relation: str
    value: float
    unit: str = ""

    @classmethod
    def at_most(cls, value: float) -> Self:
        """A goal for what is better when small, such as a time."""
        return cls("≤", value)

    @classmethod
    def within_ms(cls, value: float) -> Self:
        """A goal for the median, in milliseconds, where people wait for it and no floor tells what is good."""
        return cls("≤", value, " ms")

    @classmethod
    def at_least(cls, value: float) -> Self:
        """A goal for what is better when large, such as a rate."""
        return cls("≥", value)

    def met_by(self, figure: float) -> bool:
        """Whether a ratio, or a time in milliseconds, reaches it."""
        return figure <= self.value if self.relation == "≤" else figure >= self.value

    def __str__(self) -> str:
        return f"{self.relation} {self.value:g}{self.unit}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        p50_ms: Median of the times taken, in milliseconds.
        p95_ms: 95 of 100 took at most this long.
        floor_ms: Median of what bare Redis takes for the same; None where there is no such thing.
        ratio: What the goal is about; of times ours ÷ floor, of rates and shares as the name says.
    """

    name: str
    p50_ms: float
    p95_ms: float
    floor_ms: float | None
    ratio: float | None
    goal: Goal | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        figure = self.p50_ms if self.goal is not None and self.goal.unit else self.ratio
        return None if self.goal is None or figure is None else self.goal.met_by(figure)

    def to_json(self) -> dict[str, Any]:
        """Return the row as plain JSON types."""
        return {
            "name": self.name,
            "p50_ms": round(self.p50_ms, 4),
            "p95_ms": round(self.p95_ms, 4),
            "floor_ms": None if self.floor_ms is None else round(self.floor_ms, 4),
            "ratio": None if self.ratio is None else round(self.ratio, 3),
            "goal": None if self.goal is None else str(self.goal),
            "met": self.met,
        }


def p50(times: Sequence[float]) -> float:
    """Return the median."""
    return median(times)


def p95(times: Sequence[float]) -> float:
    """Return what 95 of 100 values do not exceed."""
    return quantiles(times, n=20, method="inclusive")[-1] if len(times) > 1 else times[0]


def timed(
    name: str,
    times_ms: Sequence[float],
    floor_ms: Sequence[float] = (),
    *,
    goal: Goal | None = None,
    ratio: float | None = None,
) -> Row:
    """Return the row of some times and those of its floor, in milliseconds.

    Args:
        name: What was done.
        times_ms: How long it took, each time.
        floor_ms: How long the floor took, each time; nothing where there is no floor.
        goal: What the ratio shall reach.
        ratio: In place of the ratio of the medians.
    """
    floor = p50(floor_ms) if floor_ms else None
    if ratio is None and floor is not None:
        ratio = p50(times_ms) / floor
    return Row(name, p50(times_ms), p95(times_ms), floor, ratio, goal)
