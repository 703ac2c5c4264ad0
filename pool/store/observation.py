"""What was seen of a container, on its way into Redis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pool.observed import Condition, Sample


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of one container.

    Attributes:
        container: Its id.
        sample: What it uses; None leaves what is known.
        hold: Conditions that hold; those that did not before are told of.
        over: Conditions that do not hold any more; one that is in both has held for a moment.
        note: In words, for the events.
    """

    container: str
    sample: Sample | None = None
    hold: frozenset[Condition] = frozenset()
    over: frozenset[Condition] = frozenset()
    note: str = ""

    @property
    def arguments(self) -> Iterator[str]:
        """What the command takes for it."""
        yield self.container
        yield self.sample.to_json() if self.sample else ""
        yield " ".join(sorted(self.hold))
        yield " ".join(sorted(self.over))
        yield self.note
