"""A pool's past in figures, as plain JSON types: durations in seconds, shares from 0 to 1; null is what is unknown."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import reduce
from typing import Any

from pool.analytics.histogram import Histogram
from pool.analytics.history import FAILURE_KINDS, OTHERS, OwnerUse, Span
from pool.analytics.reading import History
from pool.models import Priority, State, rfc3339
from pool.store import HOUR_S, hour_of

#: Hours of a week, Monday 0:00 UTC first. The epoch began on a Thursday.
_WEEK = 168
_EPOCH_IN_WEEK = 72
#: So many owners are listed at most: those of a month may be tens of thousands.
_OWNERS = 200
#: Where leases are told apart by how long they were held, in seconds.
_EDGES_S = (0.0, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)


def report(history: History, *, owner: str | None = None) -> dict[str, Any]:
    """Return all figures of a pool.

    Args:
        history: What is known of it.
        owner: Only owners whose name fits this pattern are listed; the other figures are everybody's.
    """
    span = history.sum
    return {
        "pool": history.pool,
        "since": rfc3339(history.since),
        "until": rfc3339(history.until),
        "watched_s": _short(span.watched_s),
        "summary": _summary(span),
        "hours": [_hour(hour) for hour in history.hours],
        "by_priority": {priority.label: _priority(span, priority) for priority in Priority},
        "by_hour_of_week": _week(history.hours),
        "by_duration": _durations(span.held),
        "owners": _owners(span, owner),
        "containers": _containers(span),
        "failures": _failures(span),
    }


def hour_of_week(start: float) -> int:
    """Return which hour of the week begins at a moment, Monday 0:00 UTC being 0.

    >>> hour_of_week(1_800_003_600)
    105
    """
    return (hour_of(start) + _EPOCH_IN_WEEK) % _WEEK


def _summary(span: Span) -> dict[str, Any]:
    return {
        "requests": span.requests,
        "leases": span.leases,
        "utilisation": _share(span.utilisation),
        "busy": _share(span.busy),
        "efficiency": _share(span.efficiency),
        "wait_s": _times(span.wait),
        "use_s": _times(span.held),
        "reset_s": {level: _times(times) for level, times in sorted(span.reset_s.items())},
        "cleaning_s": _times(span.cleaning),
        "failure_rate": _share(span.failure_rate),
        "queue_peak": span.queue_peak,
        "queue_mean": _short(span.queue_mean),
        "places_mean": _short(span.places_mean),
        "degraded_s": _short(span.degraded_s),
        "ended": dict(sorted(span.ended.items())),
        "unserved": dict(sorted(span.unserved.items())),
        "expired": dict(sorted(span.expired.items())),
        "resets": [
            {"level": level, "reason": reason, "outcome": outcome, "count": count}
            for (level, reason, outcome), count in sorted(span.resets.items())
        ],
        "state_share": _states(span),
    }


def _states(span: Span) -> dict[str, float]:
    seen = sum(span.state_s.values())
    return {state.value: round(span.state_s.get(state, 0.0) / seen, 4) for state in State} if seen else {}


def _hour(span: Span) -> dict[str, Any]:
    wait, resets = span.wait, reduce(Histogram.__add__, span.reset_s.values(), Histogram())
    return {
        "start": rfc3339(span.start),
        "requests": span.requests,
        "leases": span.leases,
        "utilisation": _share(span.utilisation),
        "queue_mean": _short(span.queue_mean),
        "queue_peak": span.queue_peak,
        "wait_p50_s": _short(wait.percentile(50)),
        "wait_p95_s": _short(wait.percentile(95)),
        "use_p50_s": _short(span.held.percentile(50)),
        "use_p95_s": _short(span.held.percentile(95)),
        "reset_p50_s": _short(resets.percentile(50)),
        "reset_p95_s": _short(resets.percentile(95)),
        "failures": _failures(span),
    }


def _priority(span: Span, priority: Priority) -> dict[str, Any]:
    return {
        "requests": span.arrivals.get(priority, 0),
        "wait_s": _times(span.waits.get(priority, Histogram())),
    }


def _week(hours: Iterable[Span]) -> list[dict[str, Any]]:
    """Return each hour of the week: requests in an hour of it on average, over the hours known, and how full it was."""
    found: list[list[Span]] = [[] for _ in range(_WEEK)]
    for span in hours:
        found[hour_of_week(span.start)].append(span)
    return [_of_week(spans) for spans in found]


def _of_week(spans: list[Span]) -> dict[str, Any]:
    watched_h = sum(span.watched_s for span in spans) / HOUR_S
    places_s = sum(span.places_s for span in spans)
    leased_s = sum(span.state_s.get(State.ALLOCATED, 0.0) for span in spans)
    return {
        "requests": _short(sum(span.requests for span in spans) / watched_h) if watched_h else None,
        "utilisation": _share(min(leased_s / places_s, 1.0)) if places_s else None,
    }


def _durations(held: Histogram) -> list[dict[str, Any]]:
    counts = [0] * len(_EDGES_S)
    for middle, count in held.rows():
        counts[bisect_right(_EDGES_S, middle) - 1] += count
    rows = zip(_EDGES_S, [*_EDGES_S[1:], None], counts, strict=True)
    return [{"from_s": low, "to_s": high, "leases": count} for low, high, count in rows]


def _owners(span: Span, pattern: str | None) -> list[dict[str, Any]]:
    wanted = {name: use for name, use in span.owners.items() if pattern is None or fnmatchcase(name, pattern)}
    used = sorted(wanted.items(), key=lambda each: (-each[1].held_s, -each[1].waited_s, each[0]))
    return [
        {
            "owner": name,
            "leases": use.leases,
            "failed": use.failed,
            "held_s": _short(use.held_s),
            "waited_s": _short(use.waited_s),
        }
        for name, use in _fewer(used)
    ]


def _fewer(used: list[tuple[str, OwnerUse]]) -> list[tuple[str, OwnerUse]]:
    """Return the owners that are listed, the others as one."""
    if len(used) <= _OWNERS:
        return used
    named = [(name, use) for name, use in used if name != OTHERS][:_OWNERS]
    known = {name for name, _ in named}
    rest = [use for name, use in used if name not in known]
    return [*named, (OTHERS, reduce(OwnerUse.__add__, rest))]


def _containers(span: Span) -> list[dict[str, Any]]:
    return [
        {
            "container": name,
            "leases": use.leases,
            "failed": use.failed,
            "resets_failed": use.resets_failed,
            "faults": use.faults,
            "memory_peak_mb": _short(use.memory_peak_mb),
            "memory_limit_mb": _short(use.memory_limit_mb),
        }
        for name, use in sorted(span.containers.items())
    ]


def _failures(span: Span) -> Mapping[str, int]:
    return {kind: span.failures.get(kind, 0) for kind in FAILURE_KINDS}


def _times(times: Histogram) -> dict[str, Any]:
    return {
        "n": times.n,
        "mean": _short(times.mean_s),
        "p50": _short(times.percentile(50)),
        "p95": _short(times.percentile(95)),
        "p99": _short(times.percentile(99)),
        "max": _short(times.max_s) if times.n else None,
    }


def _short(value: float | None) -> float | None:
    """Round to what is measured: microseconds of a short time, three digits of a second otherwise."""
    return None if value is None else round(value, 6 if value < 1 else 3)


def _share(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
