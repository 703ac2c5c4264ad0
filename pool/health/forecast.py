"""When a container will reach its memory limit, by the trend of its latest samples.

The trend is the Theil-Sen estimate: the median of the slopes between all pairs of samples. A few wild samples do not
move it. A step, as when a program is started, is no trend: what is sampled counts as rising only if more pairs rise
than a step could make rise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from itertools import combinations
from statistics import median

#: Samples that a trend looks at, the newest ones, and how many it needs at least.
WINDOW = 32
FEWEST = 10
#: The share of pairs that must rise. A step amid noise makes about three quarters of them rise, a trend nearly all.
_RISING = 0.9


class Trend:
    """The memory of one container while nothing is supposed to change in it."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque(maxlen=WINDOW)

    def add(self, at_s: float, used_bytes: float) -> None:
        """Take a sample in; one that is not younger than the last says nothing and is passed over.

        Args:
            at_s: When it was taken, in seconds by any clock that does not go back.
            used_bytes: Memory in use then.
        """
        if not self._samples or at_s > self._samples[-1][0]:
            self._samples.append((at_s, used_bytes))

    @property
    def slope(self) -> float:
        """Bytes a second that the memory grows; 0 where it does not grow steadily, or too little is known."""
        if len(self._samples) < FEWEST:
            return 0.0
        slopes = [(later[1] - first[1]) / (later[0] - first[0]) for first, later in combinations(self._samples, 2)]
        if sum(slope > 0 for slope in slopes) < _RISING * len(slopes):
            return 0.0
        return median(slopes)

    def full_in_s(self, limit_bytes: float) -> float | None:
        """Return the seconds from the last sample until the limit is reached; None where that is not in sight.

        >>> trend = Trend()
        >>> for second in range(10):
        ...     trend.add(second, 1000 + 10 * second)
        >>> trend.full_in_s(1500)
        41.0
        """
        slope = self.slope
        if slope <= 0 or limit_bytes <= 0:
            return None
        # The middle of the trend, not the last sample: that one may be as wild as any.
        level = median(used + slope * (self._samples[-1][0] - at) for at, used in self._samples)
        return max(0.0, (limit_bytes - level) / slope)


class Forecaster:
    """The trends of many containers, each of which begins anew when what is sampled becomes something else."""

    def __init__(self) -> None:
        self._trends: dict[Hashable, tuple[Hashable, Trend]] = {}

    def add(
        self, series: Hashable, epoch: Hashable, *, at_s: float, used_bytes: float, limit_bytes: float
    ) -> float | None:
        """Take a sample in and return the seconds until the limit is reached; None where that is not in sight.

        Args:
            series: Whose memory it is.
            epoch: What it is the memory of, such as one start of a container; another one begins a new trend.
            at_s: When the sample was taken, in seconds.
            used_bytes: Memory in use then.
            limit_bytes: The limit; 0 where there is none.
        """
        known, trend = self._trends.get(series, (None, None))
        if trend is None or known != epoch:
            trend = Trend()
            self._trends[series] = (epoch, trend)
        trend.add(at_s, used_bytes)
        return trend.full_in_s(limit_bytes)
