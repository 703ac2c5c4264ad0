"""A pool simulated event by event, and the history that it leaves: what recommendations are held against."""

from __future__ import annotations

import heapq
import math
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pool.analytics import Histogram, Span
from pool.models import Priority, State

HOUR_S = 3600.0


@dataclass(frozen=True)
class Request:
    at_s: float
    use_s: float
    cleaning_s: float


@dataclass(frozen=True)
class Served:
    request: Request
    wait_s: float

    @property
    def granted_s(self) -> float:
        return self.request.at_s + self.wait_s

    @property
    def ended_s(self) -> float:
        return self.granted_s + self.request.use_s


def gamma(dice: random.Random, mean_s: float, scv: float) -> float:
    """A time with this mean, and this square of its coefficient of variation."""
    return dice.gammavariate(1 / scv, mean_s * scv) if scv else mean_s


def batch(dice: random.Random, mean: float) -> int:
    size = 1
    while dice.random() < 1 - 1 / mean:
        size += 1
    return size


def arrivals(dice: random.Random, per_s: float, *, seconds: float, burst: float = 1.0) -> list[float]:
    """When requests come: batches at random moments, of geometrically distributed size."""
    at, found = dice.expovariate(per_s / burst), []
    while at < seconds:
        found += [at] * batch(dice, burst)
        at += dice.expovariate(per_s / burst)
    return found


def days(
    dice: random.Random, peak_per_h: float, *, count: int = 1, burst: float = 1, use_s: float = 60, scv: float = 1
) -> list[Request]:
    """Days of work: few requests at night, most of them at one in the afternoon."""
    found = []
    for hour in range(24 * count):
        of_day = hour % 24
        share = 0.1 + 0.9 * max(0.0, math.sin((of_day - 6) / 14 * math.pi)) if 6 <= of_day <= 20 else 0.1
        found += [
            Request(hour * HOUR_S + at, gamma(dice, use_s, scv), dice.uniform(0.01, 1))
            for at in arrivals(dice, share * peak_per_h / HOUR_S, seconds=HOUR_S, burst=burst)
        ]
    return found


def served(requests: Iterable[Request], containers: int) -> list[Served]:
    """Serve requests in their order, each by the container that is free first."""
    free = [0.0] * containers
    found = []
    for request in requests:
        start = max(free[0], request.at_s)
        heapq.heapreplace(free, start + request.use_s + request.cleaning_s)
        found.append(Served(request, start - request.at_s))
    return found


def history(work: Sequence[Served], containers: int) -> list[Span]:
    """What is counted of it, hour by hour, where a manager looked all the time."""
    arrived, granted, ended = (defaultdict[int, list[Served]](list) for _ in range(3))
    queued, allocated, cleaning = (defaultdict[int, float](float) for _ in range(3))
    for each in work:
        arrived[_hour(each.request.at_s)].append(each)
        granted[_hour(each.granted_s)].append(each)
        ended[_hour(each.ended_s)].append(each)
        _spread(queued, each.request.at_s, each.granted_s)
        _spread(allocated, each.granted_s, each.ended_s)
        _spread(cleaning, each.ended_s, each.ended_s + each.request.cleaning_s)
    places_s = containers * HOUR_S
    return [
        Span(
            hour * HOUR_S,
            (hour + 1) * HOUR_S,
            watched_s=HOUR_S,
            places_s=places_s,
            state_s={
                State.ALLOCATED: allocated[hour],
                State.CLEANING: cleaning[hour],
                State.AVAILABLE: max(places_s - allocated[hour] - cleaning[hour], 0.0),
            },
            queued_s=queued[hour],
            arrivals={Priority.NORMAL: len(arrived[hour])},
            waits={Priority.NORMAL: Histogram.of(each.wait_s for each in granted[hour])},
            held=Histogram.of(each.request.use_s for each in ended[hour]),
            useful_s=sum(each.request.use_s for each in ended[hour]),
            cleaning=Histogram.of(each.request.cleaning_s for each in ended[hour]),
            ended={"passed": len(ended[hour])},
        )
        for hour in range(max(ended) + 1)
    ]


def _hour(at_s: float) -> int:
    return int(at_s // HOUR_S)


def _spread(seconds: dict[int, float], begin: float, end: float) -> None:
    for hour in range(_hour(begin), _hour(end) + 1):
        seconds[hour] += max(min(end, (hour + 1) * HOUR_S) - max(begin, hour * HOUR_S), 0.0)


def percentile(times: Iterable[float], percent: float) -> float:
    ordered = sorted(times)
    return ordered[max(math.ceil(percent / 100 * len(ordered)) - 1, 0)]
