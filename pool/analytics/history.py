"""What is known of a pool's past: one span for each hour, and spans can be added."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import TypeVar

from pool.analytics.histogram import Histogram
from pool.models import Priority, State

K = TypeVar("K")
V = TypeVar("V")

#: Where the use of those goes that are not among the owners who used most.
OTHERS = "(others)"
#: What failures are told apart by; `docs/analytics.md` says what counts as which.
FAILURE_KINDS = ("timeout", "resource", "system", "test")
_BUSY = (State.ALLOCATED, State.CLEANING, State.RESETTING)


@dataclass(frozen=True, slots=True)
class OwnerUse:
    """What one owner had.

    Attributes:
        leases: Leases that ended, and were used.
        failed: Of those, the ones that did not pass.
        held_s: How long they were held, all together.
        waited_s: How long its requests waited until they were granted, all together.
    """

    leases: int = 0
    failed: int = 0
    held_s: float = 0.0
    waited_s: float = 0.0

    def __add__(self, other: OwnerUse) -> OwnerUse:
        return OwnerUse(
            self.leases + other.leases,
            self.failed + other.failed,
            self.held_s + other.held_s,
            self.waited_s + other.waited_s,
        )


@dataclass(frozen=True, slots=True)
class ContainerUse:
    """How one container did.

    Attributes:
        leases: Leases of it that ended, and were used.
        failed: Of those, the ones that did not pass.
        resets_failed: Attempts to reset it after which it was not clean.
        faults: How often it left rotation for a fault.
        memory_peak_mb: The most memory that a sample saw in use, in MiB; None where it was not sampled.
        memory_limit_mb: Its limit when it was sampled last, in MiB; None where it has none.
    """

    leases: int = 0
    failed: int = 0
    resets_failed: int = 0
    faults: int = 0
    memory_peak_mb: float | None = None
    memory_limit_mb: float | None = None

    def __add__(self, other: ContainerUse) -> ContainerUse:
        """Return the use in both spans; `other` is the later one."""
        peaks = [peak for peak in (self.memory_peak_mb, other.memory_peak_mb) if peak is not None]
        return ContainerUse(
            self.leases + other.leases,
            self.failed + other.failed,
            self.resets_failed + other.resets_failed,
            self.faults + other.faults,
            max(peaks, default=None),
            other.memory_limit_mb if other.memory_limit_mb is not None else self.memory_limit_mb,
        )


@dataclass(frozen=True, slots=True)
class Span:
    """An hour of a pool, or several together. What happened belongs to the hour in which it ended.

    Attributes:
        start: Seconds since the epoch, by the clock of Redis.
        end: Likewise.
        watched_s: Of it, seconds in which a manager looked at the pool.
        places_s: Containers that could be lent at the same time, times seconds, while it was watched.
        state_s: Container-seconds by state, while it was watched.
        queued_s: Requests that waited, times seconds, while it was watched.
        queue_peak: The most that waited at a look.
        arrivals: Requests by priority, granted at once or queued.
        waits: From request to grant, of those that were granted, by priority.
        held: How long leases were held that were used, however they ended.
        useful_s: Of that, the seconds of leases that passed, or failed as a test.
        cleaning: From the end of a lease until its container was available again.
        ended: Leases by how they ended, as `pool.metrics.families.LEASE_ENDS`.
        unserved: Requests that got nothing, by how they ended, as `pool.metrics.families.REQUEST_ENDS`.
        expired: Leases that expired, by cause: `deadline` or `heartbeat`.
        failures: By kind, see `FAILURE_KINDS`.
        resets: Attempts to reset a container by level, reason and outcome (`clean`, `failed`).
        reset_s: How long the attempts took after which it was clean, by level.
        owners: What each owner had; those who used least are `OTHERS`.
        containers: How each container did.
        degraded_s: Seconds in which the pool was degraded, while it was watched.
    """

    start: float
    end: float
    watched_s: float = 0.0
    places_s: float = 0.0
    state_s: Mapping[State, float] = field(default_factory=dict)
    queued_s: float = 0.0
    queue_peak: int = 0
    arrivals: Mapping[Priority, int] = field(default_factory=dict)
    waits: Mapping[Priority, Histogram] = field(default_factory=dict)
    held: Histogram = field(default_factory=Histogram)
    useful_s: float = 0.0
    cleaning: Histogram = field(default_factory=Histogram)
    ended: Mapping[str, int] = field(default_factory=dict)
    unserved: Mapping[str, int] = field(default_factory=dict)
    expired: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    resets: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    reset_s: Mapping[str, Histogram] = field(default_factory=dict)
    owners: Mapping[str, OwnerUse] = field(default_factory=dict)
    containers: Mapping[str, ContainerUse] = field(default_factory=dict)
    degraded_s: float = 0.0

    @property
    def requests(self) -> int:
        """How many requests came."""
        return sum(self.arrivals.values())

    @property
    def leases(self) -> int:
        """How many leases ended that were used."""
        return self.held.n

    @property
    def wait(self) -> Histogram:
        """Waits of all priorities."""
        return reduce(Histogram.__add__, self.waits.values(), Histogram())

    @property
    def utilisation(self) -> float | None:
        """The share of the places that was leased, from 0 to 1; None where it was not watched."""
        return self._share(self.state_s.get(State.ALLOCATED, 0.0))

    @property
    def busy(self) -> float | None:
        """The share of the places that was leased or being made clean, from 0 to 1; None where it was not watched.

        A spare that is reset counts in place of whoever stands in for it, so it is cut at 1.
        """
        return self._share(sum(self.state_s.get(state, 0.0) for state in _BUSY))

    @property
    def efficiency(self) -> float | None:
        """The share of the places that was leased by those who passed, or failed as a test; None where it is not known.

        It is the utilisation, times the share of the time of all leases that ended which is theirs.
        """
        if self.utilisation is None or not self.leases:
            return self.utilisation
        return self.utilisation * (self.useful_s / self.held.total_s if self.held.total_s else 1.0)

    @property
    def queue_mean(self) -> float | None:
        """How many requests waited on average; None where it was not watched."""
        return self.queued_s / self.watched_s if self.watched_s else None

    @property
    def places_mean(self) -> float | None:
        """How many containers could be lent at the same time, on average; None where it was not watched."""
        return self.places_s / self.watched_s if self.watched_s else None

    @property
    def failed(self) -> int:
        """How many leases that were used did not pass."""
        return sum(self.ended.get(end, 0) for end in FAILED_ENDS)

    @property
    def used(self) -> int:
        """How many leases that were used ended, by outcome; `leases` are those whose time is known."""
        return self.failed + self.ended.get("passed", 0)

    @property
    def failure_rate(self) -> float | None:
        """The share of the leases that were used and did not pass, from 0 to 1; None where there were none."""
        return self.failed / self.used if self.used else None

    def _share(self, container_s: float) -> float | None:
        return min(container_s / self.places_s, 1.0) if self.places_s else None

    def __add__(self, other: Span) -> Span:
        first, last = sorted((self, other), key=lambda span: span.end)
        return Span(
            start=min(self.start, other.start),
            end=last.end,
            watched_s=self.watched_s + other.watched_s,
            places_s=self.places_s + other.places_s,
            state_s=_merged(self.state_s, other.state_s, lambda a, b: a + b),
            queued_s=self.queued_s + other.queued_s,
            queue_peak=max(self.queue_peak, other.queue_peak),
            arrivals=_merged(self.arrivals, other.arrivals, lambda a, b: a + b),
            waits=_merged(self.waits, other.waits, Histogram.__add__),
            held=self.held + other.held,
            useful_s=self.useful_s + other.useful_s,
            cleaning=self.cleaning + other.cleaning,
            ended=_merged(self.ended, other.ended, lambda a, b: a + b),
            unserved=_merged(self.unserved, other.unserved, lambda a, b: a + b),
            expired=_merged(self.expired, other.expired, lambda a, b: a + b),
            failures=_merged(self.failures, other.failures, lambda a, b: a + b),
            resets=_merged(self.resets, other.resets, lambda a, b: a + b),
            reset_s=_merged(self.reset_s, other.reset_s, Histogram.__add__),
            owners=_merged(self.owners, other.owners, OwnerUse.__add__),
            containers=_merged(first.containers, last.containers, ContainerUse.__add__),
            degraded_s=self.degraded_s + other.degraded_s,
        )


#: Ends of leases that were used and did not pass.
FAILED_ENDS = ("failed", "error", "expired", "revoked")


def total(spans: Iterable[Span], *, start: float, end: float) -> Span:
    """Return what several spans are together, from `start` to `end` in seconds since the epoch, even where none is."""
    left = [Span(start, end), *spans]
    while len(left) > 1:  # two by two, so that what grows long, such as a month's owners, is copied a few times only
        pairs = zip(left[::2], left[1::2], strict=False)
        left = [one + other for one, other in pairs] + left[len(left) - len(left) % 2 :]
    return left[0]


def _merged(one: Mapping[K, V], other: Mapping[K, V], add: Callable[[V, V], V]) -> dict[K, V]:
    merged = dict(one)
    for key, value in other.items():
        merged[key] = add(merged[key], value) if key in merged else value
    return merged
