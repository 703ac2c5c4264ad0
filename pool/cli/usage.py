"""What containers use and what is the matter with them, for people and for programs."""

from __future__ import annotations

from typing import Any

from pool.models import ContainerRecord, State
from pool.observed import Condition

#: Where a sample says nothing about the container that there is now.
_NOT_SAMPLED = (State.STARTING, State.QUARANTINED, State.STOPPED)


def usage_json(record: ContainerRecord) -> dict[str, Any]:
    """Return what a container used when it was last checked, as plain JSON types; null for what is not known."""
    sample = record.sample if record.state not in _NOT_SAMPLED else None
    return {
        "conditions": sorted(condition.value for condition in record.conditions),
        "memory_mb": _rounded(sample.memory_mb if sample else None),
        "memory_percent": _rounded(sample.memory_percent if sample else None),
        "cpu_percent": _rounded(sample.cpu_percent if sample else None),
        "full_in_s": _rounded(sample.full_in_s if sample else None),
    }


def memory_cell(record: ContainerRecord) -> str:
    """Return a container's use of memory for a table: in MiB, and of its limit."""
    seen = usage_json(record)
    if seen["memory_mb"] is None:
        return ""
    share = f" {seen['memory_percent']:.0f}%" if seen["memory_percent"] is not None else ""
    return f"{seen['memory_mb']:.0f}M{share}"


def conditions_note(record: ContainerRecord) -> str:
    """Say what is the matter with a container; nothing if all is well."""
    return ", ".join(_IN_WORDS[condition] for condition in sorted(record.conditions))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


_IN_WORDS = {
    Condition.MEMORY_HIGH: "uses much of its memory",
    Condition.MEMORY_EXCESSIVE: "uses so much memory that it is reset when idle",
    Condition.MEMORY_FILLING: "its memory will be full soon",
    Condition.CPU_HIGH: "uses much of its CPU",
    Condition.OUT_OF_MEMORY: "the kernel killed a process of it for memory",
    Condition.UNRESPONSIVE: "does not answer its probes",
    Condition.PAUSED: "was paused by somebody else",
    Condition.HOST_LOST: "its host does not answer",
}
