"""What is the matter with containers: one by one, and all together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from pool.analytics import ContainerUse
from pool.models import State
from pool.recommendations.advice import Advice, Entry, Recommendation, Severity, counted, duration
from pool.recommendations.statistics import chance_of_as_many, chance_of_share
from pool.recommendations.view import OUT, View, serving_s

#: How likely a difference may be chance, over all containers and all three comparisons of a pool together.
_CHANCE = 0.01
_COMPARISONS = 3
_LEAST_LEASES, _LEAST_HITS = 20, 5
_TIMES_WORSE = 2.0
_MOST_NAMED = 3
_TIGHT, _WASTEFUL = 0.9, 0.3
_ROOM, _PLENTY = 0.7, 0.5
_WASTEFUL_AFTER_H, _WASTEFUL_LEASES = 72.0, 100
_STEP_MB = 32
_KILLED = 5
_LEAST_WATCHED_H = 1.0
_OUT, _MOSTLY_OUT = 0.1, 0.5
_DEGRADED, _MOSTLY_DEGRADED = 0.05, 0.25

ENTRIES = (
    Entry(
        "container_worse",
        (Severity.WARNING,),
        f"Leases that failed, resets that failed or faults of one container are more than {_TIMES_WORSE:g} times "
        f"those of the others, {_LEAST_HITS} or more, and chance would do that in less than {_CHANCE:.0%} of pools: "
        "Fisher's exact test for leases, a binomial one for the rest, divided by the number of comparisons. Of "
        f"{_LEAST_LEASES} leases or more; the {_MOST_NAMED} clearest.",
        "To recreate it, and to look at its host if that does not help.",
    ),
    Entry(
        "memory_tight",
        (Severity.WARNING, Severity.CRITICAL),
        f"A container used {_TIGHT:.0%} or more of its memory limit; critical where memory or disk ran out {_KILLED} "
        "times or more.",
        "A greater `container.memory`, or `recycle.max_memory_mb` against what grows; says how much.",
        {"memory": 1},
    ),
    Entry(
        "memory_wasteful",
        (Severity.INFO,),
        f"Watched for {_WASTEFUL_AFTER_H:g} hours and {_WASTEFUL_LEASES} leases or more, and no container ever used "
        f"{_WASTEFUL:.0%} of its limit.",
        "A smaller `container.memory`; says how much that saves.",
        {"memory": -1},
    ),
    Entry(
        "out_of_rotation",
        (Severity.WARNING, Severity.CRITICAL),
        f"Containers were starting, unhealthy, quarantined or stopped for {_OUT:.0%} of the places' time or more; "
        f"critical from {_MOSTLY_OUT:.0%} on.",
        "To see what keeps them out; `poolctl restore` for those in quarantine.",
    ),
    Entry(
        "degraded_often",
        (Severity.WARNING, Severity.CRITICAL),
        f"The pool was degraded for {_DEGRADED:.0%} of the time or more; critical from {_MOSTLY_DEGRADED:.0%} on.",
        "What the other recommendations say; else other thresholds under `degradation`.",
    ),
)


class _Worse(NamedTuple):
    chance: float
    container: str
    what: str
    hits: int
    of: int
    others: int
    of_others: int


def siblings(view: View) -> Advice:
    """Compare each container with the others."""
    uses = {name: use for name, use in view.whole.containers.items() if use.leases}
    if len(uses) < 2:
        return
    found = [worse for name in sorted(uses) for worse in _compared(name, uses)]
    limit = _CHANCE / (_COMPARISONS * len(uses))
    clearest: dict[str, _Worse] = {}
    for worse in sorted(found):
        if worse.chance < limit:
            clearest.setdefault(worse.container, worse)
    for worse in sorted(clearest.values())[:_MOST_NAMED]:
        yield Recommendation(
            "container_worse",
            Severity.WARNING,
            f"{worse.container} is worse than the others: {worse.hits} {worse.what} with {worse.of} leases, the "
            f"others {worse.others} with {worse.of_others}.",
            {
                "container": worse.container,
                "what": worse.what,
                "count": worse.hits,
                "leases": worse.of,
                "count_of_others": worse.others,
                "leases_of_others": worse.of_others,
                "chance": float(f"{worse.chance:.2g}"),
            },
            f"Recreate it: `poolctl reset {worse.container} --level recreate`; if that does not help, look at its "
            "host, port and volumes.",
        )


def _compared(name: str, uses: Mapping[str, ContainerUse]) -> list[_Worse]:
    use = uses[name]
    leases = sum(other.leases for other in uses.values())
    if use.leases < _LEAST_LEASES or leases - use.leases < _LEAST_LEASES:
        return []
    found = []
    for what, hits, everybody in (
        ("failed leases", use.failed, sum(other.failed for other in uses.values())),
        ("failed resets", use.resets_failed, sum(other.resets_failed for other in uses.values())),
        ("faults", use.faults, sum(other.faults for other in uses.values())),
    ):
        others, of_others = everybody - hits, leases - use.leases
        if hits < _LEAST_HITS or hits / use.leases <= _TIMES_WORSE * others / of_others:
            continue
        if what == "failed leases":
            chance = chance_of_as_many(hits, use.leases, of_hits=everybody, of_n=leases)
        else:  # one lease can have several of them, so it is not leases that are drawn
            chance = chance_of_share(hits, everybody, use.leases / leases)
        found.append(_Worse(chance, name, what, hits, use.leases, others, of_others))
    return found


def memory(view: View) -> Advice:
    """Compare the memory limit with what containers use."""
    used = {
        name: (use.memory_peak_mb, use.memory_limit_mb)
        for name, use in view.whole.containers.items()
        if use.memory_peak_mb is not None and use.memory_limit_mb
    }
    if not used:
        return
    shares = {name: peak / limit for name, (peak, limit) in used.items()}
    worst = max(shares, key=lambda name: (shares[name], name))
    peak, limit = used[worst]
    evidence: dict[str, float | int | str] = {
        "container": worst,
        "memory_peak_mb": round(peak, 1),
        "memory_limit_mb": round(limit, 1),
    }
    tight = sum(share >= _TIGHT for share in shares.values())
    if tight:
        killed = view.whole.failures.get("resource", 0)
        yield Recommendation(
            "memory_tight",
            Severity.CRITICAL if killed >= _KILLED else Severity.WARNING,
            f"{counted(tight, 'container')} of {len(shares)} came to {_TIGHT:.0%} of the memory limit or more: "
            f"{worst} to {peak:.0f} of {limit:.0f} MiB.",
            {**evidence, "containers_tight": tight, "faults_resource": killed},
            f"Set `container.memory` to {_megabytes(peak / _ROOM)}m, or `recycle.max_memory_mb` if it grows from "
            "lease to lease.",
        )
    elif _long_enough(view) and shares[worst] < _WASTEFUL and len(used) == len(view.whole.containers):
        wanted = _megabytes(peak / _PLENTY)
        if wanted >= limit:
            return
        saved = (limit - wanted) * len(used)
        yield Recommendation(
            "memory_wasteful",
            Severity.INFO,
            f"No container ever used more than {peak:.0f} of {limit:.0f} MiB.",
            {**evidence, "watched_h": round(view.watched_h, 1), "leases": view.whole.leases},
            f"Set `container.memory` to {wanted}m.",
            f"{saved:.0f} MiB of memory that the host must have ready",
        )


def _long_enough(view: View) -> bool:
    return view.watched_h >= _WASTEFUL_AFTER_H and view.whole.leases >= _WASTEFUL_LEASES


def _megabytes(wanted: float) -> int:
    return max(math.ceil(wanted / _STEP_MB) * _STEP_MB, _STEP_MB)


def rotation(view: View) -> Advice:
    """Look at containers that serve nobody, and at how long the pool was degraded."""
    whole = view.whole
    if view.watched_h < _LEAST_WATCHED_H:
        return
    if whole.places_s:
        share = 1 - serving_s(whole) / whole.places_s if whole.state_s else 0.0
        if share >= _OUT:
            worst = max(OUT, key=lambda state: (whole.state_s.get(state, 0.0), state))
            yield Recommendation(
                "out_of_rotation",
                Severity.CRITICAL if share >= _MOSTLY_OUT else Severity.WARNING,
                f"{share:.0%} of the places' time was lost to containers out of rotation, most of them {worst}.",
                {
                    "lost_share": round(share, 3),
                    **{f"{state}_s": round(whole.state_s.get(state, 0.0)) for state in OUT},
                },
                "See `poolctl status` and `poolctl evidence list`; `poolctl restore` takes one out of quarantine."
                if worst is State.QUARANTINED
                else "See `poolctl status` and `poolctl evidence list` for what keeps them out.",
            )
    share = min(whole.degraded_s / whole.watched_s, 1.0)
    if share >= _DEGRADED:
        yield Recommendation(
            "degraded_often",
            Severity.CRITICAL if share >= _MOSTLY_DEGRADED else Severity.WARNING,
            f"The pool was degraded for {share:.0%} of the time, {duration(whole.degraded_s)} in all: it refused low "
            "requests and shortened waits.",
            {
                "degraded_s": round(whole.degraded_s, 1),
                "watched_s": round(whole.watched_s, 1),
                "share": round(share, 3),
            },
            "Follow the other recommendations; if none explains it, the thresholds under `degradation` are too low.",
        )


RULES = (siblings, memory, rotation)
