"""What events add to an hour, what is kept of it, and which figures follow."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.analytics import OTHERS, History, OwnerUse, Span, report, total
from pool.analytics.counting import count_event
from pool.analytics.folding import fold, pack, unpack
from pool.analytics.report import hour_of_week
from pool.models import Event, Priority, State
from pool.store import add_fields

HOUR = 500_000
START = HOUR * 3600.0


def event(kind: str, **facts: object) -> Event:
    return Event("1-0", START, kind, {name: str(value) for name, value in facts.items()})


def hour_of(*events: Event) -> Span:
    fields: dict[str, float] = {}
    for each in events:
        add_fields(fields, count_event(each))
    return fold(HOUR, fields)


def released(outcome: str, held_s: float = 10, **facts: object) -> Event:
    return event("lease.released", outcome=outcome, held_us=round(held_s * 1e6), **facts)


# Counting


def test_a_request_counts_once_whether_it_is_granted_at_once_or_waits() -> None:
    span = hour_of(
        event("lease.granted", priority=0, waited_us=0, new=1, owner="a"),
        event("request.queued", priority=2, new=1, owner="a"),
        event("lease.granted", priority=2, waited_us=4_000_000, new=0, owner="a"),
        event("lease.unfit", container="c"),
        event("request.queued", priority=2, new=0, owner="a"),
        event("lease.granted", priority=2, waited_us=6_000_000, new=0, owner="a"),
    )

    assert span.arrivals == {Priority.CRITICAL: 1, Priority.NORMAL: 1}
    assert span.wait.n == 3
    assert span.waits[Priority.NORMAL].total_s == 10
    assert span.owners["a"].waited_s == 10
    assert span.ended == {"unfit": 1}


@pytest.mark.parametrize(
    ("events", "kinds"),
    [
        ([released("passed")], {}),
        ([released("failed")], {"test": 1}),
        ([released("error")], {"system": 1}),
        ([event("lease.lost", reason="on_expiry", note="deadline reached", held_us=1)], {"timeout": 1}),
        ([event("lease.lost", reason="on_expiry", note="no heartbeat within the ttl", held_us=1)], {"system": 1}),
        ([event("lease.lost", note="taken by an operator", held_us=1)], {}),
        ([event("lease.lost", note="the grant was not confirmed within the claim ttl", held_us=1)], {}),
        ([event("request.timed_out"), event("request.cancelled")], {"timeout": 1}),
        ([event("container.moved", container="c", to="unhealthy", fault="out_of_memory")], {"resource": 1}),
        ([event("container.moved", container="c", to="unhealthy", fault="crash")], {"system": 1}),
    ],
)
def test_failures_are_told_apart_by_kind(events: list[Event], kinds: Mapping[str, int]) -> None:
    assert hour_of(*events).failures == kinds


def test_a_reset_counts_for_its_level_and_the_time_since_the_lease_for_cleaning() -> None:
    moved = {"container": "c", "from": "resetting", "reset_level": "soft", "reset_reason": "on_release", "reset_ms": 20}

    span = hour_of(
        event("container.moved", **moved | {"to": "resetting"}),
        event("container.moved", **moved | {"to": "available", "freed_us": 50_000}),
        event("container.moved", **moved | {"to": "available", "reset_reason": "manual"}),
    )

    assert span.resets == {
        ("soft", "on_release", "failed"): 1,
        ("soft", "on_release", "clean"): 1,
        ("soft", "manual", "clean"): 1,
    }
    assert (span.reset_s["soft"].n, span.cleaning.n, span.cleaning.total_s) == (2, 1, 0.05)
    assert span.containers["c"].resets_failed == 1


def test_leases_count_for_their_owner_and_container_whatever_those_are_called() -> None:
    names = ["a|b", "|", "^x", "=y", "(others)", "ü 漢 \x1b[31m", "owner|leases|z"]

    span = hour_of(*(released("failed", container="c|1", owner=name) for name in names))

    assert span.owners == dict.fromkeys(names, OwnerUse(1, 1, 10.0, 0.0))
    assert span.containers["c|1"].failed == len(names)


def test_facts_that_are_missing_or_strange_count_for_nothing() -> None:
    span = hour_of(
        event("lease.granted", priority=9, waited_us="soon"),
        event("lease.released"),
        event("container.moved", to="available", freed_us="-1"),
        event("something.new", priority=1),
    )

    assert (span.requests, span.wait.n, span.leases, span.cleaning.n) == (0, 0, 0, 0)
    assert span.ended == {"passed": 1}


# What is kept

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(st.dictionaries(TEXT, st.integers(1, 50), max_size=12), st.integers(1, 12))
def test_an_entry_has_the_owners_that_held_most_and_the_sum_of_the_others(uses: dict[str, int], most: int) -> None:
    fields: dict[str, float] = {"owners": len(uses)}
    for name, held_s in uses.items():
        add_fields(fields, count_event(released("passed", held_s, owner=name)))

    kept = fold(HOUR, unpack(pack(fields, owners=most)))

    whole = fold(HOUR, fields)
    assert len(kept.owners) <= most + 1
    assert sum((use for use in kept.owners.values()), OwnerUse()) == sum(whole.owners.values(), OwnerUse())
    if left := [held for name, held in uses.items() if name != OTHERS and name not in kept.owners]:
        assert max(left) <= min(use.held_s for name, use in kept.owners.items() if name != OTHERS)
    assert (kept.held, kept.ended) == (whole.held, whole.ended)


@pytest.mark.parametrize("entry", ["", "2:abc", "1:", "1:~~~", "1:" + "c" * 20, "nonsense"])
def test_an_entry_that_cannot_be_read_says_nothing(entry: str) -> None:
    assert unpack(entry) == {}


def test_fields_of_another_version_are_passed_over() -> None:
    span = fold(
        HOUR,
        {"watched": 5.0, "state|dreaming": 1.0, "wait|urgent|3": 1.0, "resets|x": 1.0, "new": 1.0, "held|mode": 1.0},
    )

    assert (span.watched_s, span.state_s, span.waits, span.resets, span.leases) == (5.0, {}, {}, {}, 0)


# Figures


def watched(hour: int, *, used: float, requests: int = 0) -> Span:
    start = hour * 3600.0
    return Span(
        start,
        start + 3600,
        watched_s=3600,
        places_s=7200,
        state_s={State.ALLOCATED: used * 7200, State.AVAILABLE: (1 - used) * 7200},
        arrivals={Priority.NORMAL: requests},
    )


def test_hours_of_a_week_begin_on_monday_and_are_means_of_all_weeks() -> None:
    monday = 72 * -1 + 168 * 3000
    hours = (watched(monday, used=0.2, requests=4), watched(monday + 168, used=0.6, requests=8))

    week = report(History("p", 0, 1, hours))["by_hour_of_week"]

    assert hour_of_week(monday * 3600.0) == 0
    assert week[0] == {"requests": 6.0, "utilisation": 0.4}
    assert week[1:] == [{"requests": None, "utilisation": None}] * 167


def test_efficiency_is_the_share_of_the_places_that_was_used_by_leases_that_said_something() -> None:
    span = watched(HOUR, used=0.5) + hour_of(released("passed", 60), released("failed", 20), released("error", 20))

    assert span.utilisation == 0.5
    assert span.efficiency == pytest.approx(0.4)
    assert span.failure_rate == pytest.approx(2 / 3)


def test_where_nothing_is_known_nothing_is_said() -> None:
    document = report(History("p", START, START + 60, ()))

    summary = document["summary"]
    assert {summary[name] for name in ("utilisation", "busy", "efficiency", "failure_rate", "queue_mean")} == {None}
    assert summary["wait_s"] == {"n": 0, "mean": None, "p50": None, "p95": None, "p99": None, "max": None}
    assert (document["hours"], document["owners"], document["watched_s"]) == ([], [], 0)


def test_owners_are_listed_by_pattern_those_who_held_most_first() -> None:
    leases = [released("passed", held, owner=name) for name, held in (("ci/a", 1), ("ci/b", 9), ("me", 5))]
    history = History("p", START, START + 3600, (hour_of(*leases),))

    assert [row["owner"] for row in report(history)["owners"]] == ["ci/b", "me", "ci/a"]
    assert [row["owner"] for row in report(history, owner="ci/*")["owners"]] == ["ci/b", "ci/a"]


def test_more_owners_than_are_listed_are_one_at_the_end() -> None:
    leases = [released("failed", held_s, owner=f"o{held_s}") for held_s in range(1, 251)]
    history = History("p", START, START + 3600, (hour_of(*leases),))

    rows = report(history)["owners"]

    assert [row["owner"] for row in rows[:2]] == ["o250", "o249"]
    assert rows[-1] == {"owner": OTHERS, "leases": 50, "failed": 50, "held_s": sum(range(1, 51)), "waited_s": 0}
    assert len(rows) == 201


def test_leases_are_told_apart_by_how_long_they_were_held() -> None:
    history = History("p", START, START + 3600, (hour_of(*(released("passed", held) for held in (0.0, 20, 22, 9999))),))

    rows = report(history)["by_duration"]

    assert {(row["from_s"], row["to_s"]): row["leases"] for row in rows if row["leases"]} == {
        (0.0, 1.0): 1,
        (15.0, 30.0): 2,
        (3600.0, None): 1,
    }


def test_spans_add_up_in_any_order() -> None:
    one, other = watched(HOUR, used=0.2, requests=1), watched(HOUR + 5, used=0.4, requests=2)

    assert one + other == other + one
    assert total([one, other], start=0, end=one.end).requests == 3
    assert (one + other).utilisation == pytest.approx(0.3)
