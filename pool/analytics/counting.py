"""What an event, and a look at the pool, adds to the hour; the names of the fields are those that `folding` reads.

A time is three fields beside that of its bucket: the sum, the sum of the squares, and the longest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pool.analytics.histogram import bucket_of
from pool.analytics.history import FAILED_ENDS
from pool.metrics import PRIORITIES, REQUEST_ENDS, attempt_of, loss_of, outcome_of, whole
from pool.models import Event, PoolStatus, State
from pool.store import Fields, add_fields

#: What a fault is a failure of; all others are the system's.
_RESOURCE_FAULTS = ("out_of_memory", "leak", "disk_full")
_USEFUL_ENDS = ("passed", "failed")
_FAILURE_OF_END = {"failed": "test", "error": "system"}
_FAILURE_OF_CAUSE = {"deadline": "timeout", "heartbeat": "system"}

Found = Iterator[Fields]


def count_event(event: Event) -> Fields:
    """Return what an event adds to its hour."""
    added: dict[str, float] = {}
    if find := _COUNTED.get(event.type):
        for more in find(event.fields):
            add_fields(added, more)
    return added


def count_look(status: PoolStatus, passed_s: float) -> Fields:
    """Return what a look at the pool adds to the hour.

    Args:
        status: What was seen.
        passed_s: How long it was like that: seconds since the look before.
    """
    added: dict[str, float] = {"watched": passed_s, "places": status.places * passed_s}
    for state, number in Counter(record.state for record in status.containers).items():
        added[f"state|{state.value}"] = number * passed_s
    if status.queue:
        added["queued"] = len(status.queue) * passed_s
        added["^queue"] = len(status.queue)
    if status.degraded:
        added["degraded"] = passed_s
    return added


def observation(name: str, seconds: float) -> Fields:
    """Return what a time adds to a histogram."""
    return {
        f"{name}|{bucket_of(seconds)}": 1,
        f"{name}|sum": seconds,
        f"{name}|squares": seconds * seconds,
        f"^{name}|max": seconds,
    }


def _granted(facts: Mapping[str, str]) -> Found:
    if not (priority := _priority(facts)):
        return
    if facts.get("new") == "1":
        yield {f"arrivals|{priority}": 1}
    waited_us = whole(facts.get("waited_us"))
    if waited_us is not None:
        waited_s = 0.0 if facts.get("new") == "1" else waited_us / 1e6
        yield observation(f"wait|{priority}", waited_s)
        if waited_s and (owner := facts.get("owner")):
            yield {f"owner|waited|{owner}": waited_s}


def _queued(facts: Mapping[str, str]) -> Found:
    if (priority := _priority(facts)) and facts.get("new") != "0":
        yield {f"arrivals|{priority}": 1}


def _released(facts: Mapping[str, str]) -> Found:
    outcome = outcome_of(facts)
    yield from _used(outcome, facts)
    if kind := _FAILURE_OF_END.get(outcome):
        yield {f"failures|{kind}": 1}


def _lost(facts: Mapping[str, str]) -> Found:
    outcome, cause = loss_of(facts)
    if outcome == "unconfirmed":
        yield {"ended|unconfirmed": 1}
        return
    yield from _used(outcome, facts)
    if cause:
        yield {f"expired|{cause}": 1, f"failures|{_FAILURE_OF_CAUSE[cause]}": 1}


def _used(outcome: str, facts: Mapping[str, str]) -> Found:
    """Count the end of a lease that was used."""
    yield {f"ended|{outcome}": 1}
    held_us = whole(facts.get("held_us"))
    if held_us is None:
        return
    held_s, failed = held_us / 1e6, int(outcome in FAILED_ENDS)
    yield observation("held", held_s)
    if outcome in _USEFUL_ENDS:
        yield {"useful": held_s}
    if owner := facts.get("owner"):
        yield {f"owner|leases|{owner}": 1, f"owner|held|{owner}": held_s}
        yield {f"owner|failed|{owner}": failed} if failed else {}
    if container := facts.get("container"):
        yield {f"container|leases|{container}": 1}
        yield {f"container|failed|{container}": failed} if failed else {}


def _moved(facts: Mapping[str, str]) -> Found:
    container, fault = facts.get("container", ""), facts.get("fault")
    if fault:
        kind = "resource" if fault in _RESOURCE_FAULTS else "system"
        yield {f"failures|{kind}": 1, f"container|faults|{container}": 1}
    if attempt := attempt_of(facts):
        level, reason, outcome, took_us = attempt
        yield {f"resets|{level}|{reason}|{outcome}": 1}
        if outcome == "clean":
            yield observation(f"reset|{level}", took_us / 1e6)
        else:
            yield {f"container|resets_failed|{container}": 1}
    if facts.get("to") == State.AVAILABLE and (freed_us := whole(facts.get("freed_us"))) is not None:
        yield observation("cleaning", freed_us / 1e6)


def _unserved(outcome: str) -> Callable[[Mapping[str, str]], Found]:
    timeout: Fields = {"failures|timeout": 1} if outcome == "timed_out" else {}
    return lambda _: iter([{f"unserved|{outcome}": 1}, timeout])


def _priority(facts: Mapping[str, str]) -> str | None:
    return _PRIORITY.get(facts.get("priority", ""))


_PRIORITY = {str(number): label for number, label in enumerate(PRIORITIES)}
_COUNTED: Mapping[str, Callable[[Mapping[str, str]], Any]] = {
    "lease.granted": _granted,
    "request.queued": _queued,
    "lease.released": _released,
    "lease.lost": _lost,
    "lease.cancelled": lambda _: iter([{"ended|cancelled": 1}]),
    "lease.unfit": lambda _: iter([{"ended|unfit": 1, "failures|system": 1}]),
    "container.moved": _moved,
    **{f"request.{outcome}": _unserved(outcome) for outcome in REQUEST_ENDS},
}
