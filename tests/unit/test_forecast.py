"""When memory will be full: what is a trend, what is none, and that wild samples do not move it."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.health import Forecaster, Trend
from pool.health.forecast import FEWEST, WINDOW

MIB = 1 << 20
LIMIT = 512 * MIB
STEP_S = 30.0

lengths = st.integers(FEWEST, 3 * WINDOW)
seeds = st.integers(0, 2**32)


def trend_of(memory: Iterable[float]) -> Trend:
    trend = Trend()
    for index, used in enumerate(memory):
        trend.add(index * STEP_S, used)
    return trend


def noise(seed: int, amount: float = MIB) -> Iterable[float]:
    source = random.Random(seed)
    while True:
        yield source.uniform(-amount, amount)


@given(length=lengths, slope=st.floats(0.2, 20), start=st.floats(1, 100))
def test_a_steady_leak_is_forecast_to_the_second(length: int, slope: float, start: float) -> None:
    rate = slope * MIB / STEP_S
    memory = [start * MIB + slope * MIB * index for index in range(length)]

    forecast = trend_of(memory).full_in_s(memory[-1] + 600 * rate)

    assert forecast == pytest.approx(600, rel=1e-6)


@given(length=st.integers(2 * FEWEST, 2 * WINDOW), seed=seeds)
def test_a_leak_amid_noise_is_forecast_nearly_right(length: int, seed: int) -> None:
    per_sample = 2.0 * MIB
    noisy = zip(range(length), noise(seed), strict=False)

    forecast = trend_of(50 * MIB + per_sample * index + wobble for index, wobble in noisy).full_in_s(LIMIT)

    last = 50 * MIB + per_sample * (length - 1)
    assert forecast == pytest.approx((LIMIT - last) / (per_sample / STEP_S), rel=0.25)


@given(length=lengths, level=st.floats(0.01, 500))
def test_what_does_not_change_is_never_full(length: int, level: float) -> None:
    assert trend_of([level * MIB] * length).full_in_s(LIMIT) is None


@given(length=lengths, rate=st.floats(0.001, 10))
def test_what_falls_is_never_full(length: int, rate: float) -> None:
    assert trend_of(400 * MIB - rate * MIB * index for index in range(length)).full_in_s(LIMIT) is None


@given(length=lengths, at=st.integers(1, WINDOW), height=st.floats(0.1, 400))
def test_a_step_is_no_trend(length: int, at: int, height: float) -> None:
    memory = (20 * MIB + (height * MIB if index >= at else 0) for index in range(length))

    assert trend_of(memory).full_in_s(LIMIT) is None


@given(at=st.integers(1, 2 * WINDOW - 1), seed=seeds, height=st.floats(1, 400))
def test_a_step_amid_noise_is_no_trend_once_the_window_is_full(at: int, seed: int, height: float) -> None:
    noisy = zip(range(2 * WINDOW), noise(seed), strict=False)

    memory = (20 * MIB + wobble + (height * MIB if index >= at else 0) for index, wobble in noisy)

    assert trend_of(memory).full_in_s(LIMIT) is None


@given(length=st.integers(2 * FEWEST, WINDOW), wild=st.integers(0, WINDOW - 1), factor=st.floats(0, 5))
def test_a_wild_sample_hardly_moves_the_forecast(length: int, wild: int, factor: float) -> None:
    def leak(index: int) -> float:
        return 50 * MIB + 2 * MIB * index

    calm = trend_of(leak(index) for index in range(length)).full_in_s(LIMIT)
    moved = trend_of(leak(index) * (factor if index == wild else 1) for index in range(length)).full_in_s(LIMIT)

    assert calm is not None
    assert moved is None or moved == pytest.approx(calm, rel=0.2)


@given(length=st.integers(0, FEWEST - 1))
def test_too_few_samples_say_nothing(length: int) -> None:
    assert trend_of(MIB * index for index in range(length)).full_in_s(LIMIT) is None


def test_only_the_latest_samples_count() -> None:
    leaking = [MIB * index for index in range(WINDOW)]

    assert trend_of(leaking).slope > 0
    assert trend_of(leaking + [leaking[-1]] * WINDOW).slope == 0


def test_a_sample_that_is_not_younger_than_the_last_is_passed_over() -> None:
    trend = trend_of(MIB * index for index in range(WINDOW))
    before = trend.full_in_s(LIMIT)

    trend.add(0.0, LIMIT)

    assert trend.full_in_s(LIMIT) == before


def test_without_a_limit_nothing_is_ever_full() -> None:
    assert trend_of(MIB * index for index in range(WINDOW)).full_in_s(0) is None


def test_what_is_beyond_its_limit_is_full_now() -> None:
    assert trend_of(MIB * index for index in range(WINDOW)).full_in_s(5 * MIB) == 0


def test_a_restart_begins_a_new_trend() -> None:
    forecaster = Forecaster()

    def sample(index: int, start: str) -> float | None:
        return forecaster.add("web-1", start, at_s=index * STEP_S, used_bytes=MIB * index, limit_bytes=LIMIT)

    assert [sample(index, "first") for index in range(FEWEST)][-1] is not None
    assert [sample(index, "second") for index in range(FEWEST, 2 * FEWEST - 1)] == [None] * (FEWEST - 1)
    assert sample(2 * FEWEST, "second") is not None


def test_trends_of_two_containers_do_not_mix() -> None:
    forecaster = Forecaster()
    for index in range(FEWEST):
        leaking = forecaster.add("a", 1, at_s=index, used_bytes=MIB * index, limit_bytes=LIMIT)
        steady = forecaster.add("b", 1, at_s=index, used_bytes=MIB, limit_bytes=LIMIT)

    assert leaking is not None
    assert steady is None
