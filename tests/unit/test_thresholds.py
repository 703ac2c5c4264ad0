"""When a container has failed for too long, and when it uses too much: both slow to change back."""

from __future__ import annotations

import pytest

from pool.config import ThresholdOptions, parse_config
from pool.errors import ConfigError
from pool.health import Streak, too_high
from pool.observed import Condition, Sample

LIMIT = 1000
GOOD, BAD = True, False


def streak_of(*checks: bool, failures: int = 3, recoveries: int = 1) -> bool:
    streak = Streak(failures=failures, recoveries=recoveries)
    return [streak.note(healthy=check) for check in checks][-1]


def conditions(
    memory: int = 0, *, before: set[Condition] | None = None, cpu: float | None = None, full_in_s: float | None = None,
    **options: object,
) -> set[Condition]:  # fmt: skip
    sample = Sample(memory, LIMIT, cpu_percent=cpu, full_in_s=full_in_s)
    return set(too_high(sample, frozenset(before or ()), ThresholdOptions.model_validate(options)))


def test_failures_in_a_row_count_and_a_good_check_ends_the_row() -> None:
    assert not streak_of(BAD, BAD)
    assert streak_of(BAD, BAD, BAD)
    assert not streak_of(BAD, BAD, GOOD, BAD, BAD)


def test_with_recoveries_a_single_good_check_does_not_hide_that_a_container_flaps() -> None:
    assert streak_of(BAD, GOOD, BAD, GOOD, BAD, recoveries=2)
    assert not streak_of(BAD, GOOD, GOOD, BAD, GOOD, BAD, recoveries=2)


def test_a_failing_container_has_recovered_only_after_enough_good_checks() -> None:
    streak = Streak(failures=1, recoveries=2)

    assert streak.note(healthy=False)
    assert streak.note(healthy=True)
    assert not streak.over
    assert not streak.note(healthy=True)
    assert streak.over


@pytest.mark.parametrize(("memory", "before", "high"), [(899, 0, 0), (900, 0, 1), (811, 1, 1), (810, 1, 0)])
def test_memory_is_high_from_its_threshold_until_nine_tenths_of_it(memory: int, before: int, high: int) -> None:
    found = conditions(memory, before={Condition.MEMORY_HIGH} if before else set(), memory_percent=90)

    assert found == ({Condition.MEMORY_HIGH} if high else set())


def test_cpu_is_measured_against_its_own_threshold() -> None:
    assert conditions(cpu=96.0) == {Condition.CPU_HIGH}
    assert conditions(cpu=94.0) == set()
    assert conditions(cpu=None) == set()


def test_memory_above_the_second_threshold_asks_for_a_reset() -> None:
    found = conditions(960, reset_above_percent=95)

    assert found == {Condition.MEMORY_HIGH, Condition.MEMORY_EXCESSIVE}


def test_memory_that_will_be_full_within_the_horizon_asks_for_a_reset() -> None:
    assert conditions(full_in_s=300, forecast_horizon_s=300) == {Condition.MEMORY_FILLING}
    assert conditions(full_in_s=301, forecast_horizon_s=300) == set()
    assert conditions(full_in_s=0.0) == {Condition.MEMORY_FILLING}


def test_without_thresholds_nothing_is_too_high() -> None:
    off = dict.fromkeys(["memory_percent", "cpu_percent", "reset_above_percent", "forecast_horizon_s"])

    assert conditions(1000, cpu=100, full_in_s=0.0, **off) == set()


def test_without_a_memory_limit_no_share_of_it_is_too_high() -> None:
    assert set(too_high(Sample(10**9), frozenset(), ThresholdOptions(reset_above_percent=50))) == set()


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("thresholds: {memory_percent: 120}", "pools.p.thresholds.memory_percent: 120 is not allowed; "),
        ("thresholds: {cpu_percent: 0}", "pools.p.thresholds.cpu_percent: 0 is not allowed; "),
        ("thresholds: {forecast_horizon_s: -1}", "pools.p.thresholds.forecast_horizon_s: -1 is not allowed; "),
        ("thresholds: {memory: 90}", "pools.p.thresholds.memory: unknown key; did you mean 'memory_percent'?"),
        ("recycle: {max_uses: 0}", "pools.p.recycle.max_uses: 0 is not allowed; "),
        ("recycle: {max_memory_mb: much}", "pools.p.recycle.max_memory_mb: 'much' is not allowed; "),
        ("recycle: {at_once: 0}", "pools.p.recycle.at_once: 0 is not allowed; "),
        ("health: {tcp: null, recoveries: 0}", "pools.p.health.recoveries: 0 is not allowed; "),
    ],
)
def test_a_wrong_option_is_refused_by_its_path_and_with_what_is_allowed(section: str, told: str) -> None:
    health = "" if section.startswith("health") else "health: {tcp: null}, "

    with pytest.raises(ConfigError) as refused:
        parse_config(f"pools: {{p: {{size: 1, {health}container: {{image: i}}, {section}}}}}")

    assert told in refused.value.problems[0]
