"""`poolctl status` shows what containers use, when their memory is full, and what is the matter with them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pool.cli.render import status_view
from pool.cli.tables import open_console
from pool.cli.usage import conditions_note, memory_cell
from pool.models import ContainerRecord, PoolStatus, State
from pool.observed import Condition, Sample
from pool.shapes import status_json, usage_json
from tests.support import info

NOW = 1_800_000_000.0
MIB = 1 << 20
SAMPLE = Sample(48 * MIB, 64 * MIB, cpu_percent=12.34, pids=5)


def record(sample: Sample | None = SAMPLE, state: State = State.AVAILABLE, *conditions: Condition) -> ContainerRecord:
    plain = ContainerRecord(info("web-1"), state, revision=1, fence=1, since=NOW)
    return replace(plain, sample=sample, conditions=frozenset(conditions))


def shown(*records: ContainerRecord) -> str:
    console = open_console()
    with console.capture() as captured:
        console.print(status_view([PoolStatus("web", NOW, "first", False, "m", records, ())]))
    return captured.get()


def test_programs_read_what_a_container_uses() -> None:
    status = PoolStatus("web", NOW, "first", False, "m", (record(SAMPLE, State.AVAILABLE, Condition.CPU_HIGH),), ())

    container = status_json(status)["containers"][0]

    facts = {"memory_mb": 48.0, "memory_percent": 75.0, "cpu_percent": 12.3, "full_in_s": None}
    assert facts.items() <= container.items()
    assert container["conditions"] == ["cpu_high"]


def test_people_read_what_a_container_uses_and_what_is_the_matter() -> None:
    table = shown(record(SAMPLE, State.ALLOCATED, Condition.UNRESPONSIVE))

    assert "48M 75%" in table
    assert "web-1: does not answer its probes" in table


def test_when_memory_is_full_has_a_column_only_where_that_is_in_sight() -> None:
    assert "full in" not in shown(record())
    table = shown(record(), record(replace(SAMPLE, full_in_s=184.0)))

    assert "full in" in table
    assert "3m04s" in table


@pytest.mark.parametrize("unknown", [record(None), record(SAMPLE, State.QUARANTINED), record(SAMPLE, State.STARTING)])
def test_what_is_not_known_is_not_shown(unknown: ContainerRecord) -> None:
    assert memory_cell(unknown) == ""
    assert usage_json(unknown)["memory_mb"] is None


def test_without_a_limit_memory_has_no_share() -> None:
    assert memory_cell(record(Sample(48 * MIB))) == "48M"


@pytest.mark.parametrize("condition", Condition)
def test_every_condition_has_words(condition: Condition) -> None:
    assert conditions_note(record(SAMPLE, State.AVAILABLE, condition))
