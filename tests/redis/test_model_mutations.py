"""The state machine proves something only if it fails when the scripts are wrong: they are broken here, one by one."""

from __future__ import annotations

import pytest

from tests.model.backend import Backend
from tests.model.checking import MUTATION, check_model
from tests.model.draining import DrainingMachine
from tests.model.keys import Disagreement
from tests.model.mutations import MUTATIONS, MUTATIONS_OF_DRAINING, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[mutation.breaks for mutation in MUTATIONS])
def test_a_broken_script_is_noticed(mutation: Mutation, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = mutation.scripts()
    monkeypatch.setattr("pool.store.connection.load_scripts", lambda: broken)

    with Backend(redis_url) as backend, pytest.raises(Disagreement):
        check_model(backend, MUTATION)


@pytest.mark.parametrize("mutation", MUTATIONS_OF_DRAINING, ids=[each.breaks for each in MUTATIONS_OF_DRAINING])
def test_a_script_that_is_broken_for_draining_is_noticed(
    mutation: Mutation, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = mutation.scripts()
    monkeypatch.setattr("pool.store.connection.load_scripts", lambda: broken)

    with Backend(redis_url) as backend, pytest.raises(Disagreement):
        check_model(backend, MUTATION, of=DrainingMachine)
