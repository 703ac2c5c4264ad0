"""Short courses of events that matter, step by step: they find at once what the state machine needs many tries for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pool.models import Outcome, Priority, State
from tests.model.backend import Backend
from tests.model.bundles import BundleMachine
from tests.model.draining import DrainingMachine
from tests.model.machine import POOLS, PoolMachine
from tests.model.spares import SpareMachine

#: The most usual wish.
WISH = {
    "owner": "o1",
    "process": "steady",
    "priority": Priority.NORMAL,
    "wait_s": 60.0,
    "ttl_s": 0.0,
    "timeout_s": 60.0,
}
ROOMY = POOLS[0]
_ONE, _TWO = {"pool": ROOMY, "size": 1}, {"pool": ROOMY, "size": 2}
_ONE_EACH = {"pool": ROOMY | {"max_leases_per_owner": 1}, "size": 2}

#: A step: the rule, or other method of a state machine, and its arguments.
Step = tuple[Callable[..., object], Mapping[str, Any]]


def _ask(**wish: Any) -> Step:
    return PoolMachine.acquire, {"wish": WISH | wish}


def _give_back(takes_s: float = 0.0) -> Step:
    return PoolMachine.turn_over, {"number": 0, "outcome": Outcome.PASSED, "takes_s": takes_s}


def _give_back_by(kind: str) -> Step:
    return PoolMachine.release, {"kind": kind, "number": 0, "outcome": Outcome.PASSED}


def _later(seconds: float) -> Step:
    return PoolMachine.time_passes, {"seconds": seconds}


def _ask_for(count: int) -> Step:
    return BundleMachine.acquire_many, {"count": count, "wish": WISH}


_DYING: Step = (PoolMachine.somebody_dies_waiting, {"number": 0, "wish": WISH})
_EXTEND: Step = (PoolMachine.extend, {"kind": "held", "number": 0, "extra_s": 1.0, "known": 0})
_COLLECT: Step = (PoolMachine.collect, {"process": "steady", "chosen": [0]})
_BEAT: Step = (PoolMachine.everybody_beats, {})
_CANCEL: Step = (PoolMachine.cancel, {"number": 0, "right": True})
_REAP: Step = (PoolMachine.reap, {})
_LAPSE: Step = (PoolMachine.a_grant_lapses, {})
_REVOKE: Step = (PoolMachine.move, {"name": "a", "to": State.UNHEALTHY})
_STOLEN: Step = (PoolMachine.send, {"name": "r01", "wish": WISH | {"owner": "o2"}})
_LATE: Step = (PoolMachine.move, {"name": "a", "to": State.UNHEALTHY, "late": True})
_URGENT: Step = (BundleMachine.somebody_urgent_comes_while_a_bundle_is_served, {"number": 0, "wish": WISH})
_REJECT: Step = (BundleMachine.somebody_rejects_while_others_wait, {"number": 0})
_AGAIN: Step = (BundleMachine.reject, {"kind": "past", "number": 0, "again": True})
_BEGIN: Step = (BundleMachine.begin, {"chosen": [("held", 0), ("held", 1)]})
_REJECT_WITH_SPARE: Step = (SpareMachine.somebody_rejects_with_a_spare_there, {"number": 0, "wish": WISH})
_DRAIN: Step = (DrainingMachine.drain_container, {"name": "a"})
_ONLY_C: Step = (PoolMachine.reconcile, {"wanted": "c"})
_OUT_AND_BACK: Step = (DrainingMachine.take_out_and_back, {"number": 0})
_QUARANTINE: Step = (PoolMachine.move, {"name": "a", "to": State.QUARANTINED})


def _one_more(wait_s: float) -> Step:
    return BundleMachine.a_bundle_wants_one_more_than_is_free, {"wish": WISH, "wait_s": wait_s}


def _places(*places: int) -> dict[str, Any]:
    return {"pool": ROOMY, "places": places}


#: How a pool is opened, and what happens to it.
Scene = tuple[Mapping[str, Any], tuple[Step, ...]]

SCENES: Mapping[type[PoolMachine], tuple[Scene, ...]] = {
    PoolMachine: (
        (_ONE, (_ask(), _ask(wait_s=5.0), _give_back(takes_s=6.0))),
        (_ONE, (_ask(), _DYING)),
        (_ONE, (_ask(), _EXTEND)),
        (_ONE, (_ask(), _ask(), _ask(), _give_back(), _COLLECT)),
        (_ONE, (_ask(), _STOLEN)),
        (_ONE, (_ask(timeout_s=10.0), _BEAT)),
        (_ONE, (_ask(), _give_back_by("stale fence"), _give_back_by("wrong token"))),
        (_ONE, (_LATE,)),
        (_ONE, (_ask(), _REVOKE)),
        (_ONE, (_ask(), _CANCEL)),
        (_ONE, (_ask(), _ask(), _give_back(), _LAPSE)),
        (_ONE, (_ask(), _ask(ttl_s=2.0), _later(70.0), _REAP)),
    ),
    BundleMachine: (
        (_TWO, (_ask(), _ask(), _URGENT)),
        (_TWO, (_ask(), _one_more(60.0))),
        (_TWO, (_ask(), _one_more(0.0))),
        (_TWO, (_ask_for(2),)),
        (_ONE_EACH, (_ask_for(2),)),
        (_ONE, (_ask(), _ask(), _REJECT, _AGAIN)),
        (_TWO, (_ask(), _ask_for(2), _give_back(), _BEGIN, _later(1.0), _BEGIN)),
    ),
    DrainingMachine: (
        (_ONE, (_ask(), _ask(), _OUT_AND_BACK)),
        (_ONE, (_QUARANTINE, _ONLY_C)),
    ),
    SpareMachine: (
        (_places(2, 0), (_DRAIN, (SpareMachine.there_are_other_places, {"places": (2, 1)}))),
        (_places(1, 1), (_DRAIN,)),
        (_places(1, 1), (_ONLY_C,)),
        (_places(2, 1), (_ask(), _ask(), _REJECT_WITH_SPARE)),
    ),
}


def play_scenes(backend: Backend, *, of: type[PoolMachine]) -> None:
    """Play the scenes of a state machine on a server.

    Raises:
        Disagreement: The scripts did something else than the model.
    """
    for opening, steps in SCENES[of]:
        machine = type(of.__name__, (of,), {"backend": backend})()
        try:
            machine.open(**opening)
            machine.redis_agrees()
            for step, arguments in steps:
                step(machine, **arguments)
                machine.redis_agrees()
        finally:
            machine.teardown()
