"""Histograms against the exact percentiles of what was put into them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.analytics import Histogram

#: From what the pool's clock can tell to a month.
SECONDS = st.floats(min_value=1e-6, max_value=2.6e6)
MANY = st.lists(st.one_of(st.just(0.0), SECONDS), max_size=60)
PERCENT = st.floats(min_value=0, max_value=100)


def exact(values: list[float], percent: float) -> float:
    """The nearest rank."""
    return sorted(values)[max(math.ceil(percent / 100 * len(values)), 1) - 1]


@given(MANY.filter(bool), PERCENT)
def test_a_percentile_is_within_five_percent_of_the_exact_one(values: list[float], percent: float) -> None:
    found = Histogram.of(values).percentile(percent)

    assert found == pytest.approx(exact(values, percent), rel=0.05, abs=1e-9)


@given(MANY, MANY)
def test_two_together_are_the_same_as_all_in_one(one: list[float], other: list[float]) -> None:
    together, whole = Histogram.of(one) + Histogram.of(other), Histogram.of([*one, *other])

    assert (together.counts, together.max_s, together.n) == (whole.counts, whole.max_s, len(one) + len(other))
    assert together.total_s == pytest.approx(whole.total_s)
    assert together.squares_s2 == pytest.approx(whole.squares_s2)


@given(MANY.filter(bool))
def test_mean_and_variance_are_exact(values: list[float]) -> None:
    found = Histogram.of(values)
    mean = math.fsum(values) / len(values)

    assert found.mean_s == pytest.approx(mean)
    largest = max(values) ** 2
    assert found.variance_s2 == pytest.approx(
        math.fsum((value - mean) ** 2 for value in values) / len(values), abs=1e-9 * largest
    )


@given(MANY)
def test_percentiles_rise_and_none_is_above_the_longest(values: list[float]) -> None:
    found = Histogram.of(values)

    steps = [found.percentile(percent) for percent in range(0, 101, 5)]

    assert all(step is None for step in steps) if not values else steps == sorted(steps, key=float)  # type: ignore[arg-type]
    assert all(step is None or step <= found.max_s for step in steps)


def test_nothing_is_known_of_an_empty_one() -> None:
    empty = Histogram()

    assert (empty.n, empty.mean_s, empty.variance_s2, empty.percentile(50), empty.above(1)) == (0, None, None, None, 0)


def test_what_no_clock_tells_is_zero_and_what_nobody_waits_for_stays_in_one_bucket() -> None:
    found = Histogram.of([0.0, 1e-9, 1e300])

    assert found.percentile(50) == 0
    assert len(found.counts) == 2


def test_a_month_of_times_from_a_microsecond_on_takes_three_hundred_buckets_at_most() -> None:
    found = Histogram.of(1e-6 * 1.01**n for n in range(2900))

    assert found.max_s > 30 * 86_400
    assert len(found.counts) <= 305


def test_the_share_above_a_limit_is_told() -> None:
    assert Histogram.of([1.0] * 30 + [100.0] * 10).above(10) == 0.25
