"""The table of what goes wrong and what is then done: the documentation shows the one that the manager acts by."""

from __future__ import annotations

from pathlib import Path

import pytest

from pool.health import STRATEGIES, Action, Fault, strategies_table
from pool.manager import crew

DOCUMENT = Path(__file__).parents[2] / "docs" / "recovery.md"


def test_the_documentation_shows_the_table_of_the_code() -> None:
    assert strategies_table() in DOCUMENT.read_text(), "renew it: pool.health.strategies_table()"


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_has_a_strategy(fault: Fault) -> None:
    strategy = STRATEGIES[fault]

    assert all((strategy.detect, strategy.tries, strategy.delay, strategy.escalate))


@pytest.mark.parametrize("fault", Fault)
def test_what_stays_in_rotation_has_an_event_of_its_own(fault: Fault) -> None:
    strategy = STRATEGIES[fault]

    assert (strategy.condition is not None) == (strategy.leased in (Action.TELL, Action.THAW))


def test_the_delay_between_two_tries_is_the_one_that_the_crew_keeps() -> None:
    first, longest = crew._RETRY_S * 2, crew._LONGEST_RETRY_S

    assert STRATEGIES[Fault.CRASH].delay == (
        f"{first:g} s after the first that failed, then twice as long each time, {longest:g} s at most"
    )
