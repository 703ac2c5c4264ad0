"""How leases end, and whether their time was spent well."""

from __future__ import annotations

from pool.analytics import Span
from pool.recommendations.advice import Advice, Entry, Recommendation, Severity, counted, duration, rounded
from pool.recommendations.statistics import surely_above
from pool.recommendations.view import View

_LEAST_LEASES = 30
_FAILING, _FAILING_BADLY = 0.1, 0.3
_WASTED = 0.3
_FEW, _OFTEN = 0.02, 0.1
_LEAST_LOST = 5
_SHORT_TTL_S, _GOOD_TTL_S, _LONG_TTL_S = 10.0, 15.0, 60.0
_UNCONFIRMED, _LEAST_UNCONFIRMED = 0.05, 10
_LEAST_HISTORY = 200
_FAR_ABOVE = 10.0
_ROOM = 3.0
_AS = {
    "test": "as tests do",
    "timeout": "at their deadline",
    "system": "as error, for want of heartbeats, or since the container was taken away",
}
_DO = {
    "timeout": "Most ran out of time: see `timeout_s` of the requests, `limits.lease_timeout_s`, and clients that die.",
    "resource": "Containers ran out of memory or disk: give containers more (`container.memory`, tmpfs), or look for "
    "a leak.",
    "system": "See `poolctl events` and `poolctl evidence list` for what broke, containers or clients.",
    "test": "Most failed as tests do: that is for those who wrote them; the pool did what it should.",
}

ENTRIES = (
    Entry(
        "failure_rate_high",
        (Severity.WARNING, Severity.CRITICAL),
        f"Of {_LEAST_LEASES} leases or more, surely above {_FAILING:.0%} did not pass; critical where surely above "
        f"{_FAILING_BADLY:.0%} failed for another reason than their tests.",
        "By the kind that most failures are of: timeouts, memory, what broke, or the tests.",
    ),
    Entry(
        "time_wasted",
        (Severity.WARNING,),
        f"Of {_LEAST_LEASES} leases or more, {_WASTED:.0%} of the time was spent by those that ended without a "
        "result: as error, expired or revoked.",
        "Shorter timeouts for what hangs; a look at why clients end without a result.",
    ),
    Entry(
        "lease_timeout_short",
        (Severity.WARNING,),
        f"{_FEW:.0%} of the leases or more, and no fewer than {_LEAST_LOST}, reached their deadline.",
        "A greater `limits.lease_timeout_s`, or a `timeout_s` with the requests that take long; else look for what "
        "hangs.",
        {"lease_timeout_s": 1},
    ),
    Entry(
        "lease_timeout_long",
        (Severity.INFO,),
        f"Without `limits.adaptive_timeouts`, `limits.lease_timeout_s` is more than {_FAR_ABOVE:g} times what 99 % of "
        f"{_LEAST_HISTORY} or more leases took, and none reached its deadline.",
        "A shorter `limits.lease_timeout_s`, since whoever hangs keeps a container until then.",
        {"lease_timeout_s": -1},
    ),
    Entry(
        "heartbeats_missed",
        (Severity.WARNING, Severity.CRITICAL),
        f"{_FEW:.0%} of the leases or more, and no fewer than {_LEAST_LOST}, ended for want of heartbeats; critical "
        f"from {_OFTEN:.0%} on.",
        f"A greater `limits.ttl_s` where that is below {_SHORT_TTL_S:g} s; else a look at clients that crash or are "
        "killed.",
    ),
    Entry(
        "ttl_long",
        (Severity.INFO,),
        f"Leases end for want of heartbeats ({_LEAST_LOST} or more), and `limits.ttl_s` is above {_LONG_TTL_S:g} s: a "
        "crashed client keeps its container for that long.",
        "A shorter `limits.ttl_s`.",
        {"ttl_s": -1},
    ),
    Entry(
        "grants_unconfirmed",
        (Severity.WARNING,),
        f"{_UNCONFIRMED:.0%} of the grants or more, and no fewer than {_LEAST_UNCONFIRMED}, were never confirmed.",
        "A look at clients that die while they wait, or whose process is too busy to ask; a longer "
        "`limits.claim_ttl_s`.",
    ),
)


def failures(view: View) -> Advice:
    """Look at how many leases fail, and by what."""
    whole, rate = view.whole, view.whole.failure_rate
    failed, used = whole.failed, whole.used
    if rate is None or used < _LEAST_LEASES:
        return
    if surely_above(failed, used) > _FAILING:
        kinds = _kinds(whole)
        worst = max(kinds, key=lambda kind: (kinds[kind], kind))
        badly = surely_above(failed - kinds["test"], used) > _FAILING_BADLY
        yield Recommendation(
            "failure_rate_high",
            Severity.CRITICAL if badly else Severity.WARNING,
            f"{rate:.0%} of the leases did not pass: {failed} of {used}, most of them {_AS[worst]} ({kinds[worst]}).",
            {
                "failed": failed,
                "leases": used,
                "failure_rate": round(rate, 3),
                **{f"failed_{kind}": n for kind, n in kinds.items()},
                "faults_resource": whole.failures.get("resource", 0),
            },
            _DO["resource" if worst == "system" and 2 * whole.failures.get("resource", 0) >= kinds[worst] else worst],
        )
    yield from _wasted(whole)


def _kinds(whole: Span) -> dict[str, int]:
    """Return how many leases failed, by kind; requests without a lease and faults between leases are not among them."""
    test, timeout = whole.ended.get("failed", 0), whole.expired.get("deadline", 0)
    return {"test": test, "timeout": timeout, "system": max(whole.failed - test - timeout, 0)}


def _wasted(whole: Span) -> Advice:
    wasted_s = whole.held.total_s - whole.useful_s
    if whole.held.total_s and wasted_s >= _WASTED * whole.held.total_s:
        share = wasted_s / whole.held.total_s
        yield Recommendation(
            "time_wasted",
            Severity.WARNING,
            f"{share:.0%} of the time of all leases went to those that ended without a result.",
            {
                "wasted_s": round(wasted_s, 1),
                "leased_s": round(whole.held.total_s, 1),
                "efficiency": round(whole.efficiency or 0.0, 3),
                "utilisation": round(whole.utilisation or 0.0, 3),
            },
            "See which owners' leases end as error, expired or revoked (`poolctl analytics --by owner`), and give "
            "what hangs a shorter timeout.",
            f"up to {duration(wasted_s)} of containers' time",
        )


def deadlines(view: View) -> Advice:
    """Compare the timeout with how long leases take."""
    whole, setup = view.whole, view.setup
    ended = whole.expired.get("deadline", 0)
    p99_s = whole.held.percentile(99) or 0.0
    timeout_s = setup.lease_timeout_s
    if ended >= _LEAST_LOST and ended >= _FEW * whole.leases:
        longer = "" if timeout_s is None else f" to {_longer(timeout_s, setup.max_lease_timeout_s)}"
        yield Recommendation(
            "lease_timeout_short",
            Severity.WARNING,
            f"{counted(ended, 'lease')} of {whole.leases} reached the deadline.",
            {
                "deadlines_reached": ended,
                "leases": whole.leases,
                "use_p95_s": round(whole.held.percentile(95) or 0.0, 2),
                "use_p99_s": round(p99_s, 2),
                **({} if timeout_s is None else {"lease_timeout_s": timeout_s}),
            },
            f"If they were at work, raise `limits.lease_timeout_s`{longer}, or name a `timeout_s` with requests that "
            "take long; if they hung, look why.",
        )
    if timeout_s is None or setup.adaptive is not False or ended or whole.leases < _LEAST_HISTORY:
        return
    if timeout_s > _FAR_ABOVE * p99_s:
        wanted = max(rounded(_ROOM * p99_s), rounded(setup.ttl_s or 1.0))
        if wanted >= timeout_s / 2:
            return
        yield Recommendation(
            "lease_timeout_long",
            Severity.INFO,
            f"A lease may take {duration(timeout_s)}, and 99 of 100 take no more than {duration(p99_s)}.",
            {"lease_timeout_s": timeout_s, "use_p99_s": round(p99_s, 2), "leases": whole.leases},
            f"Set `limits.lease_timeout_s` to {wanted}, or `limits.adaptive_timeouts` to true: whoever hangs keeps a "
            "container until then.",
            f"{duration(timeout_s - wanted)} of a container for each lease that hangs",
        )


def _longer(timeout_s: float, most_s: float | None) -> str:
    wanted = rounded(2 * timeout_s)
    return f"{min(wanted, most_s):g}" if most_s is not None else f"{wanted}"


def heartbeats(view: View) -> Advice:
    """Look at leases that lapsed because nobody kept them alive."""
    whole, ttl_s = view.whole, view.setup.ttl_s
    missed = whole.expired.get("heartbeat", 0)
    if missed < _LEAST_LOST:
        return
    share = min(missed / max(whole.leases, 1), 1.0)
    if share >= _FEW:
        short = ttl_s is not None and ttl_s < _SHORT_TTL_S
        yield Recommendation(
            "heartbeats_missed",
            Severity.CRITICAL if share >= _OFTEN else Severity.WARNING,
            f"{counted(missed, 'lease')} of {whole.leases} ({share:.0%}) ended for want of heartbeats.",
            {"missed": missed, "leases": whole.leases, "share": round(share, 3), **({"ttl_s": ttl_s} if ttl_s else {})},
            f"Set `limits.ttl_s` to {_GOOD_TTL_S:g}: a busy machine is late with heartbeats."
            if short
            else "Clients crash or are killed while they hold a container: see whose leases expire in `poolctl "
            "events`.",
        )
    if ttl_s is not None and ttl_s > _LONG_TTL_S:
        lost_s = missed * (ttl_s - _GOOD_TTL_S)
        yield Recommendation(
            "ttl_long",
            Severity.INFO,
            f"A crashed client keeps its container for {duration(ttl_s)}; that happened {missed} times.",
            {"ttl_s": ttl_s, "missed": missed, "lost_s": round(lost_s, 1)},
            f"Set `limits.ttl_s` to {_GOOD_TTL_S:g}.",
            f"{duration(lost_s)} of containers' time",
        )


def confirmations(view: View) -> Advice:
    """Look at grants that nobody fetched."""
    lost, grants = view.whole.ended.get("unconfirmed", 0), view.whole.wait.n
    if lost < _LEAST_UNCONFIRMED or lost < _UNCONFIRMED * grants:
        return
    claim_s = view.setup.claim_ttl_s
    cost = "" if claim_s is None else f"{duration(lost * claim_s)} of containers' time"
    longer = "" if claim_s is None else f" to {rounded(2 * claim_s)}"
    yield Recommendation(
        "grants_unconfirmed",
        Severity.WARNING,
        f"{counted(lost, 'grant')} of {grants} {'was' if lost == 1 else 'were'} never confirmed.",
        {"unconfirmed": lost, "grants": grants, **({} if claim_s is None else {"claim_ttl_s": claim_s})},
        "Look for clients that die while they wait, or whose event loop is blocked; if they are only slow, raise "
        f"`limits.claim_ttl_s`{longer}.",
        cost or None,
    )


RULES = (failures, deadlines, heartbeats, confirmations)
