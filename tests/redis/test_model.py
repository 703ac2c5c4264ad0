from __future__ import annotations

import pytest

from tests.model.backend import Backend
from tests.model.bundles import BundleMachine
from tests.model.checking import CI, CI_FAKE, check_model
from tests.model.draining import DrainingMachine
from tests.model.machine import PoolMachine
from tests.model.scenes import play_scenes
from tests.model.spares import SpareMachine


@pytest.mark.parametrize("machine", [PoolMachine, BundleMachine, DrainingMachine, SpareMachine])
@pytest.mark.parametrize("server", [pytest.param("fakeredis", marks=pytest.mark.long), "server"])
def test_the_scripts_do_what_the_model_of_the_rules_does(
    server: str, machine: type[PoolMachine], request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("redis_url") if server == "server" else None

    with Backend(url) as backend:
        play_scenes(backend, of=machine)
        check_model(backend, CI if url else CI_FAKE, of=machine)
