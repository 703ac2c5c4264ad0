"""How many containers a pool needs, estimated from what came to it and how long it waited."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pool.analytics import Span
from pool.recommendations import queueing
from pool.recommendations.queueing import Load
from pool.recommendations.view import View, per_s, servers

#: Fewer requests in the busiest hours, or fewer leases in all, say too little of percentiles.
LEAST_REQUESTS = 100
#: What a configuration can ask for.
MOST_CONTAINERS = 1000
#: A wait is fine when 19 of 20 requests wait no longer than this, or than this share of what a lease takes on average.
FINE_S = 5.0
FINE_SHARE = 0.25
#: An hour above this load says nothing of bursts, nor does one that inherits more work than this share of what it can
#: do.
_HIGH = 0.9
_LEFT = 0.02
#: So many requests must have waited for it to be measured; the least wait that is one, in seconds.
_LEAST_WAITS = 20
_A_WAIT_S = 0.01
_LARGEST_BURST = 50.0
_MOST_CALM = 48
#: What is assumed where too few waited to know: each request by itself, or bursts where that is the safe side.
_SINGLE = 1.0
_BURSTY = 3.0


@dataclass(frozen=True, slots=True)
class Demand:
    """What came to a pool in its busiest hours.

    Attributes:
        places: Containers that it has.
        loads: One for each of those hours; the busiest is the first.
        fitted: Whether the size of bursts follows from the waits that were measured.
        wait_p95_s: What was measured, over those hours.
    """

    places: int
    loads: tuple[Load, ...]
    fitted: bool
    wait_p95_s: float

    @property
    def service_s(self) -> float:
        """How long a request keeps a container, on average, cleaning included."""
        return self.loads[0].service_s

    @property
    def offered(self) -> float:
        """How many containers the busiest hour keeps busy."""
        return max(load.offered for load in self.loads)

    @property
    def fine_s(self) -> float:
        """The 95th percentile of the wait with which nothing is wrong."""
        return max(FINE_S, FINE_SHARE * self.service_s)

    def p95_s(self, containers: int) -> float:
        """Return what 19 of 20 requests would not wait longer than; infinite where the queue would only grow."""
        return queueing.quantile_s([queueing.waits(load, containers) for load in self.loads], 0.95)

    def least(self, p95_s: float) -> int | None:
        """Return the least containers with which waits are no longer; None where even the most are too few."""
        low = math.floor(self.offered) + 1
        return queueing.least(lambda n: self.p95_s(n) <= p95_s, low, MOST_CONTAINERS)

    def cautious(self) -> Demand:
        """Return the same with bursts where it is not known that there are none."""
        if self.fitted:
            return self
        return replace(self, loads=tuple(replace(load, burst=_BURSTY) for load in self.loads))

    def evidence(self) -> Mapping[str, float | int | str]:
        """Return what the estimate stands on."""
        return {
            "containers": self.places,
            "busiest_hours": len(self.loads),
            "requests_in_them": round(sum(load.weight for load in self.loads)),
            "requests_per_h_in_the_busiest": round(max(load.per_s for load in self.loads) * 3600),
            "busy_containers_in_the_busiest": round(self.offered, 2),
            "use_and_cleaning_mean_s": round(self.service_s, 2),
            "use_and_cleaning_scv": round(self.loads[0].service_scv, 2),
            "requests_at_once": round(self.loads[0].burst, 2),
            "requests_at_once_from": "measured waits" if self.fitted else "assumed, since too few waited",
            "wait_p95_s": round(self.wait_p95_s, 2),
        }


def demand(view: View) -> Demand | None:
    """Return what came in the busiest hours; None where that is too little to go by."""
    places, busy = view.places, view.busy
    if not places or busy.requests < LEAST_REQUESTS or view.whole.leases < LEAST_REQUESTS or not busy.leases:
        return None
    loads = _loads(view.busiest, busy)
    if not loads[0].service_s:
        return None
    burst = _burst(view, busy, places)
    loads = tuple(replace(load, burst=burst or _SINGLE) for load in _without_chance(loads, view.busiest))
    return Demand(places, loads, burst is not None, view.wait_p95_s)


def _loads(hours: Sequence[Span], like: Span) -> tuple[Load, ...]:
    """Return the load of each hour; how long requests keep a container is taken of `like`, which has more of them."""
    mean_s = (like.held.mean_s or 0.0) + (like.cleaning.mean_s or 0.0)
    variance_s2 = (like.held.variance_s2 or 0.0) + (like.cleaning.variance_s2 or 0.0)
    scv = variance_s2 / mean_s**2 if mean_s else 0.0
    return tuple(Load(per_s(hour), mean_s, scv, weight=hour.requests) for hour in hours)


def _burst(view: View, like: Span, places: int) -> float | None:
    """Return how many requests come at once, as the mean wait says of hours that had no queue of others to work off.

    Arrivals are not kept one by one. What their bursts do is: the waits. So this is the size with which the formulas
    give the mean wait that was measured; None where too few waited.
    """
    calm = _calm(view, like, places)
    waits = [hour.wait for hour, _, _ in calm]
    if sum(wait.n * wait.above(_A_WAIT_S) for wait in waits) < _LEAST_WAITS:
        return None
    mean_s = sum(wait.total_s for wait in waits) / sum(wait.n for wait in waits)

    def excess_s(burst: float) -> float:
        modelled = [queueing.waits(replace(load, burst=burst), serving) for _, load, serving in calm]
        return queueing.mean_s(modelled) - mean_s

    return queueing.bisect(excess_s, _SINGLE, _LARGEST_BURST)


def _calm(view: View, like: Span, places: int) -> list[tuple[Span, Load, float]]:
    """Return hours that could serve all that came, and began without a queue; with load and containers.

    Of very many the busiest are enough.
    """
    found, left_s, high_before = [], 0.0, False
    loads = _loads(view.hours, like)
    for hour, load, smooth in zip(view.hours, loads, _smooth(view.hours, loads), strict=True):
        serving, lasted_s = servers(hour, places), hour.end - hour.start
        high = smooth.offered > _HIGH * serving
        if hour.requests and hour.wait.n and not (high or high_before or left_s > _LEFT * serving * lasted_s):
            found.append((hour, smooth, serving))
        left_s = max(left_s + (load.offered - serving) * lasted_s, 0.0)
        high_before = high
    return sorted(found, key=lambda each: -each[1].offered)[:_MOST_CALM]


def _without_chance(loads: Sequence[Load], hours: Sequence[Span]) -> list[Load]:
    """Return loads nearer to their mean by as much of what they differ as random arrivals explain.

    The busiest of many hours that are alike is so by chance, and no other day has to bear it. The estimate is that of
    James and Stein, 1961.
    """
    lasted_s = sum(hour.end - hour.start for hour in hours)
    mean = sum(hour.requests for hour in hours) / lasted_s
    by_chance = sum(mean * (hour.end - hour.start) for hour in hours)
    seen = sum((hour.requests - mean * (hour.end - hour.start)) ** 2 for hour in hours)
    kept = max(1 - by_chance / seen, 0.0) if seen else 0.0
    return [replace(load, per_s=mean + kept * (load.per_s - mean)) for load in loads]


def _smooth(hours: Sequence[Span], loads: Sequence[Load]) -> list[Load]:
    """Return each load as the mean of its own and those beside it, so that a burst is none that lasts for an hour."""
    smooth = []
    for n, load in enumerate(loads):
        beside = range(max(n - 1, 0), min(n + 2, len(hours)))
        lasted_s = sum(hours[k].end - hours[k].start for k in beside)
        smooth.append(replace(load, per_s=sum(hours[k].requests for k in beside) / max(lasted_s, 1.0)))
    return smooth
