from __future__ import annotations

import pytest

from tests.model.backend import Backend
from tests.model.bundles import BundleMachine
from tests.model.checking import CI, CI_FAKE, check_model
from tests.model.draining import DrainingMachine
from tests.model.machine import PoolMachine
from tests.model.scenes import play_scenes
from tests.model.spares import SpareMachine

MACHINES = (PoolMachine, BundleMachine, DrainingMachine, SpareMachine)


@pytest.mark.parametrize(
    ("server", "machine"),
    [
        ("server", PoolMachine),
        *(pytest.param("server", each, marks=pytest.mark.long) for each in MACHINES[1:]),
        *(pytest.param("fakeredis", each, marks=pytest.mark.long) for each in MACHINES),
    ],
)
def test_the_scripts_do_what_the_model_of_the_rules_does(
    server: str, machine: type[PoolMachine], request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("redis_url") if server == "server" else None

    with Backend(url) as backend:
        play_scenes(backend, of=machine)
        check_model(backend, CI if url else CI_FAKE, of=machine)
