"""A pool's past and what follows from it, as plain JSON types: the same for the API and the terminal."""

from __future__ import annotations

from typing import Any

from pool.analytics import History, report
from pool.recommendations.catalogue import recommend
from pool.setups import Setup


def analytics_json(history: History, setup: Setup, *, owner: str | None = None) -> dict[str, Any]:
    """Return a pool's past in figures, and what follows from them.

    Args:
        history: What is known of the pool.
        setup: How it is set up.
        owner: Only owners whose name fits this pattern are listed.
    """
    advice = [each.to_json() for each in recommend(history.hours, setup)]
    return {**report(history, owner=owner), "recommendations": advice}
