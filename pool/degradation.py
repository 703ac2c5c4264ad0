"""When a pool is overloaded, and what it then does less of.

A pool is degraded as soon as one of three measures exceeds its threshold, and normal again once all of them have been
at half of it or below for a while: in between it stays what it is, so that it does not go back and forth.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from pool.config.options import DegradationOptions
from pool.store import Measured, PoolStore

#: The latest grants and the latest ended leases count, as many as this,
_KEPT = 50
#: and no older than this, in seconds: a pool that refuses may see no new ones, and must not stay degraded for that.
_RECENT_S = 300.0
#: Fewer than this say nothing: one slow grant or two failed leases overload no pool.
_ENOUGH_WAITS = 5
_ENOUGH_ENDS = 10
#: The share of its threshold that a measure must come down to.
_CALM = 0.5

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Effect:
    """What changes in a degraded pool."""

    what: str
    normal: str
    degraded: str


#: Everything that changes. `lua/acquire.lua` does the first two, `reset/policy.py` the third; docs/degradation.md shows
#: this table.
EFFECTS = (
    Effect(
        "a new request of priority `low`",
        "is granted, or waits",
        "is refused with `Degraded` and a time after which to ask again; one that waits already keeps its place",
    ),
    Effect(
        "the longest wait of a new request",
        "its own `wait_s`, which may be up to `limits.max_wait_s`",
        "its own `wait_s`, cut down to half of `limits.max_wait_s`",
    ),
    Effect(
        "the reset of a container that stood idle for long, `reset.on_allocation`",
        "is done while nobody waits",
        "is put off until the pool is normal again",
    ),
)


class Measure(NamedTuple):
    """One of the three measures: what it is now, and from where on it is too much."""

    name: str
    value: float
    threshold: float
    text: str


class Judge:
    """Decides from measurements whether a pool is degraded. Reads no clock: a measurement says when it was taken.

    Args:
        options: The thresholds.
    """

    def __init__(self, options: DegradationOptions) -> None:
        self._options = options
        self._waits: deque[tuple[float, float]] = deque(maxlen=_KEPT)
        self._ends: deque[tuple[float, bool]] = deque(maxlen=_KEPT)
        self._calm_since: float | None = None

    def judge(self, measured: Measured) -> tuple[str, Measure | None]:
        """Return why the pool is degraded from now on, empty if it is not; where it becomes so, with the measure."""
        self._waits.extend(measured.waits)
        self._ends.extend(measured.ends)
        if not self._options.enabled:
            return "", None
        measures = list(self._measures(measured))
        if not measured.degraded:
            self._calm_since = None
            over = next((measure for measure in measures if measure.value > measure.threshold), None)
            return (over.text, over) if over else ("", None)
        if any(measure.value > measure.threshold * _CALM for measure in measures):
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = measured.at
        calm = self._calm_since is not None and measured.at - self._calm_since >= self._options.hold_s
        return ("" if calm else measured.degraded), None

    def _measures(self, measured: Measured) -> Iterator[Measure]:
        options, since = self._options, measured.at - _RECENT_S
        text = f"{measured.queued} requests wait, more than {options.queue}"
        yield Measure("queue", measured.queued, options.queue, text)
        waits = [wait_s for at, wait_s in self._waits if at > since]
        if len(waits) >= _ENOUGH_WAITS:
            mean_s = sum(waits) / len(waits)
            text = f"the mean wait is {mean_s:.0f} s, more than {options.wait_s:g} s"
            yield Measure("wait_s", mean_s, options.wait_s, text)
        ends = [failed for at, failed in self._ends if at > since]
        if len(ends) >= _ENOUGH_ENDS:
            rate = sum(ends) / len(ends)
            text = f"{rate:.0%} of the leases fail, more than {options.failure_rate:.0%}"
            yield Measure("failure_rate", rate, options.failure_rate, text)


class Degradation:
    """Keeps a pool's mode in Redis up to date, where `acquire` finds it. The pool's manager calls it over and over.

    What it needs to know is in the pool's event stream: a new manager goes on from there.
    """

    def __init__(self, options: DegradationOptions, store: PoolStore) -> None:
        self._store = store
        self._judge = Judge(options)
        self._after = ""

    async def look(self) -> None:
        """Judge the pool as it is now.

        Raises:
            StoreError: Redis is away.
        """
        measured = await self._store.measure(after=self._after)
        if measured is None:
            return
        self._after = measured.last_event
        why, measure = self._judge.judge(measured)
        if why == measured.degraded:
            return
        facts: dict[str, str] = {}
        if measure is not None:
            facts = {"measure": measure.name, "value": f"{measure.value:g}", "threshold": f"{measure.threshold:g}"}
        if await self._store.degrade(measured.degraded, why, facts=facts):
            if why:
                log.warning("pool.degraded", pool=self._store.pool, why=why)
            else:
                log.info("pool.recovered", pool=self._store.pool)


def effects_table() -> str:
    """Return what changes as a Markdown table, for docs/degradation.md."""
    rows = [f"| {effect.what} | {effect.normal} | {effect.degraded} |" for effect in EFFECTS]
    return "\n".join(["| | normal | degraded |", "|---|---|---|", *rows])
