"""What is seen of a container besides its state: what it uses, and what is the matter with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum


class Condition(StrEnum):
    """Something that is the matter with a container while it stays in rotation.

    Each is an event twice: `container.<condition>` when it begins, `container.<condition>_over` when it ends.
    """

    MEMORY_HIGH = "memory_high"
    MEMORY_EXCESSIVE = "memory_excessive"  # above `thresholds.reset_above_percent`
    MEMORY_FILLING = "memory_filling"  # would be full within `thresholds.forecast_horizon_s`
    CPU_HIGH = "cpu_high"
    OUT_OF_MEMORY = "out_of_memory"  # leased, and the kernel killed one of its processes for memory
    UNRESPONSIVE = "unresponsive"  # leased, and its probes fail
    PAUSED = "paused"  # leased, and frozen by somebody else
    HOST_LOST = "host_lost"  # its engine does not answer, and neither does it

    @classmethod
    def read(cls, words: str) -> frozenset[Condition]:
        """Read conditions that stand in a row. Those that only a newer manager knows are passed over.

        >>> sorted(Condition.read("memory_high cpu_high what_comes_next"))
        [<Condition.CPU_HIGH: 'cpu_high'>, <Condition.MEMORY_HIGH: 'memory_high'>]
        """
        return frozenset(condition for condition in cls if condition in words.split())

    @property
    def measured(self) -> bool:
        """Whether it follows from a sample alone."""
        return self in _MEASURED


_MEASURED = frozenset({Condition.MEMORY_HIGH, Condition.MEMORY_EXCESSIVE, Condition.MEMORY_FILLING, Condition.CPU_HIGH})


@dataclass(frozen=True, slots=True)
class Sample:
    """What a container used at one moment.

    Attributes:
        memory_limit_bytes: 0 where there is no limit.
        cpu_percent: Mean since the sample before, of what the container may use; None for the first.
        full_in_s: Seconds until the memory limit is reached, by the trend; None where that is not in sight.
    """

    memory_bytes: int
    memory_limit_bytes: int = 0
    cpu_percent: float | None = None
    pids: int = 0
    full_in_s: float | None = None

    @property
    def memory_mb(self) -> float:
        """Memory in use, in MiB."""
        return self.memory_bytes / 2**20

    @property
    def memory_percent(self) -> float | None:
        """Memory in use, of the limit; None where there is none."""
        return 100 * self.memory_bytes / self.memory_limit_bytes if self.memory_limit_bytes else None

    def to_json(self) -> str:
        """Write it for Redis."""
        cpu = None if self.cpu_percent is None else round(self.cpu_percent, 1)
        full = None if self.full_in_s is None else round(self.full_in_s, 1)
        return json.dumps([self.memory_bytes, self.memory_limit_bytes, cpu, self.pids, full])

    @classmethod
    def from_json(cls, text: str) -> Sample:
        """Read what `to_json` wrote.

        >>> Sample.from_json(Sample(5, 10, pids=2).to_json())
        Sample(memory_bytes=5, memory_limit_bytes=10, cpu_percent=None, pids=2, full_in_s=None)
        """
        return cls(*json.loads(text))
