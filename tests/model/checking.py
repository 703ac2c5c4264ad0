"""How long the state machine runs, and where."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.backend import Backend
from tests.model.machine import PoolMachine

_COMMON: dict[str, Any] = {
    "deadline": None,  # a slow machine is no failure
    "database": None,  # two runs side by side must not influence each other
    "suppress_health_check": list(HealthCheck),
    "print_blob": True,
}
#: For the test suite: the same steps in each run, so that a failure there is a failure everywhere.
CI = settings(max_examples=40, stateful_step_count=50, derandomize=True, **_COMMON)
#: For fakeredis, which is several times slower, and only has to show that it stands for a server.
CI_FAKE = settings(CI, max_examples=12)
#: For one broken script: enough to find what is broken; nobody needs the shortest way to it.
MUTATION = settings(
    max_examples=1000,
    stateful_step_count=50,
    derandomize=True,
    phases=(Phase.generate,),
    report_multiple_bugs=False,
    verbosity=Verbosity.quiet,
    **_COMMON,
)
#: The same without the help of scenes, each time by other steps.
BROKEN = settings(MUTATION, derandomize=False, max_examples=5000)
#: One round of a long run.
SOAK = settings(max_examples=40, stateful_step_count=60, **_COMMON)


def check_model(
    backend: Backend, profile: settings, *, of: type[PoolMachine] = PoolMachine, start: int | None = None
) -> None:
    """Run a state machine on a server.

    Args:
        backend: Where.
        profile: How much.
        of: Which one.
        start: Where a profile that is not derandomized starts; the same number gives the same steps.

    Raises:
        Disagreement: The scripts did something else than the model.
    """
    machine = type(of.__name__, (of,), {"backend": backend})
    if start is not None:
        machine = seed(start)(machine)
    run_state_machine_as_test(machine, settings=profile)
