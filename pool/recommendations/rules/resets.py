"""What resets cost, and whether they begin at the right level."""

from __future__ import annotations

from pool.models import ResetLevel, ResetReason, State
from pool.recommendations.advice import Advice, Entry, Recommendation, Severity, duration
from pool.recommendations.sizing import LEAST_REQUESTS
from pool.recommendations.statistics import surely_above
from pool.recommendations.view import View

_LEAST_ATTEMPTS = 50
_LEAST_HARD = 20
_NEVER, _TOO_OFTEN = 0.005, 0.25
#: The share of the places' time that hard resets must take for a softer level to be worth it, and for spares to be.
_WORTH_IT = 0.02
_SPARE_WORTH = 0.05
_COSTLY = 0.25
_LEAST_LEASES = 30
_FELT_S = 1.0
_SPARES_AFTER_H = 72.0
_NEVER_USED = 0.999
_SOFT, _HARD = ResetLevel.SOFT.label, ResetLevel.HARD.label
_HARD_ONES = (_HARD, ResetLevel.RECREATE.label)
_RELEASE = ResetReason.ON_RELEASE.value

ENTRIES = (
    Entry(
        "reset_too_high",
        (Severity.INFO,),
        f"`reset.on_release` or `reset.on_failure` is hard or recreate, {_LEAST_HARD} resets or more began there and "
        f"took {_WORTH_IT:.0%} or more of the places' time, while of {_LEAST_ATTEMPTS} or more soft ones no more than "
        f"{_NEVER:.1%} failed.",
        "`soft`, or `medium` where there is one, after a failure: what is not clean goes on to the next level anyway.",
        {"first_level": -1},
    ),
    Entry(
        "reset_too_low",
        (Severity.WARNING,),
        f"Of {_LEAST_ATTEMPTS} soft resets after a release, surely more than {_TOO_OFTEN:.0%} did not get the "
        "container clean.",
        "To begin with `medium`, or hard where there is none; or a recipe that clears what is left over.",
        {"first_level": 1},
    ),
    Entry(
        "cleaning_costly",
        (Severity.INFO, Severity.WARNING),
        f"Of the time of {_LEAST_LEASES} leases or more and their cleaning, {_COSTLY:.0%} went to cleaning; a warning "
        "where users wait meanwhile.",
        "A softer first level, `slot: held`, or spares.",
        covered_by=frozenset({"reset_too_high", "reset_too_low"}),
    ),
    Entry(
        "spares_help",
        (Severity.INFO,),
        f"Without spares, hard resets and recreations ({_LEAST_HARD} or more) took {_SPARE_WORTH:.0%} of the places' "
        f"time, and 1 of 20 requests waited for {_FELT_S:g} s or more.",
        "`spares: 1`: it steps in at once for a container that needs such a reset.",
        {"spares": 1},
        frozenset({"reset_too_high"}),
    ),
    Entry(
        "spares_unused",
        (Severity.INFO,),
        f"Watched for {_SPARES_AFTER_H:g} hours or more, and all spares stood by for {_NEVER_USED:.1%} of that.",
        "Fewer spares.",
        {"spares": -1},
    ),
)


def levels(view: View) -> Advice:
    """Compare the first level with what resets of each level achieve."""
    whole, setup = view.whole, view.setup
    clean = _attempts(view, _SOFT, None, "clean")
    failed = _attempts(view, _SOFT, None, "failed")
    high = [
        name
        for name, level in (("on_release", setup.on_release), ("on_failure", setup.on_failure))
        if level in _HARD_ONES
    ]
    hard = sum(_attempts(view, level, _RELEASE, "clean") for level in _HARD_ONES)
    hard_s = whole.reset_s[_HARD].mean_s if _HARD in whole.reset_s else None
    if high and setup.soft and clean + failed >= _LEAST_ATTEMPTS and failed <= _NEVER * (clean + failed):
        soft_s = (whole.reset_s[_SOFT].mean_s if _SOFT in whole.reset_s else None) or 0.0
        saved_s = hard * ((hard_s or 0.0) - soft_s)
        if hard >= _LEAST_HARD and whole.places_s and saved_s >= _WORTH_IT * whole.places_s:
            yield _too_high(view, high[0], clean + failed, hard, (soft_s, hard_s or 0.0, saved_s))
    clean, failed = (_attempts(view, _SOFT, _RELEASE, outcome) for outcome in ("clean", "failed"))
    if clean + failed >= _LEAST_ATTEMPTS and surely_above(failed, clean + failed) > _TOO_OFTEN:
        level = ResetLevel.MEDIUM.label if setup.medium else _HARD
        yield Recommendation(
            "reset_too_low",
            Severity.WARNING,
            f"{failed} of {clean + failed} soft resets after a release did not get the container clean, and the next "
            "level had to.",
            {"soft_failed": failed, "soft": clean + failed, "share": round(failed / (clean + failed), 3)},
            "See what is left over (`poolctl events`) and clear it in `reset.recipe`, or set `reset.on_release` to "
            f"{level}.",
        )


def _attempts(view: View, level: str, reason: str | None, outcome: str) -> int:
    return sum(
        n
        for (at, why, how), n in view.whole.resets.items()
        if at == level and how == outcome and (reason is None or why == reason)
    )


def _too_high(view: View, field: str, soft: int, hard: int, took_s: tuple[float, float, float]) -> Recommendation:
    soft_s, hard_s, saved_s = took_s
    medium = field == "on_failure" and view.setup.medium
    return Recommendation(
        "reset_too_high",
        Severity.INFO,
        f"{hard} resets began hard, {duration(hard_s)} each, while {soft} soft ones of {duration(soft_s)} left "
        "containers clean.",
        {
            "hard": hard,
            "hard_mean_s": round(hard_s, 3),
            "soft": soft,
            "soft_mean_s": round(soft_s, 3),
            "places_share": round(saved_s / view.whole.places_s, 3),
        },
        f"Set `reset.{field}` to {'medium' if medium else 'soft'}: what is then not clean goes on to the next level.",
        f"{duration(saved_s)} of containers' time",
    )


def cost(view: View) -> Advice:
    """Look at how much time goes to cleaning."""
    whole = view.whole
    cleaning_s, both_s = whole.cleaning.total_s, whole.cleaning.total_s + whole.held.total_s
    if whole.leases < _LEAST_LEASES or not both_s or cleaning_s < _COSTLY * both_s:
        return
    felt = (whole.wait.percentile(95) or 0.0) >= _FELT_S
    held = "" if view.setup.held is not False else ", `slot: held`, which halves what hard resets take"
    yield Recommendation(
        "cleaning_costly",
        Severity.WARNING if felt else Severity.INFO,
        f"{cleaning_s / both_s:.0%} of the time of leases and cleaning goes to cleaning: "
        f"{duration(whole.cleaning.mean_s or 0.0)} after leases of {duration(whole.held.mean_s or 0.0)}.",
        {
            "cleaning_share": round(cleaning_s / both_s, 3),
            "cleaning_mean_s": round(whole.cleaning.mean_s or 0.0, 3),
            "use_mean_s": round(whole.held.mean_s or 0.0, 3),
            "wait_p95_s": round(whole.wait.percentile(95) or 0.0, 3),
        },
        f"Use a softer first level where it gets containers clean{held}, or let one lease do more work.",
    )


def spares(view: View) -> Advice:
    """Look at whether spares would help, or stand by for nothing."""
    whole, number = view.whole, view.setup.spares
    if number is None or not whole.places_s:
        return
    resetting_s = whole.state_s.get(State.RESETTING, 0.0)
    resets = sum(n for (level, _, how), n in whole.resets.items() if level in _HARD_ONES and how == "clean")
    p95_s = view.wait_p95_s
    if number == 0 and resets >= _LEAST_HARD and view.wait.n >= LEAST_REQUESTS and p95_s >= _FELT_S:
        share = resetting_s / whole.places_s
        if share >= _SPARE_WORTH:
            yield Recommendation(
                "spares_help",
                Severity.INFO,
                f"Hard resets and recreations took {share:.0%} of the places' time, while 1 of 20 requests waited for "
                f"{duration(p95_s)} or more.",
                {"resetting_share": round(share, 3), "hard_resets": resets, "wait_p95_s": round(p95_s, 2)},
                "Set `spares` to 1: it steps in at once for a container that needs such a reset.",
                f"up to {duration(resetting_s)} of places' time",
            )
    stood_s = whole.state_s.get(State.SPARE, 0.0)
    if number and view.watched_h >= _SPARES_AFTER_H and stood_s >= _NEVER_USED * number * whole.watched_s:
        memory = view.setup.memory_mb
        yield Recommendation(
            "spares_unused",
            Severity.INFO,
            f"In {view.watched_h:.0f} hours no spare had to step in.",
            {
                "spares": number,
                "watched_h": round(view.watched_h, 1),
                "standing_by_share": round(stood_s / whole.watched_s / number, 5),
            },
            f"Set `spares` to {number - 1}.",
            f"{memory:.0f} MiB of memory" if memory else None,
        )


RULES = (levels, cost, spares)
