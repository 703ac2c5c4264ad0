"""The judge: what the containers saw, and whether two valid holders were ever in one of them.

A holder says when it knew its lease to be valid: `time.monotonic()`, taken just before `lease.check()` passed. On one
machine all processes read that clock alike, so the moments of different holders can be compared, however late a message
arrives. The rules, for each container:

1. **One holder.** Nobody is valid at or after the moment at which a holder with a higher fence came in. A holder that
   was overtaken may still be connected, but it must know: all that it may do is leave as `lost`, or break off.
2. **Fences rise.** Whoever comes with a fence below one seen is refused. That is a fault if it was valid at or after
   the moment at which the higher one came in; else its message was only slow. Two with one fence are always a fault.

A holder whose process is killed breaks off, which is a leave. What a holder said before it was overtaken, but what
arrives after, is counted as late: a check and what follows it are never one step, which is why fences and hard resets
exist.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field

_ENTRIES_KEPT = 1000


@dataclass(slots=True)
class Visit:
    """One holder's stay in a container; times in seconds of the machine's monotonic clock."""

    container: str
    fence: int
    who: str
    entered_at: float
    overtaken_at: float | None = None


@dataclass(slots=True)
class _House:
    """One container's side of the story."""

    entries: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=_ENTRIES_KEPT))
    inside: list[Visit] = field(default_factory=list)
    claimed_until: float = 0.0


@dataclass
class Report:
    """What the containers saw so far.

    Attributes:
        faults: Broken rules, one line each.
        counts: How often what happened.
        entered: How often each task came in.
        inside: Who is connected: container, task, and whether somebody came in since.
    """

    faults: list[str]
    counts: dict[str, int]
    entered: dict[str, int]
    inside: list[tuple[str, str, bool]]

    def count(self, what: str) -> int:
        return self.counts.get(what, 0)


class Book:
    """Keeps the rules of the module's docstring while messages come in, in constant memory."""

    def __init__(self) -> None:
        self._faults: list[str] = []
        self._counts: Counter[str] = Counter()
        self._entered: Counter[str] = Counter()
        self._houses: defaultdict[str, _House] = defaultdict(_House)

    def enter(self, container: str, fence: int, who: str, at: float) -> Visit | None:
        """Let a holder in that was valid at a moment, or refuse it because of its fence."""
        house = self._houses[container]
        if house.entries and fence <= house.entries[-1][0]:
            self._refuse(house, container, fence, who, at)
            return None
        if at <= house.claimed_until:
            self._fault(
                f"{container}: {who} came in with fence {fence} while another was valid", at, house.claimed_until
            )
        for other in house.inside:
            if other.overtaken_at is None:
                other.overtaken_at = at
                self._counts["overtaken"] += 1
        visit = Visit(container, fence, who, at)
        house.entries.append((fence, at))
        house.inside.append(visit)
        house.claimed_until = max(house.claimed_until, at)
        self._counts["entered"] += 1
        self._entered[who] += 1
        return visit

    def _refuse(self, house: _House, container: str, fence: int, who: str, at: float) -> None:
        self._counts["refused"] += 1
        higher = [entry for entry in house.entries if entry[0] >= fence]
        seen, entered_at = higher[0]
        if seen == fence:
            self._fault(f"{container}: {who} came in with fence {fence}, which another had", at, entered_at)
        elif at >= entered_at:
            self._fault(f"{container}: {who} was valid with fence {fence} after {seen} had come in", at, entered_at)

    def use(self, visit: Visit, at: float) -> None:
        """Note that a holder did something in its container, valid at a moment."""
        self._counts["used"] += 1
        if visit.overtaken_at is not None:
            self._counts["late"] += 1
            if at >= visit.overtaken_at:
                what = f"{visit.container}: {visit.who} was valid with fence {visit.fence} after a higher one came in"
                self._fault(what, at, visit.overtaken_at)
        house = self._houses[visit.container]
        house.claimed_until = max(house.claimed_until, at)

    def leave(self, visit: Visit, how: str) -> None:
        """Note that a holder is gone: `done`, `lost` or `broken`."""
        self._counts[how] += 1
        self._houses[visit.container].inside.remove(visit)

    def _fault(self, what: str, at: float, other: float) -> None:
        self._faults.append(f"{what} (at {at:.6f}, the other at {other:.6f})")

    def report(self) -> Report:
        """Return what was seen so far."""
        inside = [
            (visit.container, visit.who, visit.overtaken_at is not None)
            for house in self._houses.values()
            for visit in house.inside
        ]
        return Report(list(self._faults), dict(self._counts), dict(self._entered), inside)
