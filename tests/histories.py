"""Histories of a pool made up for tests: a day that gives no cause for advice, and what can be different about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pool.analytics import ContainerUse, Histogram, Span
from pool.models import Priority, State
from pool.recommendations import Recommendation, recommend
from pool.setups import Setup

HOUR_S = 3600.0
#: A Monday in 2027.
START = 1_800_000_000.0 - 1_800_000_000.0 % HOUR_S

#: Two containers with settings that fit the day below.
SETUP = Setup(
    places=2,
    spares=0,
    memory_mb=512,
    lease_timeout_s=120,
    max_lease_timeout_s=3600,
    adaptive=False,
    ttl_s=15,
    claim_ttl_s=5,
    max_wait_s=300,
    max_queued=100,
    aging=False,
    pauses=False,
    on_release="soft",
    on_failure="hard",
    medium=True,
    soft=True,
    held=False,
)

_USE_S = (5.0, 10.0, 20.0, 30.0, 35.0)


def states(*, allocated: float = 1200, **others: float) -> dict[State, float]:
    """Container-seconds of an hour of two containers; what is not said is available."""
    found = {State.ALLOCATED: allocated} | {State(name): seconds for name, seconds in others.items()}
    return found | {State.AVAILABLE: max(2 * HOUR_S - sum(found.values()), 0.0)}


def waits(*seconds: float, of: int = 60) -> dict[Priority, Histogram]:
    """Waits of normal requests; those that are not named waited for nothing."""
    return {Priority.NORMAL: Histogram.of([*seconds, *[0.0] * (of - len(seconds))])}


def container(leases: int = 30, **facts: Any) -> ContainerUse:
    return ContainerUse(leases=leases, memory_peak_mb=300, memory_limit_mb=512) if not facts else replace(
        ContainerUse(leases=leases, memory_peak_mb=300, memory_limit_mb=512), **facts
    )  # fmt: skip


_HOUR: Mapping[str, Any] = {
    "watched_s": HOUR_S,
    "places_s": 2 * HOUR_S,
    "state_s": states(),
    "queued_s": 7.0,
    "queue_peak": 2,
    "arrivals": {Priority.NORMAL: 60},
    "waits": waits(3.0, 4.0),
    "held": Histogram.of(_USE_S * 12),
    "useful_s": 1200.0,
    "cleaning": Histogram.of([0.05] * 60),
    "ended": {"passed": 59, "failed": 1},
    "failures": {"test": 1},
    "resets": {("soft", "on_release", "clean"): 60},
    "reset_s": {"soft": Histogram.of([0.05] * 60)},
    "containers": {"a": container(), "b": container()},
}


def hours(count: int = 24, **changes: Any) -> list[Span]:
    """So many hours of the pool, each different in this from an ordinary one."""
    return [
        Span(START + n * HOUR_S, START + (n + 1) * HOUR_S, **{**_HOUR, **changes}) for n in range(count)
    ]  # fmt: skip


def priorities(low_s: float, *, of: int = 60) -> dict[Priority, Histogram]:
    return {
        Priority.HIGH: Histogram.of([0.0, 0.5, 2.0] * (of // 6)),
        Priority.LOW: Histogram.of([low_s] * (of // 2)),
    }


def given_for(code: str, past: Sequence[Span], setup: Setup) -> Recommendation | None:
    """The recommendation of this code, if it is given."""
    return next((advice for advice in recommend(past, setup) if advice.code == code), None)
