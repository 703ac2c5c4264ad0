"""Metrics: what an event counts as, what state is shown, and that both text formats can be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from pool.health import Fault
from pool.metrics import FAMILIES, Family, Kind, Source, Tally
from pool.metrics.counting import count, observation
from pool.metrics.exposition import Scrape, render
from pool.metrics.families import FAULTS
from pool.metrics.gauges import gauges
from pool.metrics.reference import render_reference
from pool.models import ContainerRecord, Event, PoolStatus, Priority, State, WaitingRequest
from pool.observed import Condition, Sample
from tests.support import info

OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"


def event(kind: str, **facts: object) -> Event:
    return Event("1-0", 1.0, kind, {name.rstrip("_"): str(value) for name, value in facts.items()})


def counted(kind: str, **facts: object) -> Counter[str]:
    """What an event adds, but that it is one."""
    return Counter({name: n for name, n in count(event(kind, **facts)).items() if not name.startswith("pool_events")})


def record(name: str, state: State, sample: Sample | None = None, **changes: object) -> ContainerRecord:
    fields: dict[str, object] = {"revision": 1, "fence": 1, "since": 90.0, "sample": sample}
    return ContainerRecord(info(name), state, **(fields | changes))  # type: ignore[arg-type]


def pool_status(*containers: ContainerRecord, **changes: object) -> PoolStatus:
    queue = tuple(
        WaitingRequest(f"r{n}", "o", priority, n, waited_s, priority)
        for n, (priority, waited_s) in enumerate([(Priority.NORMAL, 4.0), (Priority.NORMAL, 9.0), (Priority.LOW, 2.0)])
    )
    fields: dict[str, object] = {"incarnation": "i", "draining": False, "manager": "m", "queue": queue}
    return PoolStatus("p", 100.0, containers=containers, **(fields | changes))  # type: ignore[arg-type]


STATUS = pool_status(
    record("a", State.AVAILABLE, Sample(50, 200, 25.0, 3, 80.0), conditions=frozenset({Condition.MEMORY_FILLING})),
    record("b", State.ALLOCATED, Sample(60)),
    record("c", State.RESETTING, Sample(70, 200, 1.0, 3, 5.0), draining=True, failures=2),
)


def samples(metrics: Iterable[Metric]) -> dict[str, float]:
    return {
        sample.name + "{" + ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items())) + "}": sample.value
        for metric in metrics
        for sample in metric.samples
    }


# What is counted


def test_a_grant_counts_with_its_wait_by_priority() -> None:
    assert counted("lease.granted", priority=1, waited_us=7000) == {
        "pool_acquire_wait_seconds|high|0.01": 1,
        "pool_acquire_wait_seconds|high|sum": 7000,
    }


@pytest.mark.parametrize(
    ("kind", "facts", "outcome"),
    [
        ("lease.released", {"outcome": "failed"}, "failed"),
        ("lease.released", {"outcome": "what_comes_next"}, "passed"),
        ("lease.lost", {"reason": "on_health_failure", "note": "crash"}, "revoked"),
        ("lease.lost", {"note": "the pool was removed"}, "revoked"),
    ],
)
def test_a_lease_counts_by_how_it_ended(kind: str, facts: dict[str, str], outcome: str) -> None:
    assert counted(kind, held_us=2_000_000, **facts) == {
        f"pool_leases_total|{outcome}": 1,
        "pool_lease_duration_seconds|2.5": 1,
        "pool_lease_duration_seconds|sum": 2_000_000,
    }


@pytest.mark.parametrize(
    ("kind", "added"),
    [
        ("container.swapped", "pool_swaps_total"),
        ("lease.cancelled", "pool_leases_total|cancelled"),
        ("lease.unfit", "pool_leases_total|unfit"),
        ("lease.extended", "pool_lease_extensions_total|granted"),
        ("lease.extension_denied", "pool_lease_extensions_total|denied"),
        ("request.timed_out", "pool_requests_unserved_total|timed_out"),
        ("request.over_limit", "pool_requests_unserved_total|over_limit"),
    ],
)
def test_what_is_one_thing_counts_once(kind: str, added: str) -> None:
    assert counted(kind) == {added: 1}


@pytest.mark.parametrize(
    ("facts", "added"),
    [
        (
            {
                "from_": "cleaning",
                "to": "available",
                "reset_level": "soft",
                "reset_reason": "on_release",
                "reset_ms": 12,
            },
            {
                "pool_resets_total|soft|on_release|clean": 1,
                "pool_reset_duration_seconds|soft|0.015": 1,
                "pool_reset_duration_seconds|soft|sum": 12_000,
            },
        ),
        (
            {"from_": "cleaning", "to": "resetting", "reset_level": "soft", "reason": "on_release", "reset_ms": 12},
            {"pool_resets_total|soft|on_release|failed": 1},
        ),
        (
            {"from_": "resetting", "to": "quarantined", "reset_level": "recreate", "reason": "manual", "reset_ms": 12},
            {"pool_resets_total|recreate|manual|failed": 1, "pool_quarantines_total": 1},
        ),
        (
            {"from_": "starting", "to": "available", "start_ms": 2000},
            {
                "pool_resets_total|recreate|on_start|clean": 1,
                "pool_reset_duration_seconds|recreate|2.5": 1,
                "pool_reset_duration_seconds|recreate|sum": 2_000_000,
            },
        ),
        (
            {"from_": "starting", "to": "resetting", "reset_level": "recreate", "reason": "manual", "reset_ms": 9},
            {"pool_resets_total|recreate|on_start|failed": 1},
        ),
        ({"from_": "allocated", "to": "unhealthy", "fault": "crash"}, {"pool_container_faults_total|crash": 1}),
        ({"from_": "available", "to": "quarantined", "by": "x"}, {"pool_quarantines_total": 1}),
        ({"from_": "cleaning", "to": "available", "verified": "off"}, {}),
    ],
)
def test_a_move_counts_as_what_it_tells_of(facts: dict[str, object], added: dict[str, int]) -> None:
    assert counted("container.moved", **facts) == added


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        ("lease.granted", {"priority": 9, "waited_us": 1}),
        ("lease.granted", {"priority": 1, "waited_us": "-1"}),
        ("lease.granted", {"priority": 1, "waited_us": "9" * 400}),
        ("lease.granted", {}),
        ("container.moved", {"to": "available", "reset_level": "so|ft", "reset_reason": "manual", "reset_ms": 1}),
        ("container.moved", {"to": "unhealthy", "fault": "made up"}),
        ("an event's type|that nobody knows", {}),
    ],
)
def test_what_an_event_should_not_say_stops_nothing_and_becomes_no_label(kind: str, facts: dict[str, object]) -> None:
    assert not counted(kind, **facts)


def test_every_field_that_an_event_adds_to_is_a_metric_of_the_catalogue() -> None:
    added = count(event("lease.lost", reason="on_expiry", note="deadline reached", held_us=1))

    shown = Tally(added)
    values = {family.name: shown.counters(family) for family in FAMILIES.values() if family.kind is Kind.COUNTER}
    assert values["pool_leases_total"]["expired",] == 1
    assert values["pool_lease_expirations_total"] == {("deadline",): 1, ("heartbeat",): 0}
    assert values["pool_events_total"] == {("lease.lost",): 1}


def test_buckets_are_cumulative_and_those_of_another_version_go_into_the_next_larger_one() -> None:
    family = FAMILIES["pool_reset_duration_seconds"]
    added: Counter[str] = Counter()
    for microseconds in (1000, 10_000, 10_001, 500_000_000):
        added.update(observation(family.name, microseconds, "soft"))
    added[f"{family.name}|soft|0.012"] += 1
    added[f"{family.name}|no_such_level|0.01"] += 1

    found = Tally(added).histograms(family)

    assert set(found) == {(level,) for level in family.labels["level"]}
    buckets, total_s = found["soft",]
    shown = dict(buckets)
    assert [shown[bound] for bound in ("0.005", "0.01", "0.015", "0.02", "+Inf")] == [1, 2, 4, 4, 5]
    assert total_s == pytest.approx(500.021001)


# What is shown


def test_every_state_and_every_priority_is_there_even_with_nothing_in_it() -> None:
    values = gauges(STATUS)

    assert dict(values["pool_containers"]) == {
        (state.value,): float(state in (State.AVAILABLE, State.ALLOCATED, State.RESETTING)) for state in State
    }
    assert dict(values["pool_queue_requests"]) == {("critical",): 0, ("high",): 0, ("normal",): 2, ("low",): 1}
    assert dict(values["pool_queue_oldest_seconds"]) == {("critical",): 0, ("high",): 0, ("normal",): 9, ("low",): 2}


def test_the_forecast_is_there_where_there_is_one_and_of_no_container_that_is_being_reset() -> None:
    values = gauges(STATUS)

    assert values["pool_container_memory_full_seconds"] == [(("a",), 80.0)]
    assert values["pool_container_memory_bytes"] == [(("a",), 50.0), (("b",), 60.0)]
    assert values["pool_container_memory_limit_bytes"] == [(("a",), 200.0)]
    assert values["pool_container_cpu_ratio"] == [(("a",), 0.25)]


def test_without_a_manager_nobody_samples_and_old_samples_are_not_shown() -> None:
    values = gauges(pool_status(*STATUS.containers, manager=""))

    assert values["pool_manager_active"] == [((), 0.0)]
    assert values["pool_container_memory_bytes"] == []
    assert len(values["pool_container_state"]) == 3


def test_both_formats_say_the_same() -> None:
    scrape = Scrape(
        version="1.2",
        pools=[(STATUS, Tally(count(event("lease.granted", priority=1, waited_us=7000))))],
        closed=["not-yet"],
        redis_up=True,
        redis_latency_s=0.001,
        requests={("/v1/leases", "POST", "201"): 3},
        passed_on={"http": 2},
    )

    plain, plain_type = render(scrape, "")
    open_, open_type = render(scrape, OPENMETRICS)

    assert plain_type == "text/plain; version=0.0.4; charset=utf-8"
    assert open_type.startswith("application/openmetrics-text; version=1.0.0")
    texts = samples(read_text(plain.decode()))
    opens = samples(read_openmetrics(open_.decode()))  # type: ignore[no-untyped-call]
    ours = {name for name in texts if name.startswith("pool_")}
    assert ours == {name for name in opens if name.startswith("pool_")}
    assert all(texts[name] == opens[name] for name in ours)
    assert texts["pool_acquire_wait_seconds_bucket{le=0.01,pool=p,priority=high}"] == 1
    assert texts["pool_acquire_wait_seconds_bucket{le=+Inf,pool=p,priority=low}"] == 0
    assert texts["pool_manager_active{pool=not-yet}"] == 0
    assert texts["pool_http_requests_total{method=POST,route=/v1/leases,status=201}"] == 3
    assert texts["pool_gateway_connections{kind=websocket}"] == 0
    assert {"process_resident_memory_bytes{}", "process_open_fds{}"} <= set(texts)
    assert any(name.startswith("pool_build_info{") and "version=1.2" in name for name in texts)


@pytest.mark.parametrize(
    "accept", ["application/openmetrics-text;version=x", "a" * 9000, ",;=,", "text/plain;version=9.9"]
)
def test_an_odd_accept_header_gets_one_of_the_two_formats(accept: str) -> None:
    text, content_type = render(Scrape(version="1"), accept)

    read = read_openmetrics if "openmetrics" in content_type else read_text
    assert samples(read(text.decode()))["pool_redis_up{}"] == 0


# The catalogue


def test_the_page_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "metrics.md"

    assert page.read_text(encoding="utf-8") == render_reference(), "python -m pool.metrics.reference > docs/metrics.md"


def test_every_metric_of_the_design_is_there() -> None:
    promised = """
        pool_containers pool_queue_requests pool_queue_oldest_seconds pool_acquire_wait_seconds
        pool_lease_duration_seconds pool_leases_total pool_lease_expirations_total pool_resets_total
        pool_reset_duration_seconds pool_health_checks_total pool_container_memory_bytes
        pool_container_memory_limit_bytes pool_container_cpu_ratio pool_container_memory_full_seconds pool_degraded
        pool_redis_up pool_redis_latency_seconds pool_manager_active pool_quarantines_total pool_swaps_total
        pool_http_requests_total pool_gateway_connections pool_build_info
    """

    assert set(promised.split()) <= set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_a_metric_is_named_as_its_kind_wants_and_labelled_by_nothing_that_has_no_end(family: Family) -> None:
    assert family.name.endswith("_total") == (family.kind is Kind.COUNTER)
    assert bool(family.buckets) == (family.kind is Kind.HISTOGRAM)
    assert list(family.buckets) == sorted(set(family.buckets))
    assert family.about.endswith(".")
    assert not {"lease", "request", "owner", "token", "identity", "address"} & set(family.names)
    assert "pool" in family.names or family.source is Source.SERVER


def test_faults_are_those_of_the_table_of_strategies() -> None:
    assert tuple(fault.value for fault in Fault) == FAULTS
