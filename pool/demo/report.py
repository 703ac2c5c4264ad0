"""The demo's result: what happened, in numbers, and whether it was right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

from pool.demo import checks
from pool.demo.checks import Check
from pool.demo.history import Look, Recovery, Strike, Tenure, recovery, tenures
from pool.demo.plan import Fate
from pool.models import Event


@dataclass(frozen=True, slots=True)
class Recording:
    """All that was recorded while the demo ran.

    Attributes:
        start_s: From the first process to all containers available.
        ttl_s: A lease lapses without a heartbeat for this long.
        reap_interval_s: How often the manager looks for such leases.
        left: What the engine still listed after the shut-down.
        kept: Whether it was to be left.
    """

    deployment: str
    size: int
    runs: Sequence[str]
    events: Sequence[Event]
    looks: Sequence[Look]
    strikes: Sequence[Strike]
    start_s: float
    ttl_s: float
    reap_interval_s: float
    left: Sequence[str]
    kept: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What `poolctl demo` shows.

    Attributes:
        served: The leases in the order of their grants.
        unconfirmed: Grants to requests of a dead process, which went on to the next one.
        waits: Priority → waits in seconds.
        resets: Level → durations in milliseconds.
        seconds: From the first process to the end.
    """

    deployment: str
    start_s: float
    seconds: float
    served: Sequence[Tenure]
    unconfirmed: int
    waits: dict[str, list[float]]
    resets: dict[str, list[int]]
    recoveries: Sequence[Recovery]
    checks: Sequence[Check]

    @property
    def passed(self) -> bool:
        """Whether all checks passed."""
        return all(check.passed for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON types; durations in the unit that a key's end names."""
        return {
            "deployment": self.deployment,
            "passed": self.passed,
            "start_s": round(self.start_s, 3),
            "seconds": round(self.seconds, 3),
            "served": [_tenure_json(lease) for lease in self.served],
            "unconfirmed_grants": self.unconfirmed,
            "waits": {
                priority: {"count": len(waits), "mean_s": round(fmean(waits), 3), "max_s": round(max(waits), 3)}
                for priority, waits in self.waits.items()
            },
            "resets": {
                level: {"count": len(times), "p50_ms": median(times), "max_ms": max(times)}
                for level, times in self.resets.items()
            },
            "recoveries": [_recovery_json(found) for found in self.recoveries],
            "checks": [asdict(check) for check in self.checks],
        }


def make_report(recording: Recording, *, seconds: float) -> Report:
    """Compute the report from what was recorded."""
    events = recording.events
    leases = tenures(events)
    recoveries = [recovery(events, strike) for strike in recording.strikes]
    return Report(
        deployment=recording.deployment,
        start_s=recording.start_s,
        seconds=seconds,
        served=[lease for lease in leases if lease.used],
        unconfirmed=sum(not lease.used for lease in leases),
        waits={priority.label: waits for priority, waits in checks.waits_by_priority(events).items()},
        resets=checks.resets_by_level(events),
        recoveries=recoveries,
        checks=[
            checks.one_holder(events),
            checks.clean_hand_overs(events),
            checks.nothing_found(events, recording.looks),
            checks.in_order(events),
            checks.all_served(events, recording.runs),
            *(_recovered(found, recording) for found in recoveries),
            checks.all_available(events, size=recording.size),
            *([] if recording.kept else [checks.nothing_left(recording.left)]),
        ],
    )


def _recovered(found: Recovery, recording: Recording) -> Check:
    if found.strike.fate is Fate.CONTAINER_KILLED:
        return checks.dead_container_replaced(found)
    return checks.dead_holder_replaced(found, ttl_s=recording.ttl_s, reap_interval_s=recording.reap_interval_s)


def _tenure_json(lease: Tenure) -> dict[str, Any]:
    return {
        "run": lease.owner,
        "priority": lease.priority.label,
        "container": lease.container,
        "fence": lease.fence,
        "waited_s": round(lease.waited_s, 3),
        "held_s": round(lease.ended_at - lease.granted_at, 3),
        "end": lease.end,
        "outcome": lease.outcome,
    }


def _recovery_json(found: Recovery) -> dict[str, Any]:
    return {
        "what": found.strike.fate.value,
        "run": found.strike.run,
        "container": found.strike.container,
        "lost_after_s": found.lost_after_s and round(found.lost_after_s, 3),
        "back_after_s": found.back_after_s and round(found.back_after_s, 3),
        "resets_s": round(found.resets_s, 3),
        "level": found.level,
        "note": found.note,
    }
