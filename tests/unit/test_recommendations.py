"""Each recommendation on a history whose right answer is known, and on one beside it where it must be silent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest

from pool.analytics import Histogram
from pool.config import PoolOptions
from pool.models import Priority, State
from pool.recommendations import ENTRIES, Severity, recommend
from pool.recommendations.reference import render_reference
from pool.setups import Setup
from tests.histories import SETUP, container, given_for, hours, priorities, states, waits


@dataclass(frozen=True)
class Case:
    """What a recommendation is given for, and what is just not enough.

    Attributes:
        hit: What is different in each hour.
        miss: The same where it must be silent.
        says: What the title or the action says.
        setup: What is different in the set-up.
        other_setup: The same where it must be silent; as `setup` if not said.
    """

    code: str
    hit: Mapping[str, Any]
    miss: Mapping[str, Any]
    says: str
    severity: Severity = Severity.WARNING
    setup: Mapping[str, Any] = field(default_factory=dict)
    other_setup: Mapping[str, Any] | None = None
    count: int = 24


_SLOW = waits(*[100.0] * 20)
_QUICK = waits(*[4.0] * 20)
_HARD = {
    ("soft", "on_release", "clean"): 50,
    ("hard", "on_release", "clean"): 10,
}
_HARD_S = {"soft": Histogram.of([0.05] * 50), "hard": Histogram.of([20.0] * 10)}

CASES = [
    Case(
        "overloaded",
        {"arrivals": {Priority.NORMAL: 400}, "waits": _SLOW},
        {"arrivals": {Priority.NORMAL: 300}, "waits": _SLOW},
        "at least 3 are needed",
        Severity.CRITICAL,
    ),
    Case(
        "more_containers",
        {"arrivals": {Priority.NORMAL: 270}, "waits": waits(*[40.0] * 100, of=270)},
        {"arrivals": {Priority.NORMAL: 270}, "waits": waits(*[7.0] * 100, of=270)},
        "4 containers would have cut the p95 wait of the busiest hours from 39 s to about 2.2 s",
    ),
    Case("fewer_containers", {}, {}, "6 containers, 3072 MiB", Severity.INFO, {"places": 8}, {"places": 2}),
    Case(
        "no_reserve",
        {"state_s": states(allocated=6200)},
        {"state_s": states(allocated=6000)},
        "86% of the places were taken",
    ),
    Case(
        "mostly_idle",
        {"state_s": states(allocated=500)},
        {"state_s": states(allocated=800)},
        "leased for 6.9% of the time",
        Severity.INFO,
    ),
    Case(
        "wait_long",
        {"waits": waits(*[46.0] * 10), "state_s": states(quarantined=3600)},
        {"waits": waits(*[15.0] * 10), "state_s": states(quarantined=3600)},
        "waited longer than 4",
    ),
    Case(
        "queue_long",
        {"queued_s": 5.0 * 3600},
        {"queued_s": 3.5 * 3600},
        "5 requests wait on average, 2.5 for each place",
    ),
    Case("queue_near_limit", {"queue_peak": 80}, {"queue_peak": 79}, "no more than 100 may wait"),
    Case("queue_near_limit", {"queue_peak": 100}, {"queue_peak": 60}, "others are refused", Severity.CRITICAL),
    Case(
        "requests_give_up", {"unserved": {"timed_out": 4}}, {"unserved": {"timed_out": 2}}, "96 requests of 1440 (7%)"
    ),
    Case("requests_give_up", {"unserved": {"timed_out": 15}}, {}, "(25%) gave up", Severity.CRITICAL),
    Case(
        "low_priority_starves",
        {"waits": priorities(90.0)},
        {"waits": priorities(15.0)},
        "Set `aging_s` to 25",
    ),
    Case(
        "low_priority_starves",
        {"waits": priorities(90.0)},
        {"waits": priorities(90.0)},
        "priority low waited longer than 9",
        other_setup={"aging": True},
    ),
    Case(
        "max_wait_short",
        {"waits": waits(*[46.0] * 10), "state_s": states(quarantined=3600), "unserved": {"timed_out": 1}},
        {"waits": waits(*[46.0] * 10), "state_s": states(quarantined=3600)},
        "Raise `limits.max_wait_s` to 160",
        Severity.INFO,
        {"max_wait_s": 80},
    ),
    Case(
        "max_wait_long",
        {},
        {"waits": waits(40.0)},
        "Set `limits.max_wait_s` to 60",
        Severity.INFO,
        {"max_wait_s": 600},
    ),
    Case(
        "failure_rate_high",
        {"ended": {"passed": 50, "failed": 10}},
        {"ended": {"passed": 54, "failed": 6}},
        "17% of the leases did not pass: 240 of 1440, most of them as tests do",
    ),
    Case(
        "failure_rate_high",
        {"ended": {"passed": 35, "error": 25}},
        {"ended": {"passed": 60}},
        "`poolctl evidence list`",
        Severity.CRITICAL,
    ),
    Case(
        "time_wasted",
        {"useful_s": 800.0},
        {"useful_s": 900.0},
        "33% of the time of all leases",
    ),
    Case(
        "lease_timeout_short",
        {"expired": {"deadline": 2}},
        {"expired": {"deadline": 1}},
        "raise `limits.lease_timeout_s` to 240",
    ),
    Case(
        "lease_timeout_long",
        {},
        {},
        "Set `limits.lease_timeout_s` to 110",
        Severity.INFO,
        {"lease_timeout_s": 400},
        {"lease_timeout_s": 300},
    ),
    Case(
        "lease_timeout_long",
        {},
        {},
        "99 of 100 take no more than 3",
        Severity.INFO,
        {"lease_timeout_s": 400},
        {"lease_timeout_s": 400, "adaptive": True},
    ),
    Case("heartbeats_missed", {"expired": {"heartbeat": 2}}, {"expired": {"heartbeat": 1}}, "Clients crash"),
    Case(
        "heartbeats_missed",
        {"expired": {"heartbeat": 7}},
        {},
        "Set `limits.ttl_s` to 15",
        Severity.CRITICAL,
        {"ttl_s": 3},
    ),
    Case(
        "ttl_long",
        {"expired": {"heartbeat": 1}},
        {"expired": {"heartbeat": 1}},
        "Set `limits.ttl_s` to 15",
        Severity.INFO,
        {"ttl_s": 90},
        {"ttl_s": 60},
    ),
    Case(
        "grants_unconfirmed", {"ended": {"passed": 60, "unconfirmed": 4}}, {"ended": {"unconfirmed": 2}}, "claim_ttl_s"
    ),
    Case(
        "reset_too_high",
        {"resets": _HARD, "reset_s": _HARD_S},
        {"resets": {**_HARD, ("soft", "on_release", "failed"): 1}, "reset_s": _HARD_S},
        "Set `reset.on_failure` to medium",
        Severity.INFO,
    ),
    Case(
        "reset_too_high",
        {"resets": _HARD, "reset_s": _HARD_S},
        {"resets": _HARD, "reset_s": _HARD_S},
        "saves",
        Severity.INFO,
        {"medium": False},
        {"on_failure": "medium"},
    ),
    Case(
        "reset_too_low",
        {"resets": {("soft", "on_release", "clean"): 40, ("soft", "on_release", "failed"): 20}},
        {"resets": {("soft", "on_release", "clean"): 50, ("soft", "on_release", "failed"): 10}},
        "set `reset.on_release` to medium",
    ),
    Case(
        "cleaning_costly",
        {"cleaning": Histogram.of([10.0] * 60)},
        {"cleaning": Histogram.of([6.0] * 60)},
        "33% of the time",
        Severity.INFO,
    ),
    Case(
        "spares_help",
        {"waits": _QUICK, "state_s": states(resetting=500), "resets": {("hard", "on_expiry", "clean"): 1}},
        {"waits": _QUICK, "state_s": states(resetting=300), "resets": {("hard", "on_expiry", "clean"): 1}},
        "Set `spares` to 1",
        Severity.INFO,
    ),
    Case(
        "spares_unused",
        {"state_s": states() | {State.SPARE: 3600.0}},
        {"state_s": states() | {State.SPARE: 3580.0}},
        "512 MiB",
        Severity.INFO,
        {"spares": 1},
        count=72,
    ),
    Case(
        "container_worse",
        {"containers": {"a": container(failed=1), "b": container(failed=4)}},
        {"containers": {"a": container(failed=3), "b": container(failed=4)}},
        "b is worse than the others: 96 failed leases with 720 leases, the others 24 with 720",
    ),
    Case(
        "container_worse",
        {"containers": {"a": container(), "b": container(), "c": container(faults=1)}},
        {"containers": {"a": container(faults=1), "b": container(faults=1), "c": container(faults=1)}},
        "c is worse than the others: 24 faults",
    ),
    Case(
        "container_worse",
        {"containers": {"a": container(resets_failed=2), "b": container()}},
        {"containers": {"a": container(resets_failed=2), "b": container(resets_failed=1)}},
        "`poolctl reset a --level recreate`",
    ),
    Case(
        "memory_tight",
        {"containers": {"a": container(memory_peak_mb=470), "b": container()}},
        {"containers": {"a": container(memory_peak_mb=450), "b": container()}},
        "Set `container.memory` to 672m",
    ),
    Case(
        "memory_tight",
        {"containers": {"a": container(memory_peak_mb=512)}, "failures": {"resource": 1}},
        {},
        "1 container of 1",
        Severity.CRITICAL,
    ),
    Case(
        "memory_wasteful",
        {"containers": {"a": container(memory_peak_mb=100), "b": container(memory_peak_mb=90)}},
        {"containers": {"a": container(memory_peak_mb=100), "b": container(memory_peak_mb=160)}},
        "Set `container.memory` to 224m",
        Severity.INFO,
        count=72,
    ),
    Case(
        "out_of_rotation",
        {"state_s": states(quarantined=800)},
        {"state_s": states(quarantined=600)},
        "`poolctl restore`",
    ),
    Case("out_of_rotation", {"state_s": states(starting=4000)}, {}, "most of them starting", Severity.CRITICAL),
    Case("degraded_often", {"degraded_s": 200.0}, {"degraded_s": 150.0}, "6% of the time"),
    Case("degraded_often", {"degraded_s": 1000.0}, {}, "28% of the time", Severity.CRITICAL),
    # Just not critical
    Case("requests_give_up", {"unserved": {"timed_out": 11}}, {}, "(18%)"),
    Case("heartbeats_missed", {"expired": {"heartbeat": 5}}, {}, "(8%)"),
    Case("heartbeats_missed", {"expired": {"heartbeat": 5}}, {}, "Set `limits.ttl_s` to 15", setup={"ttl_s": 9}),
    Case("heartbeats_missed", {"expired": {"heartbeat": 5}}, {}, "Clients crash", setup={"ttl_s": 10}),
    Case("out_of_rotation", {"state_s": states(starting=3200)}, {}, "44%"),
    Case("degraded_often", {"degraded_s": 860.0}, {}, "24%"),
    Case("failure_rate_high", {"ended": {"passed": 42, "error": 18}}, {}, "30%"),
    Case("failure_rate_high", {"ended": {"passed": 20, "failed": 40}}, {}, "as tests do"),
    Case(
        "cleaning_costly",
        {"cleaning": Histogram.of([10.0] * 60), "waits": waits(*[1.1] * 4)},
        {"cleaning": Histogram.of([6.0] * 60), "waits": waits(*[1.1] * 4)},
        "33% of the time",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code)
def test_it_is_given_where_it_is_right_and_not_beside_that(case: Case) -> None:
    setup = replace(SETUP, **case.setup)
    other = setup if case.other_setup is None else replace(SETUP, **case.other_setup)

    advice = given_for(case.code, hours(case.count, **case.hit), setup)
    silent = given_for(case.code, hours(case.count, **case.miss), other)

    assert advice is not None, recommend(hours(case.count, **case.hit), setup)
    assert advice.severity is case.severity
    assert case.severity in ENTRIES[case.code].severities
    assert case.says in f"{advice.title} {advice.action} saves {advice.saves}", advice
    assert silent is None


def test_the_page_lists_what_there_is() -> None:
    page = Path(__file__).parents[2] / "docs" / "recommendations.md"

    assert page.read_text() == render_reference(), "python -m pool.recommendations.reference > docs/recommendations.md"


def test_every_recommendation_has_a_case() -> None:
    assert {case.code for case in CASES} == set(ENTRIES)


def test_every_severity_has_a_case() -> None:
    seen = {(case.code, case.severity) for case in CASES}
    listed = {(entry.code, severity) for entry in ENTRIES.values() for severity in entry.severities}

    assert listed == seen


def test_an_ordinary_day_gives_no_cause() -> None:
    assert recommend(hours(), SETUP) == []
    assert recommend(hours(24 * 14), SETUP) == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code)
def test_where_too_little_is_known_nothing_is_said(case: Case) -> None:
    few = [
        replace(
            hour,
            end=hour.start + 60,
            watched_s=60.0,
            places_s=120.0,
            queue_peak=0,
            arrivals={Priority.NORMAL: 2},
            waits={},
            held=Histogram.of([1.0] * 2),
            cleaning=Histogram(),
            ended={"failed": 2},
            unserved={},
            expired={},
            resets={},
            containers={},
            degraded_s=0.0,
        )
        for hour in hours(1, **case.hit)
    ]

    assert recommend([], replace(SETUP, **case.setup)) == []
    assert recommend(few, replace(SETUP, **case.setup)) == []


def test_an_unknown_set_up_costs_advice_and_nothing_else() -> None:
    for case in CASES:
        for advice in recommend(hours(case.count, **case.hit), Setup()):
            assert "None" not in f"{advice.title} {advice.action} {advice.saves or ''}"


def test_a_set_up_is_read_from_the_configuration_and_survives_redis() -> None:
    options = PoolOptions.model_validate(
        {
            "size": 3,
            "spares": 1,
            "aging_s": 30,
            "container": {"image": "i", "memory": "512m"},
            "health": {"tcp": None},
            "limits": {"ttl_s": 20},
        }
    )

    setup = Setup.of(options)

    assert (setup.places, setup.spares, setup.memory_mb, setup.ttl_s, setup.aging) == (3, 1, 512, 20, True)
    assert all(getattr(setup, each.name) is not None for each in fields(setup))
    assert Setup.from_json(setup.to_json()) == setup
    assert Setup.from_json(None) == Setup()
