"""Who waits, for how long, and who gives up."""

from __future__ import annotations

from pool.models import Priority
from pool.recommendations.advice import Advice, Entry, Recommendation, Severity, counted, duration, rounded
from pool.recommendations.sizing import FINE_S, LEAST_REQUESTS
from pool.recommendations.view import View

#: Waits are long when 1 of 20 requests of the busiest hours waits longer than this, and than a lease lasts on average.
_LONG_S = 4 * FINE_S
_QUEUE_PER_PLACE = 2.0
_NEAR_LIMIT = 0.8
_GIVE_UP, _MANY_GIVE_UP, _LEAST_GIVEN_UP = 0.05, 0.2, 10
#: Of each priority so many must have been served, for the lowest to be compared with the highest.
_LEAST_OF_PRIORITY = 20
_STARVING_S = 60.0
_STARVING_RATIO = 10.0
_SHORT_SHARE = 0.5
_LONG_MAX_WAIT_S = 600.0
_UNUSED_SHARE = 0.05
_LEAST_SERVED = 200

ENTRIES = (
    Entry(
        "wait_long",
        (Severity.WARNING,),
        f"The 95th percentile of the wait in the busiest hours is above {_LONG_S:g} s and above the mean use, and the "
        "number of containers does not explain it.",
        "What keeps containers from being lent: limits per owner, containers out of rotation, slow resets, a burst "
        "that comes once a day.",
        {"places": 1},
        frozenset({"overloaded", "more_containers"}),
    ),
    Entry(
        "queue_long",
        (Severity.WARNING,),
        f"In the busiest hours more than {_QUEUE_PER_PLACE:g} requests wait for each place, on average.",
        "More containers, or work spread over more hours.",
        {"places": 1},
    ),
    Entry(
        "queue_near_limit",
        (Severity.WARNING, Severity.CRITICAL),
        f"The longest queue had {_NEAR_LIMIT:.0%} of `limits.max_queued` or more; critical where it was full.",
        "More containers, `limits.max_queued_per_owner` against one who asks for all, or a greater "
        "`limits.max_queued`.",
        {"places": 1},
    ),
    Entry(
        "requests_give_up",
        (Severity.WARNING, Severity.CRITICAL),
        f"{_GIVE_UP:.0%} of the requests or more, and no fewer than {_LEAST_GIVEN_UP}, ran out of time while they "
        f"waited; critical from {_MANY_GIVE_UP:.0%} on.",
        "More containers, or longer waits where clients can afford them.",
        {"places": 1},
    ),
    Entry(
        "low_priority_starves",
        (Severity.WARNING,),
        f"Without aging, the 95th percentile of the wait of the lowest priority is above {_STARVING_S:g} s and more "
        f"than {_STARVING_RATIO:g} times that of the highest.",
        "`aging_s`, so that a long wait raises the priority.",
    ),
    Entry(
        "max_wait_short",
        (Severity.INFO,),
        f"Requests run out of time ({_LEAST_GIVEN_UP} or more), and the 95th percentile of the waits that were served "
        f"is above {_SHORT_SHARE:.0%} of `limits.max_wait_s`, while containers are not too few.",
        "A greater `limits.max_wait_s`.",
        {"max_wait_s": 1},
        frozenset({"overloaded", "more_containers"}),
    ),
    Entry(
        "max_wait_long",
        (Severity.INFO,),
        f"`limits.max_wait_s` is {_LONG_MAX_WAIT_S:g} s or more, none of {_LEAST_SERVED} or more waits took "
        f"{_UNUSED_SHARE:.0%} of it, and none ran out of time.",
        "A shorter `limits.max_wait_s`, so that clients hear sooner that something is wrong.",
        {"max_wait_s": -1},
    ),
)


def waits(view: View) -> Advice:
    """Look at how long requests wait."""
    use_s = view.busy.held.mean_s
    if view.wait.n >= LEAST_REQUESTS and use_s is not None and view.wait_p95_s > max(_LONG_S, use_s):
        yield Recommendation(
            "wait_long",
            Severity.WARNING,
            f"1 of 20 requests of the busiest hours waited longer than {duration(view.wait_p95_s)}; leases last "
            f"{duration(use_s)} on average.",
            {
                "wait_p95_s": round(view.wait_p95_s, 2),
                "wait_p50_s": round(view.wait.percentile(50) or 0.0, 2),
                "use_mean_s": round(use_s, 2),
                "requests": view.busy.requests,
                "containers": view.places or 0,
            },
            "The number of containers does not explain it: look for limits per owner, containers out of rotation, "
            "slow resets, or a burst of requests.",
        )
    yield from _starving(view)


def _starving(view: View) -> Advice:
    if view.setup.aging is not False:
        return
    waits = {priority: view.whole.waits[priority] for priority in Priority if priority in view.whole.waits}
    asked = [priority for priority, wait in waits.items() if wait.n >= _LEAST_OF_PRIORITY]
    if len(asked) < 2:
        return
    highest, lowest = asked[0], asked[-1]
    high_s, low_s = (waits[each].percentile(95) or 0.0 for each in (highest, lowest))
    if low_s <= _STARVING_S or low_s <= _STARVING_RATIO * high_s:
        return
    aging_s = rounded(low_s / (2 * (lowest - highest)))
    yield Recommendation(
        "low_priority_starves",
        Severity.WARNING,
        f"1 of 20 requests of priority {lowest.label} waited longer than {duration(low_s)}, of priority "
        f"{highest.label} only {duration(high_s)}.",
        {
            "lowest": lowest.label,
            "highest": highest.label,
            "wait_p95_lowest_s": round(low_s, 2),
            "wait_p95_highest_s": round(high_s, 2),
            "requests_lowest": waits[lowest].n,
            "requests_highest": waits[highest].n,
        },
        f"Set `aging_s` to {aging_s}: then so many seconds of waiting make up for one priority class.",
    )


def queue(view: View) -> Advice:
    """Look at how many wait."""
    mean, busy = view.busy.queue_mean, view.busy
    places = busy.places_mean or 0.0
    if busy.requests >= LEAST_REQUESTS and mean is not None and places and mean > _QUEUE_PER_PLACE * places:
        yield Recommendation(
            "queue_long",
            Severity.WARNING,
            f"In the busiest hours {mean:.0f} requests wait on average, {mean / places:.1f} for each place.",
            {"queue_mean": round(mean, 2), "queue_peak": busy.queue_peak, "places": round(places, 1)},
            "Add containers, or spread the work over more hours.",
        )
    most, peak = view.setup.max_queued, view.whole.queue_peak
    if most is not None and peak >= _NEAR_LIMIT * most:
        full = peak >= most
        yield Recommendation(
            "queue_near_limit",
            Severity.CRITICAL if full else Severity.WARNING,
            f"The longest queue had {peak} requests; {'that is all' if full else 'no more than'} {most} may "
            f"wait{', and others are refused' if full else ''}.",
            {"queue_peak": peak, "max_queued": most},
            "Add containers; set `limits.max_queued_per_owner` if one owner asks for all; or raise "
            "`limits.max_queued`.",
        )


def patience(view: View) -> Advice:
    """Look at who gives up, and at how long one may wait."""
    whole, most_s = view.whole, view.setup.max_wait_s
    given_up, requests = whole.unserved.get("timed_out", 0), whole.requests
    p95_s = whole.wait.percentile(95) or 0.0
    if given_up >= _LEAST_GIVEN_UP and given_up >= _GIVE_UP * requests:
        share = min(given_up / max(requests, 1), 1.0)
        yield Recommendation(
            "requests_give_up",
            Severity.CRITICAL if share >= _MANY_GIVE_UP else Severity.WARNING,
            f"{counted(given_up, 'request')} of {requests} ({share:.0%}) gave up waiting.",
            {"timed_out": given_up, "requests": requests, "share": round(share, 3), "wait_p95_s": round(p95_s, 2)},
            "Add containers, or let clients wait longer (`wait_s` of a request) where they can afford it.",
        )
    if most_s is None:
        return
    if given_up >= _LEAST_GIVEN_UP and p95_s > _SHORT_SHARE * most_s:
        yield Recommendation(
            "max_wait_short",
            Severity.INFO,
            f"Waits come near the longest that is allowed: 1 of 20 took more than {duration(p95_s)} of "
            f"{duration(most_s)}.",
            {"wait_p95_s": round(p95_s, 2), "max_wait_s": most_s, "timed_out": given_up},
            f"Raise `limits.max_wait_s` to {rounded(2 * most_s)}, if clients can wait so long.",
        )
    longest_s, served = whole.wait.max_s, whole.wait.n
    if most_s >= _LONG_MAX_WAIT_S and served >= _LEAST_SERVED and longest_s < _UNUSED_SHARE * most_s and not given_up:
        wanted = rounded(max(10 * longest_s, 60.0))
        yield Recommendation(
            "max_wait_long",
            Severity.INFO,
            f"A request may wait for {duration(most_s)}, and none of {served} waited longer than "
            f"{duration(longest_s)}.",
            {"max_wait_s": most_s, "wait_max_s": round(longest_s, 2), "requests": served},
            f"Set `limits.max_wait_s` to {wanted}, so that clients hear sooner that something is wrong.",
        )


RULES = (waits, queue, patience)
