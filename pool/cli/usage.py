"""What containers use and what is the matter with them, for people and for programs."""

from __future__ import annotations

from pool.models import ContainerRecord
from pool.observed import Condition
from pool.shapes import usage_json


def memory_cell(record: ContainerRecord) -> str:
    """Return a container's use of memory for a table: in MiB, and of its limit."""
    seen = usage_json(record)
    if seen["memory_mb"] is None:
        return ""
    share = f" {seen['memory_percent']:.0f}%" if seen["memory_percent"] is not None else ""
    return f"{seen['memory_mb']:.0f}M{share}"


def cpu_cell(record: ContainerRecord) -> str:
    """Return a container's use of CPU for a table: in percent of what it may use."""
    percent = usage_json(record)["cpu_percent"]
    return "" if percent is None else f"{percent:.0f}%"


def conditions_note(record: ContainerRecord) -> str:
    """Say what is the matter with a container; nothing if all is well."""
    return ", ".join(_IN_WORDS[condition] for condition in sorted(record.conditions))


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
