"""When a container has served long enough, and that the pool is never emptied for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.config import RecycleOptions
from pool.models import ContainerRecord, PoolStatus, Priority, State, WaitingRequest
from pool.recycling import affordable, due, early
from tests.support import info

NOW = 1_800_000_000.0
WAITING = WaitingRequest("r", "owner", Priority.NORMAL, 1, 5.0, Priority.NORMAL)


def container(container_id: str = "a", state: State = State.CLEANING) -> ContainerRecord:
    return ContainerRecord(info(container_id), state, revision=1, fence=1, since=NOW)


def pool(*states: State, queue: int = 0) -> PoolStatus:
    """A pool whose first container, called a, has just been given back."""
    names = "abcdefgh"
    containers = [container("a"), *(container(names[n], state) for n, state in enumerate(states, start=1))]
    return PoolStatus("p", NOW, "first", False, "m", tuple(containers), (WAITING,) * queue)


def why(options: dict[str, object], **facts: object) -> str:
    record = replace(container(), **facts)  # type: ignore[arg-type]  # fields of the record
    return due(record, RecycleOptions.model_validate(options), now=NOW)


def test_without_limits_a_container_serves_for_ever() -> None:
    assert why({}, uses=10**9, born_at=0.0) == ""


def test_a_container_is_due_after_its_uses_at_the_latest() -> None:
    assert why({"max_uses": 10}, uses=10) == "used 10 times"
    assert why({"max_uses": 10}, uses=7) == ""
    assert why({"max_uses": 1}, uses=1) == "used 1 times"


def test_a_container_is_due_at_its_age_at_the_latest_once_its_age_is_known() -> None:
    assert why({"max_age_s": 100}, born_at=NOW - 100) == "100 s old"
    assert why({"max_age_s": 100}, born_at=NOW - 79) == ""
    assert why({"max_age_s": 100}, born_at=None) == ""


@given(n=st.integers(1, 10_000), generation=st.integers(1, 10_000))
def test_how_much_earlier_it_is_due_is_the_same_for_whoever_asks(n: int, generation: int) -> None:
    assert early(f"web-{n}", generation) == early(f"web-{n}", generation)
    assert 0.8 <= early(f"web-{n}", generation) <= 1


def test_containers_created_together_are_not_all_due_at_once() -> None:
    together = [replace(container(f"web-{n}"), born_at=NOW - 900) for n in range(20)]

    found = [bool(due(record, RecycleOptions(max_age_s=1000), now=NOW)) for record in together]

    assert 3 < sum(found) < 17


@pytest.mark.parametrize(
    ("status", "possible"),
    [
        (pool(), True),
        (pool(queue=1), False),
        (pool(State.AVAILABLE), True),
        (pool(State.ALLOCATED, queue=3), True),
        (pool(State.CLEANING, queue=3), True),
        (pool(State.SPARE, queue=3), True),
        (pool(State.RESETTING, queue=1), False),
        (pool(State.UNHEALTHY, State.QUARANTINED, State.STARTING, queue=1), False),
        (pool(State.UNHEALTHY, queue=0), True),
    ],
)
def test_a_container_is_kept_while_others_wait_and_no_other_is_in_rotation(status: PoolStatus, possible: bool) -> None:
    assert affordable(status, "a", (), at_once=1) is possible


def test_only_so_many_are_recycled_at_once() -> None:
    status = pool(State.AVAILABLE, State.CLEANING)

    assert not affordable(status, "a", {"c"}, at_once=1)
    assert affordable(status, "a", {"a"}, at_once=1)
    assert affordable(status, "a", {"c"}, at_once=2)


def test_one_that_is_being_recycled_counts_for_nothing_although_it_is_still_called_cleaning() -> None:
    assert not affordable(pool(State.CLEANING, queue=1), "a", {"b"}, at_once=2)


@given(
    states=st.lists(st.sampled_from(list(State)), max_size=6),
    recycling=st.sets(st.sampled_from("bcdefg")),
    at_once=st.integers(1, 10),
)
def test_the_pool_is_never_emptied_while_others_wait(states: list[State], recycling: set[str], at_once: int) -> None:
    status = pool(*states, queue=1)

    if affordable(status, "a", recycling, at_once=at_once):
        serving = {State.AVAILABLE, State.SPARE, State.ALLOCATED, State.CLEANING}
        left = [r.id for r in status.containers if r.state in serving and r.id not in recycling and r.id != "a"]
        assert left
        assert len(recycling - {"a"}) < at_once
