"""Moments as people write them: how long ago, or when."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from pool.errors import InvalidRequest

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def moment(text: str, now: float) -> float:
    """Read a moment: how long ago, or when; in seconds since the epoch, and not before it where it is long ago.

    Raises:
        InvalidRequest: It is neither.

    >>> moment("2m", 1000.0)
    880.0
    >>> moment("1970-01-01T01:00+01:00", 0.0)
    0.0
    """
    if ago := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text, re.ASCII):
        return max(now - float(ago[1]) * _UNITS_S[ago[2]], 0.0)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        allowed = "say how long ago, such as 90s, 10m, 2h or 1d, or when, such as 2026-11-21T08:00:00Z"
        raise InvalidRequest("since", text, allowed) from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
