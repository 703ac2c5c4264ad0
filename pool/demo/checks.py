"""What must be true after the demo, computed from the recorded events and from what the test runs saw.

Each check is a pure function. Order in the stream is the order in which Redis did things, so places in it are
compared, not clocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pool.demo.history import Look, Recovery, Tenure, cleanings, last_states, tenures
from pool.models import Event, Priority, State

#: What may pass beside the times that are configured: a busy machine between a strike and its note in the stream.
_LATITUDE_S = 2.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must be true, whether it is, and the figure that shows it."""

    name: str
    passed: bool
    figure: str


def one_holder(events: Sequence[Event]) -> Check:
    """No container has two holders at once, and fences rise."""
    held: dict[str, str] = {}
    fences: dict[str, int] = {}
    faults, grants = [], 0
    for event in events:
        container, fence = event.fields.get("container", ""), event.fields.get("fence", "")
        if event.type == "lease.granted":
            grants += 1
            if container in held:
                faults.append(f"{container} went to {event.fields['owner']} while it was held")
            if int(fence) <= fences.get(container, 0):
                faults.append(f"{container}: fence {fence} after {fences[container]}")
            held[container], fences[container] = fence, int(fence)
        elif event.type in ("lease.released", "lease.lost", "lease.cancelled") and held.pop(container, None) != fence:
            faults.append(f"{container}: a lease ended that did not hold it")
    return _check("never two holders at once", faults, f"{_count(grants, 'lease')}, none overlapping")


def clean_hand_overs(events: Sequence[Event]) -> Check:
    """Between the end of a used lease and the next grant, the container was reset and verified."""
    clean = [
        (place, event.fields["container"])
        for place, event in cleanings(events)
        if event.fields.get("verified") == "yes"
    ]
    by_container: dict[str, list[Tenure]] = {}
    for tenure in tenures(events):
        by_container.setdefault(tenure.container, []).append(tenure)
    faults, checked = [], 0
    for container, leases in by_container.items():
        dirty_since = None
        for before, after in pairwise(leases):
            dirty_since = before.ended_place if before.used else dirty_since
            if dirty_since is None:
                continue
            checked += 1
            if any(which == container and dirty_since < place < after.granted_place for place, which in clean):
                dirty_since = None
            else:
                faults.append(f"{after.owner} got {container} unverified after {before.owner}")
    return _check("every hand-over clean", faults, f"{_count(checked, 'hand-over')}, all verified")


def nothing_found(events: Sequence[Event], looks: Sequence[Look]) -> Check:
    """Every run looked before it worked, and found nothing of its predecessors. One struck down may not have."""
    faults = [f"{look.run} found in {look.container}: {', '.join(look.leftovers)}" for look in looks if look.leftovers]
    looked = {look.request for look in looks}
    faults += [
        f"{lease.owner} did not look"
        for lease in tenures(events)
        if lease.end == "released" and lease.request not in looked
    ]
    return _check("nothing found by the next user", faults, f"{_count(len(looks), 'look')}, 0 leftovers")


def in_order(events: Sequence[Event]) -> Check:
    """At each grant, nobody waited who has precedence: a higher priority, or the same and asked earlier."""
    waiting: dict[str, tuple[int, int, str]] = {}
    faults, grants = [], 0
    for place, event in enumerate(events):
        request, owner = event.fields.get("request", ""), event.fields.get("owner", "")
        if event.type == "request.queued":
            waiting[request] = (int(event.fields["priority"]), place, owner)
        elif event.type.startswith("request."):
            waiting.pop(request, None)
        elif event.type == "lease.granted":
            grants += 1
            mine = waiting.pop(request, (int(event.fields["priority"]), place, owner))
            faults += [f"{owner} overtook {other[2]}" for other in waiting.values() if other < mine]
    return _check("nobody overtaken", faults, f"{_count(grants, 'grant')} by priority, then arrival")


def all_served(events: Sequence[Event], runs: Sequence[str]) -> Check:
    """Every run held a container until it gave it back itself."""
    served = {lease.owner for lease in tenures(events) if lease.end == "released"}
    faults = [f"{run} was not served" for run in runs if run not in served]
    return _check("all runs served", faults, f"{len(runs)} of {len(runs)}")


def dead_holder_replaced(found: Recovery, *, ttl_s: float, reap_interval_s: float) -> Check:
    """A killed runner's container is back within ttl + reset."""
    allowed_s = ttl_s + reap_interval_s + found.resets_s + _LATITUDE_S
    rule = f"(ttl {ttl_s:g} s + reset {found.resets_s:.2f} s)"
    return _recovered("killed runner's container is back", found, allowed_s, rule)


def dead_container_replaced(found: Recovery) -> Check:
    """A killed container is noticed at once, and back after its reset."""
    allowed_s = found.resets_s + _LATITUDE_S
    return _recovered("killed container is back", found, allowed_s, f"(reset {found.resets_s:.2f} s)")


def _recovered(name: str, found: Recovery, allowed_s: float, rule: str) -> Check:
    faults = []
    if found.lost_after_s is None:
        faults.append(f"{found.strike.run} never lost its lease")
    if found.back_after_s is None:
        faults.append(f"{found.strike.container} never came back")
    elif found.back_after_s > allowed_s:
        faults.append(f"after {found.back_after_s:.2f} s, allowed {allowed_s:.2f} s")
    back_s = found.back_after_s or 0.0
    return _check(name, faults, f"after {back_s:.2f} s {rule}")


def all_available(events: Sequence[Event], *, size: int) -> Check:
    """At the end, every container waits for its next user."""
    states = last_states(events)
    faults = [f"{container} is {state}" for container, state in states.items() if state != State.AVAILABLE]
    if len(states) < size:
        faults.append(f"only {len(states)} of {size} containers were ever seen")
    return _check("all available at the end", faults, f"{len(states)} of {size}")


def nothing_left(names: Sequence[str]) -> Check:
    """After the shut-down, the engine lists nothing under our label."""
    return _check("nothing left behind", [f"{name} is still there" for name in names], "0 containers, 0 networks")


def waits_by_priority(events: Sequence[Event]) -> dict[Priority, list[float]]:
    """Return the waits, in seconds, of all requests whose client took what it was granted."""
    waits: dict[Priority, list[float]] = {}
    for lease in tenures(events):
        if lease.used:
            waits.setdefault(lease.priority, []).append(lease.waited_s)
    return dict(sorted(waits.items()))


def resets_by_level(events: Sequence[Event]) -> dict[str, list[int]]:
    """Return the durations, in milliseconds, of all resets that made a container available."""
    resets: dict[str, list[int]] = {}
    for _, event in cleanings(events):
        if level := event.fields.get("reset_level"):
            resets.setdefault(level, []).append(int(event.fields["reset_ms"]))
    return resets


def _check(name: str, faults: Sequence[str], figure: str) -> Check:
    more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
    return Check(name, not faults, "; ".join(faults[:3]) + more if faults else figure)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
