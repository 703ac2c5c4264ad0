"""When a pool becomes degraded and when it is normal again, and that code and documentation tell the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from pool.cli.render import status_view
from pool.cli.tables import open_console
from pool.config.options import DegradationOptions
from pool.degradation import Judge, effects_table
from pool.models import PoolStatus
from pool.shapes import status_json
from pool.store import Measured

ROOT = Path(__file__).parents[2]
NOW = 1_800_000_000.0


def measured(
    at: float = NOW, *, degraded: str = "", queued: int = 0, waits: list[float] | None = None, ends: str = ""
) -> Measured:
    """What a pool looks like; `ends` has an x for each lease that failed, and a dot for each that passed."""
    return Measured(
        at,
        degraded,
        queued,
        "1-1",
        waits=tuple((at, wait_s) for wait_s in waits or ()),
        ends=tuple((at, end == "x") for end in ends),
    )


def judge_of(**options: object) -> Judge:
    return Judge(DegradationOptions.model_validate(options))


def test_a_quiet_pool_is_normal() -> None:
    assert judge_of().judge(measured()) == ("", None)


def test_at_its_thresholds_a_pool_is_normal() -> None:
    now = measured(queued=10, waits=[60.0] * 5, ends="xx........")

    assert judge_of().judge(now) == ("", None)


@pytest.mark.parametrize(
    ("now", "name", "value", "why"),
    [
        (measured(queued=11), "queue", 11, "11 requests wait, more than 10"),
        (measured(waits=[50.0] * 4 + [120.0]), "wait_s", 64, "the mean wait is 64 s, more than 60 s"),
        (measured(ends="xxx......."), "failure_rate", 0.3, "30% of the leases fail, more than 20%"),
    ],
)
def test_each_measure_alone_degrades_a_pool(now: Measured, name: str, value: float, why: str) -> None:
    reason, measure = judge_of().judge(now)

    assert reason == why
    assert measure is not None
    assert measure.name == name
    assert measure.value == pytest.approx(value)


def test_the_thresholds_are_those_of_the_configuration() -> None:
    judge = judge_of(queue=2, wait_s=5, failure_rate=0.5)

    assert judge.judge(measured(queued=3))[0] == "3 requests wait, more than 2"
    assert judge.judge(measured(ends="x" * 5 + "." * 5)) == ("", None)


@pytest.mark.parametrize("few", [measured(waits=[300.0] * 4), measured(ends="x" * 9)])
def test_a_few_slow_grants_or_failures_say_nothing(few: Measured) -> None:
    assert judge_of().judge(few) == ("", None)


def test_only_the_latest_fifty_count() -> None:
    judge = judge_of()

    judge.judge(measured(ends="." * 100))

    assert judge.judge(measured(ends="x" * 11))[0] == "22% of the leases fail, more than 20%"


def test_what_is_older_than_five_minutes_does_not_count() -> None:
    judge = judge_of()
    judge.judge(measured(NOW, ends="x" * 8))

    assert judge.judge(measured(NOW + 301, ends="x" * 9)) == ("", None)


def test_a_degraded_pool_stays_so_until_all_is_at_half_for_the_hold_time() -> None:
    judge = judge_of(hold_s=10)

    assert judge.judge(measured(NOW, degraded="why", queued=6)) == ("why", None)
    assert judge.judge(measured(NOW + 20, degraded="why", queued=5)) == ("why", None)
    assert judge.judge(measured(NOW + 29.9, degraded="why", queued=0)) == ("why", None)
    assert judge.judge(measured(NOW + 30, degraded="why", queued=5)) == ("", None)


def test_a_relapse_starts_the_hold_time_anew() -> None:
    judge = judge_of(hold_s=10)
    judge.judge(measured(NOW, degraded="why"))

    judge.judge(measured(NOW + 9, degraded="why", queued=6))

    assert judge.judge(measured(NOW + 11, degraded="why")) == ("why", None)
    assert judge.judge(measured(NOW + 20.9, degraded="why")) == ("why", None)
    assert judge.judge(measured(NOW + 21, degraded="why")) == ("", None)


def test_another_measure_keeps_a_pool_degraded() -> None:
    judge = judge_of(hold_s=10)
    judge.judge(measured(NOW, degraded="why", ends="xx........"))

    assert judge.judge(measured(NOW + 100, degraded="why")) == ("why", None)


def test_a_pool_that_nobody_uses_any_more_recovers() -> None:
    judge = judge_of(hold_s=10)
    judge.judge(measured(NOW, waits=[300.0] * 50, ends="x" * 50))

    assert judge.judge(measured(NOW + 301, degraded="why")) == ("why", None)
    assert judge.judge(measured(NOW + 311, degraded="why")) == ("", None)


def test_switched_off_it_never_degrades_and_ends_what_was() -> None:
    judge = judge_of(enabled=False)

    assert judge.judge(measured(queued=1000)) == ("", None)
    assert judge.judge(measured(queued=1000, degraded="why")) == ("", None)


def test_the_documentation_shows_the_table_of_the_code() -> None:
    assert f"\n\n{effects_table()}\n\n" in (ROOT / "docs" / "degradation.md").read_text()


def test_the_status_of_a_degraded_pool_says_why() -> None:
    normal = PoolStatus("web", 100, "i", draining=False, manager="m", containers=(), queue=())
    degraded = PoolStatus(
        "web", 100, "i", draining=False, manager="m", containers=(), queue=(), degraded="11 requests wait\x1b[2J"
    )
    console = open_console()

    with console.capture() as captured:
        console.print(status_view([degraded]))

    assert "degraded: 11 requests wait�[2J; refuses low priority, shortens waits" in captured.get()
    assert status_json(degraded)["degraded"] == "11 requests wait\x1b[2J"
    assert status_json(normal)["degraded"] is None
