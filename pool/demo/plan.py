"""What happens in the demo: sixteen test runs on two containers, and which of them are disturbed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

#: The pool in `demo.yaml`.
POOL = "browsers"
RUNNERS = 4

_PRIORITIES = (  # in the order in which they ask
    "low", "normal", "low", "low", "high", "high", "normal", "critical",
    "normal", "high", "normal", "low", "high", "normal", "critical", "normal",
)  # fmt: skip
_ASK_EVERY_S = 0.1
_FAILED = {5, 11}


class Fate(StrEnum):
    """What the demo does to a test run while it holds a container."""

    NONE = "none"
    RUNNER_KILLED = "runner_killed"
    CONTAINER_KILLED = "container_killed"


_FATES = {8: Fate.RUNNER_KILLED, 14: Fate.CONTAINER_KILLED}


@dataclass(frozen=True, slots=True)
class Run:
    """One test run.

    Attributes:
        name: Its lease's owner.
        runner: The runner process that does it.
        ask_after_s: When it asks for a container, in seconds after its runner got its runs.
        steps: How long it works, in steps of `runner.STEP_S`; one with a fate works until that strikes.
        outcome: How it ends.
        leaves_session: Whether it forgets to close its browser session.
    """

    name: str
    priority: str
    runner: int
    ask_after_s: float
    steps: int
    outcome: str = "passed"
    leaves_session: bool = False
    fate: Fate = Fate.NONE


def planned_runs() -> list[Run]:
    """Return the runs, in the order in which they ask.

    The run whose runner is killed asks early and is critical: it holds its container while others of the same runner
    still wait, so their requests become those of a dead process.
    """
    return [
        Run(
            name=f"run-{n:02}",
            priority=priority,
            runner=(n - 1) % RUNNERS,
            ask_after_s=round((n - 1) * _ASK_EVERY_S, 3),
            steps=4 + n % 3 * 2,
            outcome="failed" if n in _FAILED else "passed",
            leaves_session=n % 3 == 0,
            fate=_FATES.get(n, Fate.NONE),
        )
        for n, priority in enumerate(_PRIORITIES, start=1)
    ]
