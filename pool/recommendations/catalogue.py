"""All recommendations there are, and how those are chosen that are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from pool.analytics import Span
from pool.recommendations.advice import Advice, Entry, Recommendation
from pool.recommendations.rules import capacity, containers, leases, resets, waiting
from pool.recommendations.view import View
from pool.setups import Setup

_MODULES = (capacity, waiting, leases, resets, containers)
_RULES: tuple[Callable[[View], Advice], ...] = tuple(rule for module in _MODULES for rule in module.RULES)

#: By code, in the order in which they are listed.
ENTRIES: Mapping[str, Entry] = {entry.code: entry for module in _MODULES for entry in module.ENTRIES}
_PLACE = {code: place for place, code in enumerate(ENTRIES)}


def recommend(hours: Sequence[Span], setup: Setup) -> list[Recommendation]:
    """Return what there is to do about a pool, the most severe first; nothing where too little is known.

    Of several that say the same, the one that says most is given; of two that contradict each other, the more severe.

    Args:
        hours: The pool's past, a span for each hour, so that the busiest can be told from the rest.
        setup: How it is set up.
    """
    view = View(hours, setup)
    found = [advice for rule in _RULES for advice in rule(view)]
    codes = {advice.code for advice in found}
    found = [advice for advice in found if not ENTRIES[advice.code].covered_by & codes]
    found.sort(key=lambda advice: (-advice.severity, _PLACE[advice.code]))
    return _agreeing(found)


def _agreeing(found: Iterable[Recommendation]) -> list[Recommendation]:
    """Return those that contradict none before."""
    kept: list[Recommendation] = []
    for advice in found:
        entry = ENTRIES[advice.code]
        if not any(entry.contradicts(ENTRIES[other.code]) for other in kept):
            kept.append(advice)
    return kept
