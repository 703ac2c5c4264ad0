"""What to do about a pool, and why: pure functions on its history and set-up."""

from __future__ import annotations

from pool.recommendations.advice import Recommendation, Severity
from pool.recommendations.catalogue import ENTRIES, recommend
from pool.recommendations.document import analytics_json
from pool.setups import Setup

__all__ = ["ENTRIES", "Recommendation", "Setup", "Severity", "analytics_json", "recommend"]
