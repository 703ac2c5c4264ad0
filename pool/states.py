"""The one table of moves between a container's states, and its diagram.

`python -m pool.states` prints the diagram as ARCHITECTURE.md has it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import MappingProxyType

from pool.errors import ForbiddenTransition
from pool.models import State

#: The allowed moves between states, and what makes each. Grants and releases are moves of their own scripts; all others
#: go through the store's ``transition``, which asks this table.
TRANSITIONS: Mapping[State, Mapping[State, str]] = MappingProxyType(
    {
        State.STARTING: {
            State.AVAILABLE: "healthy",
            State.SPARE: "healthy, but no place is free",
            State.RESETTING: "failed to start",
            State.UNHEALTHY: "died",
            State.QUARANTINED: "failed too often",
        },
        State.AVAILABLE: {
            State.ALLOCATED: "acquire",
            State.PAUSED: "frozen while idle",
            State.SPARE: "draining, or fewer places",
            State.RESETTING: "by hand, or preventive",
            State.UNHEALTHY: "dead, or failing",
            State.QUARANTINED: "by hand",
            State.STOPPED: "by hand",
            State.STARTING: "to be started anew",
        },
        State.PAUSED: {
            State.AVAILABLE: "thawed",
            State.PAUSED: "kept frozen, by hand",
            State.SPARE: "thawed, but no place is free",
            State.RESETTING: "by hand",
            State.UNHEALTHY: "dead",
            State.QUARANTINED: "by hand",
        },
        State.SPARE: {
            State.AVAILABLE: "takes a place",
            State.RESETTING: "by hand, or preventive",
            State.UNHEALTHY: "dead, or failing",
            State.QUARANTINED: "by hand",
            State.STOPPED: "by hand",
        },
        State.ALLOCATED: {
            State.CLEANING: "release",
            State.AVAILABLE: "release without reset, or never confirmed",
            State.SPARE: "the same, but no place is free",
            State.RESETTING: "expired",
            State.UNHEALTHY: "dead",
            State.QUARANTINED: "by hand, and by force",
        },
        State.CLEANING: {
            State.AVAILABLE: "verified clean",
            State.SPARE: "verified clean, but no place is free",
            State.RESETTING: "not clean, next level",
            State.UNHEALTHY: "dead",
            State.QUARANTINED: "failed too often",
        },
        State.RESETTING: {
            State.AVAILABLE: "verified clean",
            State.SPARE: "verified clean, but no place is free",
            State.RESETTING: "not clean, next level",
            State.UNHEALTHY: "dead",
            State.QUARANTINED: "failed too often",
        },
        State.UNHEALTHY: {
            State.RESETTING: "recovery",
            State.STARTING: "to be started anew",
            State.QUARANTINED: "by hand, or its host is lost",
        },
        State.QUARANTINED: {State.RESETTING: "restored by hand", State.STOPPED: "by hand"},
        State.STOPPED: {State.STARTING: "by hand", State.RESETTING: "by hand"},
    }
)

#: States in which a container waits for its manager to do something.
WORK_STATES = frozenset({State.STARTING, State.CLEANING, State.RESETTING, State.UNHEALTHY})
#: States in which a container has one of its pool's places; `lua/_common.lua` has the same table.
ROTATION = frozenset({State.AVAILABLE, State.ALLOCATED, State.PAUSED, State.CLEANING})
#: States in which a container runs and nobody holds it.
IDLE_STATES = frozenset({State.AVAILABLE, State.SPARE})

#: Moves that need more than a change of state: a lease is written, or it ends and somebody else is served.
MOVES_OF_COMMANDS = MappingProxyType(
    {
        (State.AVAILABLE, State.ALLOCATED): "acquire",
        (State.ALLOCATED, State.CLEANING): "release",
        (State.ALLOCATED, State.AVAILABLE): "release",
    }
)


#: Moves that follow from how many places there are: whatever becomes available may find none, and waits for one.
MOVES_OF_SPARES = frozenset(
    [(old, State.SPARE) for old, news in TRANSITIONS.items() if State.SPARE in news] + [(State.SPARE, State.AVAILABLE)]
)


def check_transition(old: State, new: State) -> None:
    """Refuse a move that the table of states does not have, or that is a command's own.

    Raises:
        ForbiddenTransition: The move is not in `TRANSITIONS`, or only a command makes it.
    """
    if (old, new) in MOVES_OF_SPARES:
        raise ForbiddenTransition(
            f"only the pool itself takes a container from {old} to {new}",
            hint="whatever becomes available stands by as a spare while no place is free, and takes the next one",
        )
    if command := MOVES_OF_COMMANDS.get((old, new)):
        raise ForbiddenTransition(f"only {command} takes a container from {old} to {new}", hint=f"use {command}")
    if new not in TRANSITIONS[old]:
        allowed = ", ".join(sorted(TRANSITIONS[old]))
        raise ForbiddenTransition(
            f"a container cannot go from {old} to {new}", hint=f"from {old} it can go to {allowed}"
        )


def diagram() -> str:
    """Draw the table, in Mermaid.

    >>> diagram().splitlines()[:2]
    ['stateDiagram-v2', '    [*] --> starting']
    """
    moves = [f"    {old} --> {new}: {why}" for old, news in TRANSITIONS.items() for new, why in news.items()]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {State.STARTING}", *moves]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(diagram())
