"""How the tests of a session fared with the pool, in a few lines."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pool.pytest_plugin.gathering import Gathered
from pool.pytest_plugin.settings import PRIORITIES

_SLOWEST = 5

Record = Mapping[str, Any]


def lines(records: Sequence[Record], gathered: Gathered | None, verbosity: int) -> Iterator[str]:
    """Yield what to show.

    Args:
        records: What the tests told of their leases, one for each.
        gathered: What the pools said at the end; None if nobody could be asked.
        verbosity: pytest's: from 1 on, with a line for each lease.
    """
    granted = [record for record in records if "request" in record]
    if granted and verbosity >= 0:
        yield from _waits(granted)
        yield from _slowest(granted)
        yield from _use(granted, gathered)
    if verbosity > 0:
        yield from _each(records)
    yield _ends(records)
    yield from _trouble(records, gathered)


def _waits(granted: Sequence[Record]) -> Iterator[str]:
    yield f"waits      {_spread([record['waited_s'] for record in granted])}"
    for priority in PRIORITIES:
        theirs = [record["waited_s"] for record in granted if record["priority"] == priority]
        if theirs and len(theirs) < len(granted):
            yield f"  {priority:8} {_spread(theirs)}"


def _spread(waits: Sequence[float]) -> str:
    mean = sum(waits) / len(waits)
    return f"{_count(len(waits), 'lease')}: mean {mean:.2f} s, p95 {p95(waits):.2f} s, longest {max(waits):.2f} s"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def p95(values: Sequence[float]) -> float:
    """Return what 19 of 20 values do not exceed.

    >>> p95(range(1, 101))
    95
    """
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def _slowest(granted: Sequence[Record]) -> Iterator[str]:
    waited = sorted(
        (record for record in granted if record["waited_s"] >= 0.005), key=lambda record: -record["waited_s"]
    )
    for number, record in enumerate(waited[:_SLOWEST]):
        head = "slowest" if number == 0 else ""
        yield f"{head:10} {record['waited_s']:.2f} s  {record['nodeid']}  ({record['container']}, {record['priority']})"


def _use(granted: Sequence[Record], gathered: Gathered | None) -> Iterator[str]:
    """Say for each pool how much of the time its containers were held, from the first request to the last release."""
    for pool in sorted({record["pool"] for record in granted}):
        theirs = [record for record in granted if record["pool"] == pool]
        ended = [record for record in theirs if record["held_s"] is not None]
        seen = len({record["container"] for record in theirs})
        size = gathered.sizes.get(pool, seen) if gathered else seen
        parts = []
        if ended:
            wall_s = max(record["released_at"] for record in ended) - min(record["asked_at"] for record in theirs)
            share = sum(record["held_s"] for record in ended) / max(wall_s * size, 1e-9)
            parts.append(f"{_count(size, 'container')} held {share:.0%} of {wall_s:.1f} s")
        if gathered and (reset_s := gathered.resets.get(pool)) is not None:
            parts.append(f"a reset takes {reset_s:.3f} s on average")
        yield f"{'use':10} {pool}: {'; '.join(parts) or _count(size, 'container')}"


def _each(records: Sequence[Record]) -> Iterator[str]:
    for record in sorted(records, key=lambda record: record["asked_at"]):
        if "request" not in record:
            yield f"{'lease':10} {record['nodeid']}: {record['refused']} after {record['waited_s']:.2f} s"
            continue
        held = "not given back" if record["held_s"] is None else f"held {record['held_s']:.2f} s, {record['outcome']}"
        facts = f"waited {record['waited_s']:.2f} s, {held} ({record['worker']}, {record['priority']})"
        yield f"{'lease':10} {record['nodeid']}: {record['container']}, {facts}"


def _ends(records: Sequence[Record]) -> str:
    """Count how leases ended."""
    counts = Counter(_end(record) for record in records)
    return f"{'ended':10} " + ", ".join(f"{number} {end}" for end, number in counts.most_common())


def _end(record: Record) -> str:
    if "request" not in record:
        return f"refused ({record.get('refused', 'interrupted')})"
    return "lost" if record.get("lost") else str(record["outcome"] or "not given back")


def _trouble(records: Sequence[Record], gathered: Gathered | None) -> Iterator[str]:
    for record in records:
        if record.get("lost"):
            yield f"{'lost':10} {record['nodeid']}: {record['lost']}"
        elif "request" in record and record["outcome"] is None:
            why = record.get("note") or "its process ended; the container comes back by itself within its ttl"
            yield f"{'open':10} {record['nodeid']}: {record['container']}: {why}"
        elif record.get("note"):
            yield f"{'note':10} {record['nodeid']}: {record['note']}"
    if gathered is None:
        return
    kept = sorted({record["folder"] for record in records if record.get("folder")})
    if kept:
        had = f"of {_count(len(kept), 'failed test')}, with {_count(gathered.bundles, 'bundle')} of the manager"
        yield f"{'evidence':10} {had}, in folders such as {kept[0]}"
    for note in gathered.notes:
        yield f"{'note':10} {note}"
