"""The benchmark's rows and what `poolctl bench` makes of them. No time is ever asserted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
import structlog
from rich.console import Console
from typer.testing import CliRunner

import pool.bench
from pool.bench import Goal, Row
from pool.bench.rows import timed
from pool.cli import app
from pool.cli.bench import table
from pool.cli.exits import Exit

ROWS = [
    Row("met", 0.15, 0.2, 0.1, 1.5, Goal.at_most(1.8)),
    Row("missed", 0.3, 0.4, 0.1, 0.5, Goal.at_least(0.8)),
    Row("without goal or floor", 0.1, 0.2, None, None),
]

runner = CliRunner(env={"POOL_URL": None, "COLUMNS": "200"})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str | None, int]]]:
    """What a benchmark was asked for; it answers at once."""
    asked: list[tuple[str | None, int]] = []

    def run(*, url: str | None, rounds: int, tell: Callable[[str], object]) -> list[Row]:
        tell("nothing")
        asked.append((url, rounds))
        return ROWS

    monkeypatch.setattr(pool.bench, "run_allocation", run)
    monkeypatch.setattr(pool.bench, "run_reset", run)
    yield asked
    structlog.reset_defaults()  # one of them sets up the logs


@pytest.mark.parametrize(
    ("goal", "ratio", "met"),
    [
        (Goal.at_most(1.8), 1.8, True),
        (Goal.at_most(1.8), 1.81, False),
        (Goal.at_least(0.8), 0.8, True),
        (Goal.at_least(0.8), 0.79, False),
        (Goal.within_ms(1), 5.0, True),
        (Goal.within_ms(0.9), 0.1, False),
    ],
)
def test_a_goal_is_met_up_to_its_own_value(goal: Goal, ratio: float, met: bool) -> None:
    assert Row("x", 1, 1, 1, ratio, goal).met is met


def test_a_row_compares_medians_with_those_of_its_floor() -> None:
    row = timed("x", [1.0, 2.0, 9.0], [0.5, 1.0, 7.0], goal=Goal.at_most(3))

    assert (row.p50_ms, row.floor_ms, row.ratio, row.met) == (2.0, 1.0, 2.0, True)
    assert row.p50_ms <= row.p95_ms <= 9.0


def test_a_row_without_floor_or_with_a_single_time_has_no_ratio() -> None:
    row = timed("x", [4.0])

    assert (row.p50_ms, row.p95_ms, row.floor_ms, row.ratio, row.met) == (4.0, 4.0, None, None, None)


@pytest.mark.parametrize("work", ["allocation", "reset"])
def test_json_has_the_rows_with_exactly_the_promised_keys(asked: list[tuple[str | None, int]], work: str) -> None:
    result = runner.invoke(app, ["bench", work, "--json", "--rounds", "7", "--url", "redis://x"])

    rows = json.loads(result.stdout)["rows"]
    assert [list(row) for row in rows] == [["name", "p50_ms", "p95_ms", "floor_ms", "ratio", "goal", "met"]] * 3
    assert [(row["goal"], row["met"]) for row in rows] == [("≤ 1.8", True), ("≥ 0.8", False), (None, None)]
    assert asked == [("redis://x", 7)]


@pytest.mark.parametrize(("work", "rounds"), [("allocation", 1000), ("reset", 50)])
def test_a_missed_goal_is_a_measurement_and_no_failure(
    asked: list[tuple[str | None, int]], work: str, rounds: int
) -> None:
    result = runner.invoke(app, ["bench", work])

    assert result.exit_code == Exit.OK
    assert "missed" in result.stdout
    assert "✗" in result.stdout
    assert result.stderr == ""  # progress is for terminals
    assert asked == [(None, rounds)]


def test_rounds_below_one_are_refused(asked: list[tuple[str | None, int]]) -> None:
    assert runner.invoke(app, ["bench", "allocation", "--rounds", "0"]).exit_code == Exit.BAD_INPUT
    assert asked == []


def test_the_table_leaves_out_what_a_row_does_not_have() -> None:
    console = Console(width=120)

    with console.capture() as captured:
        console.print(table(ROWS))

    lines = [line.split() for line in captured.get().splitlines()]
    assert lines[1] == ["met", "0.150", "0.200", "0.100", "1.50", "≤", "1.8", "✓"]
    assert lines[3] == ["without", "goal", "or", "floor", "0.100", "0.200"]
