"""How long requests wait for one of several containers, by the mathematics of queues.

A pool is a queue with one line and `c` servers: M/G/c where arrivals are random, and the same with batches where they
come in bursts. There is no exact formula for general uses; these are the usual ones, and how they are put together:

- Where uses are exponential: the queue M/M/c with batches of geometrically distributed size, which is exact. Its
  balance equations (what goes up through a level goes down through it) become a recursion like that of Erlang B, and
  as stable. With batches of one it gives Erlang C: A. K. Erlang, 1917.
- Where they are not: the waits are longer or shorter by half the sum of the squared coefficients of variation of
  arrivals and uses, after Allen and Cunneen: A. O. Allen, Probability, Statistics and Queueing Theory, 2nd edition
  1990, section 5.3.
- The tail: a wait that is one at all is taken as exponentially distributed. That is exact in the first case, and nearly
  so in others where the load is high. Percentiles follow from it.

`tests/unit/test_queueing.py` holds them against a simulation, and says how far they are off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: What a bisection is done after: far below what the approximations are good for.
_STEPS = 40


@dataclass(frozen=True, slots=True)
class Load:
    """What comes to a pool for a while.

    Attributes:
        per_s: Requests a second.
        service_s: How long one keeps a container on average: its use, and what cleaning takes after it.
        service_scv: Variance of that, by the square of its mean: 0 where all are alike, 1 for exponential ones.
        burst: How many requests come at once, on average: 1 where each comes by itself, at random.
        weight: How much it counts among several.
    """

    per_s: float
    service_s: float
    service_scv: float = 1.0
    burst: float = 1.0
    weight: float = 1.0

    @property
    def offered(self) -> float:
        """How many containers it keeps busy, on average, where none has to wait."""
        return self.per_s * self.service_s


@dataclass(frozen=True, slots=True)
class Waits:
    """How waits are distributed: `share` of the requests wait, exponentially distributed around `mean_of_them_s`.

    Attributes:
        share: Between 0 and 1.
        mean_of_them_s: In seconds; infinite where more comes than can be served.
        weight: How much this counts among several.
    """

    share: float
    mean_of_them_s: float
    weight: float = 1.0

    @property
    def mean_s(self) -> float:
        """Mean wait of all requests, in seconds."""
        return self.share * self.mean_of_them_s if self.share else 0.0

    def beyond(self, seconds: float) -> float:
        """Return the share of the requests that wait longer than this."""
        return self.share * math.exp(-seconds / self.mean_of_them_s) if self.share else 0.0


def share_that_waits(servers: int, offered: float, burst: float = 1.0) -> float:
    """Return the share of requests that wait, where uses are exponential; 1 where more comes than can be served.

    Args:
        servers: How many serve.
        offered: How many of them are kept busy on average.
        burst: Mean size of the batches in which requests come; 1 gives Erlang C.

    >>> round(share_that_waits(2, 1.0), 3), round(share_that_waits(2, 1.0, burst=2), 3), share_that_waits(2, 2.5)
    (0.333, 0.6, 1.0)
    """
    if offered >= servers:
        return 1.0
    batches, more = offered / burst, 1 - 1 / burst
    # Batches that reach beyond n - 1 present, by the time with fewer than n. More than n come in a batch as often as
    # `more` to the power of n.
    reaching = 1.0
    for n in range(1, servers):
        rate = batches / n
        reaching *= (more + rate) / (1 + rate * reaching)
    rate = batches / servers
    left = (1 - offered / servers) / burst  # 1 - (more + rate), without the loss of digits
    full = rate * reaching / left
    return min((1 - more) * (more + rate) * reaching / left / (1 + full), 1.0)


def waits(load: Load, containers: float) -> Waits:
    """Return how a load waits for so many containers.

    Args:
        load: What comes.
        containers: How many serve it; part of one where one served for part of the time.
    """
    spare = containers - load.offered
    if spare <= 0 or containers <= 0:
        return Waits(1.0, math.inf, load.weight)
    variation = (2 * load.burst - 1 + load.service_scv) / 2
    whole = math.floor(containers)
    share = share_that_waits(whole, load.offered, load.burst)
    if containers > whole:
        following = share_that_waits(whole + 1, load.offered, load.burst)
        share += (containers - whole) * (following - share)
    return Waits(share, load.service_s / spare * variation, load.weight)


def mean_s(several: Sequence[Waits]) -> float:
    """Return the mean wait over several loads, by their weights, in seconds."""
    return sum(each.weight * each.mean_s for each in several) / sum(each.weight for each in several)


def quantile_s(several: Sequence[Waits], q: float) -> float:
    """Return the wait that a share `q` of the requests of several loads does not exceed, in seconds.

    It is infinite where loads that are not served in the end have more than the rest of the requests.
    """
    weight = sum(each.weight for each in several)

    def beyond(seconds: float) -> float:
        return sum(each.weight * each.beyond(seconds) for each in several) / weight

    if beyond(0.0) <= 1 - q:
        return 0.0
    lasting = sum(each.weight for each in several if each.share and math.isinf(each.mean_of_them_s))
    if lasting / weight > 1 - q:
        return math.inf
    longest = max(each.mean_of_them_s for each in several if not math.isinf(each.mean_of_them_s))
    above = longest
    while beyond(above) > 1 - q and above < longest * 1e6:
        above *= 2
    return bisect(lambda seconds: 1 - q - beyond(seconds), 0.0, above)


def bisect(rising: Callable[[float], float], low: float, high: float) -> float:
    """Return where a rising function is 0 between two places, or the place that is nearer to it.

    >>> round(bisect(lambda x: x * x - 2, 0, 2), 6)
    1.414214
    """
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if rising(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def least(good: Callable[[int], bool], low: int, high: int) -> int | None:
    """Return the least whole number in a range that is good, where all above a good one are; None where none is.

    >>> least(lambda n: n * n >= 17, 1, 1000), least(lambda n: n > 9, 1, 3)
    (5, None)
    """
    if high < low or not good(high):
        return None
    while low < high:
        middle = (low + high) // 2
        if good(middle):
            high = middle
        else:
            low = middle + 1
    return low
