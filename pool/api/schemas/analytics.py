"""What the API gives of pools' past. Durations are seconds, shares from 0 to 1; null is what is not known."""

from __future__ import annotations

from typing import Literal

from pool.api.schemas.outgoing import Out
from pool.api.schemas.types import Moment, PriorityName


class TimesSummary(Out):
    """Some times in figures; percentiles to within 5 %."""

    n: int
    """How many there are."""
    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None


class ResetCount(Out):
    """How many attempts to reset a container ended like this."""

    level: str
    reason: str
    outcome: str
    count: int


class PastSummary(Out):
    """All of the time in figures."""

    requests: int
    """Requests that came."""
    leases: int
    """Leases that ended and were used."""
    utilisation: float | None
    """Share of the places that was leased."""
    busy: float | None
    """Share of the places that was leased or being made clean."""
    efficiency: float | None
    """Share of the places that was leased by those who passed, or failed as a test."""
    wait_s: TimesSummary
    """From request to grant."""
    use_s: TimesSummary
    """How long leases were held."""
    reset_s: dict[str, TimesSummary]
    """By level: attempts after which the container was clean."""
    cleaning_s: TimesSummary
    """From the end of a lease until its container was available again."""
    failure_rate: float | None
    """Share of the leases that were used and did not pass."""
    queue_peak: int
    queue_mean: float | None
    """Requests that waited, on average."""
    places_mean: float | None
    """Containers that could be lent at the same time, on average."""
    degraded_s: float
    """How long the pool was degraded."""
    ended: dict[str, int]
    """Leases by how they ended."""
    unserved: dict[str, int]
    """Requests that got nothing, by how they ended."""
    expired: dict[str, int]
    """Leases that expired, by cause."""
    resets: list[ResetCount]
    state_share: dict[str, float]
    """Share of the containers' time by state; empty where no manager watched."""


class PastHour(Out):
    """An hour of which something is known."""

    start: Moment
    requests: int
    leases: int
    utilisation: float | None
    queue_mean: float | None
    queue_peak: int
    wait_p50_s: float | None
    wait_p95_s: float | None
    use_p50_s: float | None
    use_p95_s: float | None
    reset_p50_s: float | None
    reset_p95_s: float | None
    failures: dict[str, int]


class PriorityPast(Out):
    """What requests of a priority met with."""

    requests: int
    wait_s: TimesSummary


class HourOfWeek(Out):
    """An hour of the week, over all weeks."""

    requests: float | None
    """Requests an hour."""
    utilisation: float | None


class DurationRow(Out):
    """Leases that were held for so long."""

    from_s: float
    to_s: float | None
    leases: int


class OwnerPast(Out):
    """What an owner had."""

    owner: str
    """`(others)`: all whom their hour did not name."""
    leases: int
    failed: int
    held_s: float
    waited_s: float


class ContainerPast(Out):
    """How a container did."""

    container: str
    leases: int
    failed: int
    resets_failed: int
    faults: int
    memory_peak_mb: float | None
    memory_limit_mb: float | None


class Advice(Out):
    """One thing to do about a pool, and why; `docs/recommendations.md` lists them."""

    code: str
    severity: Literal["info", "warning", "critical"]
    title: str
    """What is so, in one sentence."""
    evidence: dict[str, float | int | str]
    """The figures that it follows from; names carry units, shares are from 0 to 1."""
    action: str
    """What to do."""
    saves: str | None
    """What that would save; null where that is not known."""


class Past(Out):
    """A pool's past."""

    pool: str
    since: Moment
    """The beginning of an hour."""
    until: Moment
    watched_s: float
    """Of it, seconds in which a manager looked at the pool."""
    summary: PastSummary
    hours: list[PastHour]
    """Those of which something is known, the earliest first; the last one may be in progress."""
    by_priority: dict[PriorityName, PriorityPast]
    by_hour_of_week: list[HourOfWeek]
    """168 of them; the first is Monday 0:00 UTC."""
    by_duration: list[DurationRow]
    owners: list[OwnerPast]
    """Those who held most first."""
    containers: list[ContainerPast]
    failures: dict[str, int]
    """By kind: timeout, resource, system, test."""
    recommendations: list[Advice]
    """What follows from it, the most severe first."""


class Analytics(Out):
    """The past of pools."""

    pools: list[Past]
