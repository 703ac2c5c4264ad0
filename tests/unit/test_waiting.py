from __future__ import annotations

from dataclasses import replace

import pytest

from pool.errors import RequestConflict
from pool.models import ContainerInfo, ContainerRecord, PoolStatus, Priority, State, WaitingRequest
from pool.waiting import explain, forecast, queue

NOW = 1000.0


def container(name: str, state: State, *, since: float = NOW, **fields: object) -> ContainerRecord:
    info = ContainerInfo(name, name, "127.0.0.1", {}, "")
    return ContainerRecord(info, state, 1, 0, since, **fields)  # type: ignore[arg-type]  # fields of the record


def status(*containers: ContainerRecord, waiting: str = "", held: float | None = 10.0) -> PoolStatus:
    requests = tuple(
        WaitingRequest(f"r{n}", "owner", Priority.parse(name), n, 1.0, Priority.parse(name))
        for n, name in enumerate(waiting.split(), start=1)
    )
    return PoolStatus("p", NOW, "i", False, "m", containers, requests, mean_held_s=held, mean_reset_s=2.0)


def test_the_next_in_line_waits_for_the_lease_that_ends_first_and_its_reset() -> None:
    now = status(
        container("a", State.ALLOCATED, since=NOW - 3), container("b", State.ALLOCATED, since=NOW - 8), waiting="normal"
    )

    [entry] = queue(now)

    assert entry.estimated_wait_s == pytest.approx(2 + 2)


def test_what_finds_no_place_is_nothing_to_wait_for() -> None:
    leased = container("a", State.ALLOCATED)
    others = container("b", State.SPARE), container("c", State.RESETTING)

    spared = replace(status(leased, *others, waiting="normal normal"), rotation=1)
    with_two_places = replace(spared, rotation=2)

    assert [entry.estimated_wait_s for entry in queue(spared)] == pytest.approx([12, 24])
    assert [entry.estimated_wait_s for entry in queue(with_two_places)] == pytest.approx([0, 12])


def test_each_further_request_waits_for_the_next_container_to_come_free() -> None:
    now = status(container("a", State.ALLOCATED), container("b", State.CLEANING), waiting="high normal normal low")

    assert [entry.estimated_wait_s for entry in queue(now)] == pytest.approx([2, 12, 14, 24])


def test_no_lease_is_expected_to_outlive_its_deadline() -> None:
    now = status(container("a", State.ALLOCATED, deadline_at=NOW + 1), waiting="normal")

    assert queue(now)[0].estimated_wait_s == pytest.approx(1 + 2)


def test_containers_out_of_rotation_are_not_counted_on() -> None:
    now = status(container("a", State.QUARANTINED), waiting="normal")

    assert queue(now)[0].estimated_wait_s is None
    assert (
        explain(now, "r1") == "Next in line, containers: 1 quarantined; none will be free until an operator resets one."
    )


def test_a_draining_container_is_not_counted_on_and_named_as_what_it_is() -> None:
    now = status(container("a", State.AVAILABLE, draining=True), container("b", State.ALLOCATED), waiting="normal")

    [entry] = queue(now)

    assert entry.estimated_wait_s == pytest.approx(10 + 2)
    assert entry.waits_for == "Next in line, containers: 1 draining, 1 leased"


def test_a_waiting_request_is_explained_in_a_sentence() -> None:
    now = status(
        container("a", State.ALLOCATED, since=NOW - 4),
        container("b", State.ALLOCATED, since=NOW - 4),
        waiting="critical critical normal",
    )

    assert explain(now, "r3") == "2 critical requests ahead, containers: 2 leased; its turn should come in about 20 s."


def test_a_request_that_is_served_or_unknown_is_told_apart() -> None:
    now = status(container("a", State.ALLOCATED, request_id="mine"))

    assert explain(now, "mine") == "It holds a."
    with pytest.raises(RequestConflict, match="neither waits"):
        explain(now, "gone")


def test_a_request_made_now_stands_behind_its_priority_and_above() -> None:
    now = status(container("a", State.ALLOCATED), container("b", State.CLEANING), waiting="high normal low")

    assert forecast(now) == {
        Priority.CRITICAL: pytest.approx(2), Priority.HIGH: pytest.approx(12), Priority.NORMAL: pytest.approx(14),
        Priority.LOW: pytest.approx(24),
    }  # fmt: skip


def test_nothing_is_forecast_where_nothing_is_in_rotation() -> None:
    free, broken = status(container("a", State.AVAILABLE)), status(container("a", State.QUARANTINED))

    assert set(forecast(free).values()) == {0.0}
    assert set(forecast(broken).values()) == {None}
