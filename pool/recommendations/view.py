"""The past of a pool as rules look at it: all of it, and its busiest hours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from pool.analytics import Histogram, Span, total
from pool.models import State
from pool.setups import Setup

#: An hour with fewer requests, or a shorter piece of one, says nothing of how busy the pool gets.
_REQUESTS_OF_AN_HOUR = 20
_SHORTEST_HOUR_S = 1800.0
#: The busiest hours are those that took this share of all requests together, and no more than so many.
BUSIEST = 0.25
_MOST_HOURS = 24
#: An hour that was watched for less than this share of it does not say how many containers served.
_WATCHED = 0.5
#: Containers in these states serve nobody, and do not come back by themselves soon.
OUT = (State.STARTING, State.UNHEALTHY, State.QUARANTINED, State.STOPPED)


class View:
    """What rules look at.

    Args:
        hours: The hours, in any order.
        setup: How the pool is set up.
    """

    def __init__(self, hours: Sequence[Span], setup: Setup) -> None:
        self.hours = tuple(sorted(hours, key=lambda hour: hour.start))
        self.setup = setup

    @cached_property
    def whole(self) -> Span:
        """All hours together."""
        return _together(self.hours)

    @cached_property
    def busiest(self) -> tuple[Span, ...]:
        """The hours that took a quarter of all requests, the busiest first. None where no hour had enough of them."""
        telling = [
            hour
            for hour in self.hours
            if hour.requests >= _REQUESTS_OF_AN_HOUR and hour.end - hour.start >= _SHORTEST_HOUR_S
        ]
        telling.sort(key=lambda hour: (-per_s(hour), hour.start))
        wanted = BUSIEST * sum(hour.requests for hour in telling)
        chosen: list[Span] = []
        for hour in telling[:_MOST_HOURS]:
            if sum(each.requests for each in chosen) >= wanted:
                break
            chosen.append(hour)
        return tuple(chosen)

    @cached_property
    def busy(self) -> Span:
        """The busiest hours together."""
        return _together(self.busiest)

    @cached_property
    def wait(self) -> Histogram:
        """Waits in the busiest hours, of all priorities."""
        return self.busy.wait

    @cached_property
    def wait_p95_s(self) -> float:
        """What 19 of 20 requests of the busiest hours did not exceed, in seconds; 0 where there were none."""
        return self.wait.percentile(95) or 0.0

    @property
    def watched_h(self) -> float:
        """For how many hours a manager looked."""
        return self.whole.watched_s / 3600

    @cached_property
    def places(self) -> int | None:
        """Containers that can be lent at the same time; None where nobody knows."""
        if self.setup.places is not None:
            return self.setup.places
        mean = self.whole.places_mean
        return None if mean is None else round(mean)


def per_s(hour: Span) -> float:
    """Return how many requests came a second."""
    return hour.requests / max(hour.end - hour.start, 1.0)


def serving_s(span: Span) -> float:
    """Return the container-seconds in which containers served, or could have; spares do not count."""
    able = sum(seconds for state, seconds in span.state_s.items() if state not in OUT)
    return min(able, span.places_s)


def servers(hour: Span, places: int) -> float:
    """Return how many containers served in an hour, broken ones not counted; `places` where nobody looked."""
    if not hour.places_s or hour.watched_s < _WATCHED * (hour.end - hour.start):
        return float(places)
    return serving_s(hour) / hour.watched_s


def _together(hours: Sequence[Span]) -> Span:
    start = min((hour.start for hour in hours), default=0.0)
    return total(hours, start=start, end=max((hour.end for hour in hours), default=start))
