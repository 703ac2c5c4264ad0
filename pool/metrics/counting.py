"""What an event adds to the counters, and how counters are named in Redis.

A counter is a field `metric|label|label…`. A histogram has a field for each bucket, by its upper bound, which counts
what fell into just that one, and `sum`, in microseconds. What is named but not known here, by a newer or an older
version, is passed over by whoever reads.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pool.metrics.families import FAMILIES, FAULTS, LEASE_ENDS, LEVELS, REASONS, REQUEST_ENDS, Family
from pool.models import Event, State

#: How `lua/reap.lua` says why a lease was lost.
_UNCONFIRMED = "the grant was not confirmed within the claim ttl"
_DEADLINE = "deadline reached"

_TYPE = re.compile(r"[a-z_]{1,40}\.[a-z_]{1,40}")
_SUM = "sum"
_INFINITE = "+Inf"


def field_of(name: str, *labels: str) -> str:
    """Return the field of a counter."""
    return "|".join((name, *labels))


def observation(name: str, microseconds: int, *labels: str) -> dict[str, int]:
    """Return what a time adds to a histogram."""
    buckets = FAMILIES[name].buckets
    index = bisect_left(buckets, microseconds / 1e6)
    bound = f"{buckets[index]:g}" if index < len(buckets) else _INFINITE
    return {field_of(name, *labels, bound): 1, field_of(name, *labels, _SUM): microseconds}


def count(event: Event) -> Counter[str]:
    """Return what an event adds to the counters."""
    added: Counter[str] = Counter()
    if _TYPE.fullmatch(event.type):
        added[field_of("pool_events_total", event.type)] = 1
    if find := _COUNTED.get(event.type):
        for more in find(event.fields):
            added.update(more)
    return added


def _granted(facts: Mapping[str, str]) -> Iterator[dict[str, int]]:
    priority = _PRIORITY.get(facts.get("priority", ""))
    if priority and (waited := whole(facts.get("waited_us"))) is not None:
        yield observation("pool_acquire_wait_seconds", waited, priority)


def _released(facts: Mapping[str, str]) -> Iterator[dict[str, int]]:
    yield from _ended(outcome_of(facts), facts)


def outcome_of(facts: Mapping[str, str]) -> str:
    """Return how a lease ended that was released, as `LEASE_ENDS` has it."""
    outcome = facts.get("outcome", "")
    return outcome if outcome in LEASE_ENDS else "passed"


def _lost(facts: Mapping[str, str]) -> Iterator[dict[str, int]]:
    outcome, cause = loss_of(facts)
    if cause:
        yield {field_of("pool_lease_expirations_total", cause): 1}
    yield from _ended(outcome, facts, used=outcome != "unconfirmed")


def loss_of(facts: Mapping[str, str]) -> tuple[str, str]:
    """Return how a lease ended that was lost, as `LEASE_ENDS` has it, and of one that expired, the cause."""
    note = facts.get("note", "")
    if facts.get("reason") == "on_expiry":
        return "expired", "deadline" if note == _DEADLINE else "heartbeat"
    return "unconfirmed" if note == _UNCONFIRMED else "revoked", ""


def _ended(outcome: str, facts: Mapping[str, str], *, used: bool = True) -> Iterator[dict[str, int]]:
    yield {field_of("pool_leases_total", outcome): 1}
    if used and (held := whole(facts.get("held_us"))) is not None:
        yield observation("pool_lease_duration_seconds", held)


def _moved(facts: Mapping[str, str]) -> Iterator[dict[str, int]]:
    if facts.get("to") == State.QUARANTINED:
        yield {field_of("pool_quarantines_total"): 1}
    if (fault := facts.get("fault", "")) in FAULTS:
        yield {field_of("pool_container_faults_total", fault): 1}
    if facts.get("recycled"):
        yield {field_of("pool_recycles_total"): 1}
    yield from _reset(facts)


def _reset(facts: Mapping[str, str]) -> Iterator[dict[str, int]]:
    if attempt := attempt_of(facts):
        level, reason, outcome, took_us = attempt
        yield {field_of("pool_resets_total", level, reason, outcome): 1}
        if outcome == "clean":
            yield observation("pool_reset_duration_seconds", took_us, level)


def attempt_of(facts: Mapping[str, str]) -> tuple[str, str, str, int] | None:
    """Return level, reason and outcome of a reset that a move tells of, and its microseconds; None where it is none.

    One that starts a container is a recreation, with a time under a name of its own.
    """
    started = facts.get("from") == State.STARTING
    took_ms = whole(facts.get("start_ms", facts.get("reset_ms")))
    level = "recreate" if started else facts.get("reset_level", "")
    reason = "on_start" if started else facts.get("reset_reason", facts.get("reason", ""))
    if took_ms is None or level not in LEVELS or reason not in REASONS:
        return None
    return level, reason, "clean" if facts.get("to") == State.AVAILABLE else "failed", took_ms * 1000


def _one(name: str, *labels: str) -> Callable[[Mapping[str, str]], Iterator[dict[str, int]]]:
    return lambda _: iter([{field_of(name, *labels): 1}])


_PRIORITY = {str(n): label for n, label in enumerate(FAMILIES["pool_acquire_wait_seconds"].labels["priority"])}
_COUNTED: Mapping[str, Callable[[Mapping[str, str]], Iterator[dict[str, int]]]] = {
    "lease.granted": _granted,
    "lease.released": _released,
    "lease.lost": _lost,
    "lease.cancelled": _one("pool_leases_total", "cancelled"),
    "lease.unfit": _one("pool_leases_total", "unfit"),
    "lease.extended": _one("pool_lease_extensions_total", "granted"),
    "lease.extension_denied": _one("pool_lease_extensions_total", "denied"),
    "container.moved": _moved,
    "container.swapped": _one("pool_swaps_total"),
    **{f"request.{outcome}": _one("pool_requests_unserved_total", outcome) for outcome in REQUEST_ENDS},
}


def whole(text: str | None) -> int | None:
    """Read a fact that is a whole number; None where it is none."""
    return int(text) if text is not None and re.fullmatch(r"\d{1,15}", text, re.ASCII) else None


class Tally:
    """The counters of a pool, as they are told.

    Args:
        values: Field → how often, as Redis has them.
    """

    def __init__(self, values: Mapping[str, int]) -> None:
        self._by_name: dict[str, dict[tuple[str, ...], int]] = {}
        for name, value in values.items():
            metric, *labels = name.split("|")
            self._by_name.setdefault(metric, {})[tuple(labels)] = value

    def counters(self, family: Family) -> dict[tuple[str, ...], int]:
        """Return each combination of labels with its value."""
        zeros = dict.fromkeys(family.zeros(), 0)
        return zeros | {each: value for each, value in self._of(family).items() if _fits(family, each)}

    def histograms(self, family: Family) -> dict[tuple[str, ...], tuple[list[tuple[str, float]], float]]:
        """Return for each combination of labels the cumulative buckets, and the sum in seconds.

        What another version counted in buckets of its own is in the next larger one.
        """
        bounds = [*family.buckets, float("inf")]
        found: dict[tuple[str, ...], Any] = {each: ([0] * len(bounds), 0) for each in family.zeros()}
        for (*labels, last), value in self._of(family).items():
            each = tuple(labels)
            if not _fits(family, each):
                continue
            counts, total = found.setdefault(each, ([0] * len(bounds), 0))
            if last == _SUM:
                found[each] = (counts, total + value)
            else:
                counts[bisect_left(bounds, float(last))] += value
        return {each: (_cumulative(bounds, counts), total / 1e6) for each, (counts, total) in found.items()}

    def _of(self, family: Family) -> dict[tuple[str, ...], int]:
        return self._by_name.get(family.name, {})


def _fits(family: Family, labels: tuple[str, ...]) -> bool:
    """Whether these are values that the labels of a metric can have."""
    allowed = list(family.labels.values())
    return len(labels) == len(allowed) and all(
        not some or each in some for each, some in zip(labels, allowed, strict=True)
    )


def _cumulative(bounds: list[float], counts: list[int]) -> list[tuple[str, float]]:
    total, buckets = 0, []
    for bound, number in zip(bounds, counts, strict=True):
        total += number
        buckets.append((_INFINITE if bound == float("inf") else str(float(bound)), float(total)))
    return buckets
