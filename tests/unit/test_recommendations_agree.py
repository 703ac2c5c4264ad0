"""Whatever the history: no two recommendations contradict each other, and what decides is sound."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pool.analytics import Histogram
from pool.metrics.families import LEASE_ENDS
from pool.models import Priority, State
from pool.recommendations import ENTRIES, recommend
from pool.recommendations.statistics import chance_of_as_many, chance_of_share, surely_above
from pool.setups import Setup
from tests.histories import HOUR_S, START, container, hours

# No contradictions, always in the same order

_times = st.builds(
    lambda each, n: Histogram.of([each] * n), st.sampled_from([0.0, 0.05, 3.0, 20.0, 150.0, 900.0]), st.integers(0, 400)
)
_seconds = st.sampled_from([0.0, 10.0, 300.0, 1800.0, 3600.0, 7200.0])
_counts = st.integers(0, 120)
_uses = st.builds(
    container,
    leases=_counts,
    failed=_counts,
    resets_failed=_counts,
    faults=_counts,
    memory_peak_mb=st.sampled_from([None, 20.0, 300.0, 512.0]),
    memory_limit_mb=st.sampled_from([None, 512.0]),
)
_changes = st.fixed_dictionaries(
    {},
    optional={
        "queued_s": _seconds,
        "queue_peak": _counts,
        "arrivals": st.dictionaries(st.sampled_from(Priority), st.integers(0, 2000)),
        "waits": st.dictionaries(st.sampled_from(Priority), _times),
        "held": _times,
        "useful_s": _seconds,
        "cleaning": _times,
        "state_s": st.dictionaries(st.sampled_from(State), _seconds),
        "places_s": st.sampled_from([0.0, 3600.0, 7200.0, 36_000.0]),
        "watched_s": st.sampled_from([0.0, 600.0, 3600.0]),
        "ended": st.dictionaries(st.sampled_from(LEASE_ENDS), _counts),
        "unserved": st.dictionaries(st.just("timed_out"), _counts),
        "expired": st.dictionaries(st.sampled_from(["deadline", "heartbeat"]), _counts),
        "failures": st.dictionaries(st.sampled_from(["timeout", "resource", "system", "test"]), _counts),
        "resets": st.dictionaries(
            st.tuples(
                st.sampled_from(["soft", "medium", "hard", "recreate"]),
                st.sampled_from(["on_release", "on_expiry"]),
                st.sampled_from(["clean", "failed"]),
            ),
            _counts,
        ),
        "reset_s": st.dictionaries(st.sampled_from(["soft", "hard", "recreate"]), _times),
        "containers": st.dictionaries(st.sampled_from("abc"), _uses),
        "degraded_s": _seconds,
    },
)
_setups = st.builds(
    Setup,
    places=st.none() | st.integers(1, 50),
    spares=st.none() | st.integers(0, 3),
    memory_mb=st.none() | st.just(512.0),
    lease_timeout_s=st.none() | st.sampled_from([10.0, 120.0, 3600.0]),
    max_lease_timeout_s=st.none() | st.just(3600.0),
    adaptive=st.none() | st.booleans(),
    ttl_s=st.none() | st.sampled_from([3.0, 15.0, 300.0]),
    claim_ttl_s=st.none() | st.just(5.0),
    max_wait_s=st.none() | st.sampled_from([30.0, 900.0]),
    max_queued=st.none() | st.sampled_from([10, 100]),
    aging=st.none() | st.booleans(),
    pauses=st.none() | st.booleans(),
    on_release=st.none() | st.sampled_from(["soft", "hard"]),
    on_failure=st.none() | st.sampled_from(["medium", "hard"]),
    medium=st.none() | st.booleans(),
    soft=st.none() | st.booleans(),
    held=st.none() | st.booleans(),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), _changes), min_size=1, max_size=3), _setups)
def test_no_two_contradict_each_other_and_the_order_is_always_the_same(
    parts: list[tuple[int, dict[str, Any]]], setup: Setup
) -> None:
    different = [hour for count, changes in parts for hour in hours(count, **changes)]
    past = [replace(hour, start=START + n * HOUR_S, end=START + (n + 1) * HOUR_S) for n, hour in enumerate(different)]

    advice = recommend(past, setup)

    moved = [move for each in advice for move in ENTRIES[each.code].moves.items()]
    assert not any((what, -way) in moved for what, way in moved)
    assert not {"overloaded", "more_containers", "no_reserve"} & {each.code for each in advice} or not {
        "fewer_containers",
        "spares_unused",
    } & {each.code for each in advice}
    severities = [each.severity for each in advice]
    assert severities == sorted(severities, reverse=True)
    assert all(each.severity in ENTRIES[each.code].severities for each in advice)
    assert advice == recommend(list(reversed(past)), setup)


# Statistics


def test_a_share_is_surely_above_less_than_what_was_seen() -> None:
    assert surely_above(0, 10) == 0
    assert surely_above(3, 10) < 0.3
    assert surely_above(300, 1000) == pytest.approx(0.272, abs=0.001)


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_the_chances_of_all_outcomes_are_one(n: int, rest: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n + rest))

    assert chance_of_as_many(0, n, of_hits=hits, of_n=n + rest) == pytest.approx(1)
    assert chance_of_share(0, hits, n / (n + rest)) == pytest.approx(1)


def test_chances_of_thousands_are_no_trouble() -> None:
    assert 0 < chance_of_as_many(600, 10_000, of_hits=1000, of_n=20_000) < 1e-9
    assert 0 <= chance_of_share(900, 1000, 0.5) < 1e-9
