"""How much must be known before anything is recommended, and before it is blamed on one container."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from pool.analytics import Histogram, Span
from pool.models import Priority, State
from pool.recommendations import Severity, recommend
from tests.histories import SETUP, container, given_for, hours, priorities, states, waits


@dataclass(frozen=True)
class Least:
    """What is enough for a recommendation to be given, and one less of it, which is not."""

    code: str
    enough: list[Span]
    too_little: list[Span]
    setup: Mapping[str, Any] = field(default_factory=dict)


def _one_hour(code: str, enough: Mapping[str, Any], too_little: Mapping[str, Any], **setup: Any) -> Least:
    return Least(code, hours(1, **enough), hours(1, **too_little), setup)


def _hours_of(code: str, count: int, changes: Mapping[str, Any], **setup: Any) -> Least:
    return Least(code, hours(count, **changes), hours(count - 1, **changes), setup)


def _worse(leases: int, failed: int) -> dict[str, Any]:
    return {"containers": {"a": container(leases, failed=failed), "b": container(400)}}


def _busy(requests: int, **changes: Any) -> dict[str, Any]:
    return {"arrivals": {Priority.NORMAL: requests}, "held": Histogram.of([20.0] * 100)} | changes


def _soft_and_hard(soft: int, hard: int) -> dict[str, Any]:
    resets = {("soft", "on_release", "clean"): soft, ("hard", "on_release", "clean"): hard}
    return {"resets": resets, "reset_s": {"soft": Histogram.of([0.05]), "hard": Histogram.of([50.0])}}


def _dirty(soft: int) -> dict[str, Any]:
    return {"resets": {("soft", "on_release", "failed"): soft - 10, ("soft", "on_release", "clean"): 10}}


_SLOW_120 = waits(*[60.0] * 20, of=120)
_SPARED = {"state_s": states() | {State.SPARE: 3600.0}}
_UNUSED = {"containers": {"a": container(memory_peak_mb=100)}}
_FROZEN = {"waits": waits(*[46.0] * 20, of=100), "state_s": states(quarantined=3600)}
_RESETTING = {"waits": waits(*[4.0] * 50, of=120), "state_s": states(resetting=500)}

LEAST = [
    _one_hour("failure_rate_high", {"ended": {"passed": 15, "error": 15}}, {"ended": {"passed": 14, "error": 15}}),
    _one_hour("time_wasted", {"ended": {"passed": 30}, "useful_s": 1.0}, {"ended": {"passed": 29}, "useful_s": 1.0}),
    _one_hour("lease_timeout_short", {"expired": {"deadline": 5}}, {"expired": {"deadline": 4}}),
    _one_hour("heartbeats_missed", {"expired": {"heartbeat": 5}}, {"expired": {"heartbeat": 4}}),
    _one_hour("ttl_long", {"expired": {"heartbeat": 5}}, {"expired": {"heartbeat": 4}}, ttl_s=90),
    _one_hour("grants_unconfirmed", {"ended": {"unconfirmed": 10}}, {"ended": {"unconfirmed": 9}}),
    _one_hour("requests_give_up", {"unserved": {"timed_out": 10}}, {"unserved": {"timed_out": 9}}),
    _one_hour(
        "lease_timeout_long",
        {"held": Histogram.of([20.0] * 200)},
        {"held": Histogram.of([20.0] * 199)},
        lease_timeout_s=400,
    ),
    _one_hour("max_wait_long", {"waits": waits(3.0, of=200)}, {"waits": waits(3.0, of=199)}, max_wait_s=600),
    _hours_of("fewer_containers", 24, {}, places=8),
    _hours_of("mostly_idle", 24, {"state_s": states(allocated=500)}),
    _hours_of("memory_wasteful", 72, _UNUSED),
    _hours_of("spares_unused", 72, _SPARED, spares=1),
    _one_hour("reset_too_low", _dirty(50), _dirty(49)),
    _one_hour("reset_too_high", _soft_and_hard(50, 20), _soft_and_hard(49, 20)),
    _one_hour("reset_too_high", _soft_and_hard(50, 20), _soft_and_hard(50, 19)),
    _one_hour("container_worse", _worse(40, 5), _worse(40, 4)),
    _one_hour("container_worse", _worse(20, 8), _worse(19, 8)),
    _one_hour("low_priority_starves", {"waits": priorities(90.0, of=60)}, {"waits": priorities(90.0, of=36)}),
    _one_hour("wait_long", _FROZEN, _FROZEN | {"waits": waits(*[46.0] * 20, of=99)}),
    _one_hour("queue_long", {"queued_s": 5.0 * 3600} | _busy(100), {"queued_s": 5.0 * 3600} | _busy(99)),
    _one_hour("more_containers", _busy(100, waits=_SLOW_120), _busy(99, waits=_SLOW_120)),
    _one_hour(
        "more_containers",
        _busy(100, waits=_SLOW_120),
        _busy(100, waits=_SLOW_120, held=Histogram.of([20.0] * 99)),
    ),
    _one_hour("no_reserve", _busy(100, state_s=states(allocated=6200)), _busy(99, state_s=states(allocated=6200))),
    _one_hour(
        "spares_help",
        _RESETTING | _busy(100, resets={("hard", "on_expiry", "clean"): 20}),
        _RESETTING | _busy(100, resets={("hard", "on_expiry", "clean"): 19}),
    ),
    _one_hour(
        "out_of_rotation", {"state_s": states(starting=1000)}, {"state_s": states(starting=1000), "watched_s": 3599.0}
    ),
    _one_hour("degraded_often", {"degraded_s": 300.0}, {"degraded_s": 300.0, "watched_s": 3599.0}),
    _one_hour(
        "cleaning_costly",
        {"cleaning": Histogram.of([10.0] * 60), "held": Histogram.of([20.0] * 30)},
        {"cleaning": Histogram.of([10.0] * 60), "held": Histogram.of([20.0] * 29)},
    ),
]


@pytest.mark.parametrize("least", LEAST, ids=lambda least: least.code)
def test_less_than_the_stated_minimum_is_no_cause(least: Least) -> None:
    setup = replace(SETUP, **least.setup)

    assert given_for(least.code, least.enough, setup) is not None, recommend(least.enough, setup)
    assert given_for(least.code, least.too_little, setup) is None


def test_memory_that_runs_out_five_times_is_critical() -> None:
    tight = {"a": container(memory_peak_mb=512)}

    severities = [
        advice.severity
        for n in (4, 5)
        if (advice := given_for("memory_tight", hours(1, containers=tight, failures={"resource": n}), SETUP))
    ]

    assert severities == [Severity.WARNING, Severity.CRITICAL]


def test_no_more_than_the_three_clearest_are_named() -> None:
    bad = {name: container(50, failed=20) for name in "abcd"}
    good = {f"good-{n}": container(50) for n in range(20)}

    named = [each for each in recommend(hours(containers={**bad, **good}), SETUP) if each.code == "container_worse"]

    assert [each.evidence["container"] for each in named] == ["a", "b", "c"]


def test_a_container_that_one_pool_in_a_hundred_has_by_chance_is_not_blamed() -> None:
    # Fisher's test gives 0.0034 for 8 of 60 against 3 of 140, and 0.0004 for 10; 12 comparisons need 0.0008.
    others = {name: container(n, failed=1) for name, n in (("a", 47), ("b", 47), ("c", 46))}

    assert given_for("container_worse", hours(1, containers={**others, "d": container(60, failed=8)}), SETUP) is None
    assert (
        given_for("container_worse", hours(1, containers={**others, "d": container(60, failed=10)}), SETUP) is not None
    )
