"""Times by size, in buckets that grow by a tenth each: a few hundred bytes say every percentile to within 5 %.

The idea is that of DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch with
relative-error guarantees", VLDB 2019): buckets at the powers of a base, so that a value differs from the middle of its
bucket by no more than a fixed part of itself. As in HdrHistogram, the buckets are the same for all, so that two
histograms are added bucket by bucket. Only those that hold something are kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

#: Each bucket ends at the tenth more of the one before.
_BASE = 1.1
_LOG = math.log(_BASE)
#: What is below a microsecond is 0, and the pool's clock knows nothing finer.
_UNIT_S = 1e-6
_ZERO = -1
_LAST = 400


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many times were how long. Immutable; what is not in it is added as a new one.

    Attributes:
        counts: Bucket → how many are in it.
        total_s: The sum of all, in seconds.
        squares_s2: The sum of their squares, in seconds².
        max_s: The longest; 0 where there is none.
    """

    counts: Mapping[int, int] = field(default_factory=dict)
    total_s: float = 0.0
    squares_s2: float = 0.0
    max_s: float = 0.0

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Histogram:
        """Return the histogram of some times.

        >>> Histogram.of([1, 2, 3]).n
        3
        """
        counts: dict[int, int] = {}
        total = squares = most = 0.0
        for each in seconds:
            bucket = bucket_of(each)
            counts[bucket] = counts.get(bucket, 0) + 1
            total, squares, most = total + each, squares + each * each, max(most, each)
        return cls(counts, total, squares, most)

    @property
    def n(self) -> int:
        """How many there are."""
        return sum(self.counts.values())

    @property
    def mean_s(self) -> float | None:
        """Their mean, exactly; None where there are none."""
        return self.total_s / n if (n := self.n) else None

    @property
    def variance_s2(self) -> float | None:
        """Their variance, in seconds²; None where there are none."""
        if not (n := self.n):
            return None
        return max(self.squares_s2 / n - (self.total_s / n) ** 2, 0.0)

    def percentile(self, percent: float) -> float | None:
        """Return the time that so many percent do not exceed (the nearest rank), to within 5 %; None where none is.

        Args:
            percent: From 0 to 100.

        >>> round(Histogram.of([10.0] * 99 + [60.0]).percentile(50))
        10
        """
        rank = max(math.ceil(percent / 100 * self.n), 1)
        for bucket in sorted(self.counts):
            rank -= self.counts[bucket]
            if rank <= 0:
                return min(middle_of(bucket), self.max_s)
        return None

    def rows(self) -> Iterator[tuple[float, int]]:
        """Yield the middle of each bucket that holds something, in seconds, and how many are in it; shortest first."""
        for bucket in sorted(self.counts):
            yield middle_of(bucket), self.counts[bucket]

    def above(self, seconds: float) -> float:
        """Return the share of those that are longer, from 0 to 1; 0 where there are none."""
        n = self.n
        return sum(count for middle, count in self.rows() if middle > seconds) / n if n else 0.0

    def __add__(self, other: Histogram) -> Histogram:
        counts = dict(self.counts)
        for bucket, count in other.counts.items():
            counts[bucket] = counts.get(bucket, 0) + count
        return Histogram(
            counts,
            self.total_s + other.total_s,
            self.squares_s2 + other.squares_s2,
            max(self.max_s, other.max_s),
        )


def bucket_of(seconds: float) -> int:
    """Return the bucket that a time belongs to."""
    if seconds < _UNIT_S:
        return _ZERO
    return min(math.ceil(math.log(seconds / _UNIT_S) / _LOG), _LAST)


def middle_of(bucket: int) -> float:
    """Return the time that differs by the least part from every one in a bucket, in seconds."""
    return 0.0 if bucket == _ZERO else 2 * _UNIT_S * _BASE**bucket / (_BASE + 1)
