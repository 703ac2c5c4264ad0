"""From the fields of an hour to a span, and to the packed entry that is kept of it."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping

from pool.analytics.histogram import Histogram
from pool.analytics.history import OTHERS, ContainerUse, OwnerUse, Span
from pool.models import Priority, State
from pool.store import HOUR_S, Fields

_OWNER = "owner"
#: What is kept to the thousandth of a second, which is more than enough for a sum over an hour.
_DIGITS = 3
_FINE = 6
_VERSION = "1:"
_PRIORITIES = {priority.label: priority for priority in Priority}
_STATES = frozenset(state.value for state in State)


def fold(hour: int, fields: Fields) -> Span:
    """Return the span of an hour, by its number since the epoch; fields that are not known here are passed over."""
    tree = _Tree(fields)
    start = float(hour * HOUR_S)
    return Span(
        start=start,
        end=start + HOUR_S,
        watched_s=tree.one("watched"),
        places_s=tree.one("places"),
        state_s={State(name): value for name, value in tree.values("state").items() if name in _STATES},
        queued_s=tree.one("queued"),
        queue_peak=int(tree.one("^queue")),
        arrivals={_PRIORITIES[name]: int(n) for name, n in tree.values("arrivals").items() if name in _PRIORITIES},
        waits={_PRIORITIES[name]: times for name, times in tree.histograms("wait") if name in _PRIORITIES},
        held=tree.histogram("held"),
        useful_s=tree.one("useful"),
        cleaning=tree.histogram("cleaning"),
        ended=_whole(tree.values("ended")),
        unserved=_whole(tree.values("unserved")),
        expired=_whole(tree.values("expired")),
        failures=_whole(tree.values("failures")),
        resets={(level, reason, end): int(n) for (level, reason, end), n in tree.triples("resets")},
        reset_s=dict(tree.histograms("reset")),
        owners={name: _owner(use) for name, use in tree.named(_OWNER).items()},
        containers={name: _container(use) for name, use in tree.named("container").items()},
        degraded_s=tree.one("degraded"),
    )


def pack(fields: Fields, *, owners: int) -> str:
    """Return the entry that is kept of an hour.

    Args:
        fields: All of it.
        owners: How many owners it may name, those that held most; the others are added up.
    """
    kept = {name: _rounded(name, value) for name, value in _fewer_owners(fields, owners).items() if value}
    text = json.dumps(kept, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return _VERSION + base64.b64encode(zlib.compress(text.encode(errors="replace"), 9)).decode()


def unpack(entry: str) -> dict[str, float]:
    """Return the fields that an entry was made of; none of an empty one, or one that only another version can read."""
    if not entry.startswith(_VERSION):
        return {}
    try:
        fields = json.loads(zlib.decompress(base64.b64decode(entry.removeprefix(_VERSION))))
    except (ValueError, zlib.error):
        return {}
    return {str(name): float(value) for name, value in fields.items() if isinstance(value, int | float)}


def _fewer_owners(fields: Fields, most: int) -> dict[str, float]:
    """Return the fields with as many owners as may be named, and the others as one."""
    uses = {name: _owner(use) for name, use in _Tree(fields).named(_OWNER).items() if name != OTHERS}
    named = set(sorted(uses, key=lambda name: (-uses[name].held_s, -uses[name].waited_s, name))[:most])
    fewer: dict[str, float] = {}
    for field, value in fields.items():
        kind, _, rest = field.partition("|")
        what, _, name = rest.partition("|")
        if kind == "owners" or (kind == _OWNER and not what):
            continue  # how many the hour told apart while it was counted, and which
        kept = field if kind != _OWNER or name in named else f"{_OWNER}|{what}|{OTHERS}"
        fewer[kept] = fewer.get(kept, 0.0) + value
    return fewer


def _rounded(name: str, value: float) -> float:
    exact = name.endswith(("|sum", "|squares", "|max"))
    rounded = round(value, _FINE if exact else _DIGITS)
    return int(rounded) if rounded == int(rounded) else rounded


class _Tree:
    """The fields of an hour by their first word."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._under: dict[str, dict[str, float]] = {}
        for field, value in fields.items():
            head, found, rest = field.partition("|")
            if found:
                self._under.setdefault(head, {})[rest] = value

    def one(self, name: str) -> float:
        return self._fields.get(name, 0.0)

    def values(self, name: str) -> Mapping[str, float]:
        return self._under.get(name, {})

    def histogram(self, name: str) -> Histogram:
        return _histogram(self.values(name), self.values(f"^{name}").get("max", 0.0))

    def histograms(self, name: str) -> Iterator[tuple[str, Histogram]]:
        most = self.values(f"^{name}")
        parts: dict[str, dict[str, float]] = {}
        for rest, value in self.values(name).items():
            label, _, part = rest.rpartition("|")
            parts.setdefault(label, {})[part] = value
        for label, found in parts.items():
            yield label, _histogram(found, most.get(f"{label}|max", 0.0))

    def triples(self, name: str) -> Iterator[tuple[tuple[str, str, str], float]]:
        for rest, value in self.values(name).items():
            if rest.count("|") == 2:
                one, two, three = rest.split("|")
                yield (one, two, three), value

    def named(self, kind: str) -> Mapping[str, Mapping[str, float]]:
        """Return for each name what is said of it; a name may have any characters, so it stands last."""
        uses: dict[str, dict[str, float]] = {}
        for mark in ("", "^", "="):
            for rest, value in self.values(mark + kind).items():
                what, _, name = rest.partition("|")
                if what:
                    uses.setdefault(name, {})[what] = value
        return uses


def _histogram(parts: Mapping[str, float], most_s: float) -> Histogram:
    counts = {int(part): int(value) for part, value in parts.items() if part.removeprefix("-").isdecimal()}
    return Histogram(counts, parts.get("sum", 0.0), parts.get("squares", 0.0), most_s)


def _owner(use: Mapping[str, float]) -> OwnerUse:
    return OwnerUse(
        leases=int(use.get("leases", 0)),
        failed=int(use.get("failed", 0)),
        held_s=use.get("held", 0.0),
        waited_s=use.get("waited", 0.0),
    )


def _container(use: Mapping[str, float]) -> ContainerUse:
    return ContainerUse(
        leases=int(use.get("leases", 0)),
        failed=int(use.get("failed", 0)),
        resets_failed=int(use.get("resets_failed", 0)),
        faults=int(use.get("faults", 0)),
        memory_peak_mb=use.get("memory"),
        memory_limit_mb=use.get("limit"),
    )


def _whole(values: Mapping[str, float]) -> dict[str, int]:
    return {name: int(value) for name, value in values.items()}
