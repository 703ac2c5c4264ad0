"""The state machine proves something only if it fails when the scripts are wrong: they are broken here, one by one."""

from __future__ import annotations

import pytest

from tests.model.backend import Backend
from tests.model.bundles import BundleMachine
from tests.model.checking import MUTATION, check_model
from tests.model.draining import DrainingMachine
from tests.model.keys import Disagreement
from tests.model.machine import PoolMachine
from tests.model.mutations import (
    MUTATIONS,
    MUTATIONS_OF_BUNDLES,
    MUTATIONS_OF_DRAINING,
    MUTATIONS_OF_SPARES,
    Mutation,
)
from tests.model.scenes import play_scenes
from tests.model.spares import SpareMachine

pytestmark = pytest.mark.long

CASES = [
    *((PoolMachine, mutation) for mutation in MUTATIONS),
    *((BundleMachine, mutation) for mutation in MUTATIONS_OF_BUNDLES),
    *((DrainingMachine, mutation) for mutation in MUTATIONS_OF_DRAINING),
    *((SpareMachine, mutation) for mutation in MUTATIONS_OF_SPARES),
]


@pytest.mark.timeout(600)  # what is broken is found in seconds; only what is not found takes that long
@pytest.mark.parametrize(("machine", "mutation"), CASES, ids=[mutation.breaks for _, mutation in CASES])
def test_a_broken_script_is_noticed(
    machine: type[PoolMachine], mutation: Mutation, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = mutation.scripts()
    monkeypatch.setattr("pool.store.connection.load_scripts", lambda: broken)

    with Backend(redis_url) as backend, pytest.raises(Disagreement):
        look_for_faults(backend, machine)


def look_for_faults(backend: Backend, machine: type[PoolMachine]) -> None:
    """First where they are to be expected."""
    play_scenes(backend, of=machine)
    check_model(backend, MUTATION, of=machine)
