"""What a pool's events say: who held which container from when to when, and how the containers came back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pool.demo.plan import Fate
from pool.models import Event, Priority, State


@dataclass(slots=True)
class Tenure:
    """One lease, from its grant to its end. Times are seconds since the epoch; places are indices of events.

    Attributes:
        used: Whether its holder had it in hands; a grant that was never confirmed is unused.
        end: `released`, `lost`, `cancelled`; empty while it lasts.
        outcome: How the work ended, or why the lease was lost.
    """

    container: str
    request: str
    owner: str
    priority: Priority
    fence: int
    waited_s: float
    granted_at: float
    granted_place: int
    used: bool
    end: str = ""
    outcome: str = ""
    ended_at: float = 0.0
    ended_place: int = -1


@dataclass(frozen=True, slots=True)
class Look:
    """What a test run found in a container before it did anything there."""

    run: str
    request: str
    container: str
    leftovers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Strike:
    """Something that the demo did to a run that held a container; `at` is seconds since the epoch."""

    fate: Fate
    run: str
    container: str
    at: float


@dataclass(frozen=True, slots=True)
class Recovery:
    """How a container came back after a strike. Times are seconds; None for what never happened.

    Attributes:
        lost_after_s: From the strike to the end of the lease.
        back_after_s: From the strike until the container was clean and healthy again.
        resets_s: How much of that its resets took.
        level: The reset level that did it.
    """

    strike: Strike
    lost_after_s: float | None
    back_after_s: float | None
    resets_s: float
    level: str
    note: str


def tenures(events: Sequence[Event]) -> list[Tenure]:
    """Return all leases, in the order of their grants."""
    queued = {event.fields["request"] for event in events if event.type == "request.queued"}
    found: list[Tenure] = []
    current: dict[tuple[str, str], Tenure] = {}
    for place, event in enumerate(events):
        facts = event.fields
        match event.type:
            case "lease.granted":
                tenure = Tenure(
                    container=facts["container"],
                    request=facts["request"],
                    owner=facts["owner"],
                    priority=Priority(int(facts["priority"])),
                    fence=int(facts["fence"]),
                    waited_s=int(facts["waited_us"]) / 1e6,
                    granted_at=event.at,
                    granted_place=place,
                    used=facts["request"] not in queued,  # who did not have to wait confirms by asking
                )
                found.append(tenure)
                current[facts["container"], facts["fence"]] = tenure
            case "lease.confirmed":
                for tenure in found:
                    tenure.used |= tenure.request == facts["request"]
            case "lease.released" | "lease.lost" | "lease.cancelled":
                if ended := current.get((facts["container"], facts["fence"])):
                    ended.end = event.type.removeprefix("lease.")
                    ended.outcome = facts.get("outcome") or facts.get("note", "")
                    ended.ended_at, ended.ended_place = event.at, place
    return found


def cleanings(events: Sequence[Event]) -> list[tuple[int, Event]]:
    """Return place and event of each time that a container became ready for use."""
    return [
        (place, event)
        for place, event in enumerate(events)
        if event.type == "container.moved" and event.fields["to"] == State.AVAILABLE
    ]


def last_states(events: Sequence[Event]) -> dict[str, str]:
    """Return the state that each container is in after the last event."""
    states: dict[str, str] = {}
    for event in events:
        match event.type:
            case "container.registered":
                states[event.fields["container"]] = event.fields["state"]
            case "container.moved":
                states[event.fields["container"]] = event.fields["to"]
            case "container.available":
                states[event.fields["container"]] = State.AVAILABLE
            case "lease.granted":
                states[event.fields["container"]] = State.ALLOCATED
            case "lease.released" | "lease.cancelled":
                states[event.fields["container"]] = State.CLEANING
            case "lease.lost":
                states[event.fields["container"]] = State.RESETTING
    return states


def recovery(events: Sequence[Event], strike: Strike) -> Recovery:
    """Follow a container from a strike until it is available again."""
    after = [event for event in events if event.fields.get("container") == strike.container and event.at >= strike.at]
    lost = next((e.at for e in after if e.type == "lease.lost" and e.fields["owner"] == strike.run), None)
    resets_s, note = 0.0, ""
    for event in after:
        note = note or event.fields.get("note", "")
        if event.type != "container.moved":
            continue
        resets_s += int(event.fields.get("reset_ms", "0")) / 1000
        if event.fields["to"] == State.AVAILABLE:
            level, back = event.fields.get("reset_level", ""), event.at
            return Recovery(strike, lost and lost - strike.at, back - strike.at, resets_s, level, note)
    return Recovery(strike, lost and lost - strike.at, None, resets_s, "", note)
