from __future__ import annotations

import pytest

from tests.model.backend import Backend
from tests.model.bundles import BundleMachine
from tests.model.checking import CI, check_model
from tests.model.draining import DrainingMachine
from tests.model.machine import PoolMachine


@pytest.mark.parametrize("machine", [PoolMachine, BundleMachine, DrainingMachine])
@pytest.mark.parametrize("server", ["fakeredis", "server"])
def test_the_scripts_do_what_the_model_of_the_rules_does(
    server: str, machine: type[PoolMachine], request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("redis_url") if server == "server" else None

    with Backend(url) as backend:
        check_model(backend, CI, of=machine)
