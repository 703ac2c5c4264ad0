"""The words of the domain: moves between states, parsing, and what never shows in a log."""

from __future__ import annotations

from pathlib import Path

import pytest

from pool.errors import ForbiddenTransition, InvalidRequest
from pool.models import (
    ContainerInfo,
    ContainerRecord,
    LeaseData,
    LeaseRef,
    Outcome,
    PoolStatus,
    Priority,
    ResetLevel,
    State,
)
from pool.states import MOVES_OF_COMMANDS, MOVES_OF_SPARES, TRANSITIONS, WORK_STATES, check_transition, diagram

INFO = ContainerInfo("web-1", "demo-web-1", "127.0.0.1", {80: 8001}, "http://127.0.0.1:8001", {"team": "qa"}, 3)
LEASE = LeaseData(
    pool="web",
    request_id="r1",
    container=INFO,
    owner="run-42",
    priority=Priority.HIGH,
    fence=7,
    token="s3cret",
    granted_at=1_700_000_000.0,
    expires_at=1_700_000_015.0,
    deadline_at=1_700_000_120.5,
    ttl_s=15.0,
    waited_s=0.1234567,
)


def test_the_table_has_every_state() -> None:
    assert set(TRANSITIONS) == set(State)


@pytest.mark.parametrize("old", State)
@pytest.mark.parametrize("new", State)
def test_exactly_the_moves_in_the_table_are_allowed(old: State, new: State) -> None:
    if (old, new) in (*MOVES_OF_COMMANDS, *MOVES_OF_SPARES):
        with pytest.raises(ForbiddenTransition, match="only"):
            check_transition(old, new)
    elif new in TRANSITIONS[old]:
        check_transition(old, new)
    else:
        with pytest.raises(ForbiddenTransition, match=f"from {old} to {new}") as caught:
            check_transition(old, new)
        assert all(allowed in caught.value.hint for allowed in TRANSITIONS[old])


def test_the_architecture_shows_the_table_as_it_is() -> None:
    page = (Path(__file__).parents[2] / "ARCHITECTURE.md").read_text()
    shown = page.partition("<!-- states -->\n```mermaid\n")[2].partition("```\n<!-- /states -->")[0]

    assert shown == diagram(), "renew it: python -m pool.states"


def test_the_diagram_has_every_move_once() -> None:
    moves = [line.partition(":")[0].split(" --> ") for line in diagram().splitlines()[2:]]

    assert sorted((old.strip(), new) for old, new in moves) == sorted(
        (old, new) for old, news in TRANSITIONS.items() for new in news
    )


def test_only_a_free_container_can_be_allocated() -> None:
    assert [old for old, news in TRANSITIONS.items() if State.ALLOCATED in news] == [State.AVAILABLE]


def test_a_container_becomes_available_only_unused_or_through_its_manager() -> None:
    ways = {old for old, news in TRANSITIONS.items() if State.AVAILABLE in news}

    assert ways == {State.STARTING, State.CLEANING, State.RESETTING, State.ALLOCATED, State.PAUSED, State.SPARE}


def test_whatever_becomes_available_may_find_no_place() -> None:
    to_available = {old for old, news in TRANSITIONS.items() if State.AVAILABLE in news}
    to_spare = {old for old, news in TRANSITIONS.items() if State.SPARE in news}

    assert to_spare == to_available - {State.SPARE} | {State.AVAILABLE}


def test_every_state_can_be_left_and_reached() -> None:
    reached = {new for news in TRANSITIONS.values() for new in news}

    assert all(TRANSITIONS.values())
    assert reached == set(State)


def test_every_state_that_waits_for_a_manager_can_become_a_reset_or_a_quarantine() -> None:
    for state in WORK_STATES:
        assert {State.RESETTING, State.QUARANTINED} <= TRANSITIONS[state].keys()


def test_priorities_are_ordered_by_urgency() -> None:
    assert sorted(Priority) == [Priority.CRITICAL, Priority.HIGH, Priority.NORMAL, Priority.LOW]


@pytest.mark.parametrize("priority", Priority)
def test_a_priority_is_read_by_its_name_in_any_case(priority: Priority) -> None:
    assert Priority.parse(priority.label) is priority
    assert Priority.parse(priority.label.upper()) is priority
    assert Priority.parse(priority) is priority


@pytest.mark.parametrize("value", ["urgent", "", "0", 0, None])
def test_an_unknown_priority_is_refused_with_the_known_ones(value: object) -> None:
    with pytest.raises(InvalidRequest, match="use one of critical, high, normal, low") as caught:
        Priority.parse(value)  # type: ignore[arg-type]  # what an untyped caller may send

    assert (caught.value.field, caught.value.value) == ("priority", value)


def test_an_outcome_is_read_by_its_name() -> None:
    assert Outcome.parse("failed") is Outcome.FAILED
    with pytest.raises(InvalidRequest, match="use one of passed, failed, error"):
        Outcome.parse("broken")


def test_reset_levels_rise() -> None:
    assert ResetLevel.NONE < ResetLevel.SOFT < ResetLevel.MEDIUM < ResetLevel.HARD < ResetLevel.RECREATE
    assert [level.label for level in ResetLevel] == ["none", "soft", "medium", "hard", "recreate"]


def test_a_lease_reference_reads_back() -> None:
    reference = LeaseRef("web", "r1", 7, "s3cret")

    assert LEASE.ref == str(reference)
    assert LeaseRef.parse(f" {reference}\n") == reference


@pytest.mark.parametrize(
    "text", ["", "web", "web/r1/7", "web/r1/x/s3cret", "web/r1/²/s3cret", "web//7/s3cret", "a/b/1/s3cret/e"]
)
def test_a_malformed_lease_reference_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InvalidRequest, match="pool/request/fence/token") as caught:
        LeaseRef.parse(text)

    assert "s3cret" not in str(caught.value)


def test_a_token_never_shows_in_a_representation() -> None:
    assert "s3cret" not in repr(LEASE)
    assert "s3cret" not in str(LEASE)
    assert "s3cret" not in repr(LeaseRef.parse(LEASE.ref))


def test_a_lease_as_json_has_times_in_utc_and_its_token() -> None:
    document = LEASE.to_json()

    assert document["token"] == "s3cret"
    assert document["granted_at"] == "2023-11-14T22:13:20.000Z"
    assert document["deadline_at"] == "2023-11-14T22:15:20.500Z"
    assert document["waited_s"] == 0.123457
    assert document["priority"] == "high"
    assert document["url"] == "http://127.0.0.1:8001"
    assert document["container"] == {
        "id": "web-1",
        "name": "demo-web-1",
        "host": "127.0.0.1",
        "ports": {"80": 8001},
        "labels": {"team": "qa"},
        "generation": 3,
    }


def test_a_status_counts_containers_by_state() -> None:
    records = tuple(
        ContainerRecord(info=INFO, state=state, revision=1, fence=0, since=0.0)
        for state in (State.AVAILABLE, State.AVAILABLE, State.ALLOCATED)
    )
    status = PoolStatus("web", 0.0, "i", draining=False, manager="", containers=records, queue=())

    assert [status.count(state) for state in (State.AVAILABLE, State.ALLOCATED, State.STOPPED)] == [2, 1, 0]
