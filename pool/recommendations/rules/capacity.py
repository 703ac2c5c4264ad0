"""Whether there are enough containers, or too many."""

from __future__ import annotations

import math

from pool.recommendations.advice import Advice, Entry, Recommendation, Severity, counted, duration
from pool.recommendations.sizing import FINE_S, FINE_SHARE, LEAST_REQUESTS, MOST_CONTAINERS, Demand, demand
from pool.recommendations.view import View

#: Waits are too long from so many times a fine one on, so that what is just right is left alone.
_TOO_LONG = 2.0
#: A smaller pool must leave waits at this share of a fine one, and its busiest hour at no more than this load.
_FEWER_FINE = 0.5
_FEWER_LOAD = 0.75
#: How long a pool must have been watched before containers are taken away from it, in hours.
_FEWER_AFTER_H = 24.0
_NO_RESERVE = 0.85
_IDLE = 0.1
_LEAST_LEASES = 30
#: How many sizes the evidence compares.
_STEPS = 4

_FINE = f"{FINE_S:g} s, or {FINE_SHARE:.0%} of what a lease and its cleaning take if that is more"

ENTRIES = (
    Entry(
        "overloaded",
        (Severity.CRITICAL,),
        "In the busiest hour more comes than all containers can do, and the 95th percentile of the wait is above a "
        f"fine one ({_FINE}).",
        "More containers; says how many are the least with which the queue does not grow, and how many give fine "
        "waits.",
        {"places": 1, "spares": 1},
    ),
    Entry(
        "more_containers",
        (Severity.WARNING,),
        f"The 95th percentile of the wait in the busiest hours is above {_TOO_LONG:g} times a fine one ({_FINE}), and "
        "by the estimate more containers would make it fine.",
        "More containers; says how many, and the wait with them.",
        {"places": 1, "spares": 1},
        frozenset({"overloaded"}),
    ),
    Entry(
        "fewer_containers",
        (Severity.INFO,),
        f"Watched for {_FEWER_AFTER_H:g} hours or more; by the estimate fewer would leave the 95th percentile of the "
        f"wait below {_FEWER_FINE:.0%} of a fine one, and the busiest hour at {_FEWER_LOAD:.0%} load or less. Where "
        "nobody waited, requests are assumed to come three at once.",
        "Fewer containers; says how many, and the memory that saves.",
        {"places": -1, "spares": -1},
    ),
    Entry(
        "no_reserve",
        (Severity.WARNING,),
        f"In the busiest hours {_NO_RESERVE:.0%} of the places or more were leased or being cleaned, while waits are "
        "fine.",
        "One container more before more work comes.",
        {"places": 1, "spares": 1},
        frozenset({"overloaded", "more_containers", "wait_long"}),
    ),
    Entry(
        "mostly_idle",
        (Severity.INFO,),
        f"Watched for {_FEWER_AFTER_H:g} hours or more, and leased for less than {_IDLE:.0%} of that, while fewer "
        "containers would not do for the busiest hours.",
        "`pause_after_s`, so that idle containers use no CPU, or work of another team.",
        covered_by=frozenset({"fewer_containers"}),
    ),
)


def size(view: View) -> Advice:
    """Compare the number of containers with what came."""
    found = demand(view)
    if found is None:
        return
    if found.wait_p95_s > found.fine_s and found.offered >= found.places:
        yield _overloaded(found)
    elif found.wait_p95_s > _TOO_LONG * found.fine_s:
        wanted = found.least(found.fine_s)
        if wanted is not None and wanted > found.places:
            yield _more(found, wanted)
    elif view.watched_h >= _FEWER_AFTER_H:
        yield from _fewer(found, view.setup.memory_mb)


def _overloaded(found: Demand) -> Recommendation:
    least, fine = math.floor(found.offered) + 1, found.least(found.fine_s)
    enough = "even the most are too few" if fine is None else f"{fine} give a p95 wait of {duration(found.p95_s(fine))}"
    return Recommendation(
        "overloaded",
        Severity.CRITICAL,
        f"Arrivals exceed what {counted(found.places, 'container')} can do: the busiest hour keeps "
        f"{found.offered:.1f} busy, so at least {least} are needed.",
        {**found.evidence(), "containers_at_least": least, **_steps(found, fine)},
        f"Set `size` to {fine or MOST_CONTAINERS}, or at least {least}, or spread the work over more hours; {enough}.",
    )


def _more(found: Demand, wanted: int) -> Recommendation:
    then_s = found.p95_s(wanted)
    return Recommendation(
        "more_containers",
        Severity.WARNING,
        f"{wanted} containers would have cut the p95 wait of the busiest hours from {duration(found.wait_p95_s)} to "
        f"{_about(then_s)}; there are {found.places}.",
        {
            **found.evidence(),
            "containers_advised": wanted,
            "wait_p95_advised_s": round(then_s, 2),
            **_steps(found, wanted),
        },
        f"Set `size` to {wanted}{_half_way(found, wanted)}.",
        f"{duration(max(found.wait_p95_s - then_s, 0))} of the p95 wait",
    )


def _fewer(found: Demand, memory_mb: float | None) -> Advice:
    cautious = found.cautious()
    by_wait = cautious.least(_FEWER_FINE * found.fine_s)
    wanted = max(by_wait or MOST_CONTAINERS, math.ceil(found.offered / _FEWER_LOAD), 1)
    if wanted >= found.places or found.wait_p95_s > _FEWER_FINE * found.fine_s:
        return
    less = found.places - wanted
    then_s = cautious.p95_s(wanted)
    yield Recommendation(
        "fewer_containers",
        Severity.INFO,
        f"{counted(wanted, 'container')} would be enough: {found.places} are there, and the busiest hour keeps "
        f"{found.offered:.1f} busy; the p95 wait would be {_about(then_s)}.",
        {**cautious.evidence(), "containers_advised": wanted, "wait_p95_advised_s": round(then_s, 2)},
        f"Set `size` to {wanted}, if what comes does not grow.",
        counted(less, "container") + (f", {less * memory_mb:.0f} MiB of memory" if memory_mb else ""),
    )


def _half_way(found: Demand, wanted: int) -> str:
    """Say what one container more would do, where more than one is advised."""
    one_more = found.places + 1
    then_s = found.p95_s(one_more)
    if one_more >= wanted or then_s >= found.wait_p95_s:
        return ""
    return f"; {one_more} would make it {_about(then_s)}"


def _about(wait_s: float) -> str:
    return f"about {duration(wait_s)}" if wait_s >= 0.1 else "next to nothing"


def _steps(found: Demand, until: int | None) -> dict[str, str]:
    """Return what several sizes between now and the advised one would give, in words."""
    if until is None:
        return {}
    first = max(math.floor(found.offered) + 1, found.places)
    sizes = sorted({first + round((until - first) * n / (_STEPS - 1)) for n in range(_STEPS)})
    return {"wait_p95_by_containers": ", ".join(f"{n}: {duration(found.p95_s(n))}" for n in sizes)}


def load(view: View) -> Advice:
    """Look at how much of the time containers are used."""
    whole, busy = view.whole, view.busy
    if busy.requests >= LEAST_REQUESTS and busy.busy is not None and busy.busy >= _NO_RESERVE:
        yield Recommendation(
            "no_reserve",
            Severity.WARNING,
            f"In the busiest hours {busy.busy:.0%} of the places were taken: with a little more work, requests queue.",
            {
                "busiest_hours": len(view.busiest),
                "busy_share": round(busy.busy, 3),
                "leased_share": round(busy.utilisation or 0.0, 3),
                "wait_p95_s": round(view.wait_p95_s, 2),
            },
            f"Set `size` to {(view.places or 0) + 1} before more work comes.",
        )
    used = whole.utilisation
    if view.watched_h >= _FEWER_AFTER_H and whole.leases >= _LEAST_LEASES and used is not None and used < _IDLE:
        pausing = (
            "`pause_after_s` freezes idle containers, so that they use no CPU; o" if not view.setup.pauses else "O"
        )
        yield Recommendation(
            "mostly_idle",
            Severity.INFO,
            f"Containers were leased for {used:.1%} of the time.",
            {"leased_share": round(used, 4), "watched_h": round(view.watched_h, 1), "leases": whole.leases},
            f"{pausing}ther work may share the pool.",
        )


RULES = (size, load)
