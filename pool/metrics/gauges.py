"""Gauges, computed from the state of a pool at one moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from pool.metrics.families import FAMILIES, Source
from pool.models import ContainerRecord, PoolStatus, State
from pool.observed import Sample
from pool.states import IDLE_STATES

#: Values of a metric: each with its labels, beside `pool`.
Values = Iterable[tuple[tuple[str, ...], float]]

#: A container in another state is not sampled, and what is known of it tells of what it was.
_SAMPLED = frozenset({*IDLE_STATES, State.ALLOCATED})


def gauges(status: PoolStatus) -> dict[str, list[tuple[tuple[str, ...], float]]]:
    """Return the values of each metric that comes from a pool's state."""
    names = [family.name for family in FAMILIES.values() if family.source is Source.STATE]
    return {name: list(_GAUGES[name](status)) for name in names}


def _counts(name: str, found: Iterable[str]) -> Values:
    """Count values of a metric's only label, with zeros."""
    counts = Counter(found)
    return [(labels, counts[labels[0]]) for labels in FAMILIES[name].zeros()]


def _oldest(status: PoolStatus) -> Values:
    oldest = dict.fromkeys(FAMILIES["pool_queue_oldest_seconds"].zeros(), 0.0)
    for request in status.queue:
        labels = (request.priority.label,)
        oldest[labels] = max(oldest[labels], request.waited_s)
    return oldest.items()


def _one(find: Callable[[PoolStatus], float]) -> Callable[[PoolStatus], Values]:
    return lambda status: [((), float(find(status)))]


def _each(find: Callable[[PoolStatus, ContainerRecord], float]) -> Callable[[PoolStatus], Values]:
    return lambda status: [((record.id,), float(find(status, record))) for record in status.containers]


def _sampled(find: Callable[[Sample], float | None]) -> Callable[[PoolStatus], Values]:
    """Return a metric of containers that is there only where it is known, and true now."""

    def values(status: PoolStatus) -> Iterator[tuple[tuple[str, ...], float]]:
        for record in status.containers if status.manager else ():
            if record.sample is not None and record.state in _SAMPLED:
                value = find(record.sample)
                if value is not None:
                    yield (record.id,), float(value)

    return values


_GAUGES: Mapping[str, Callable[[PoolStatus], Values]] = {
    "pool_containers": lambda status: _counts("pool_containers", (each.state.value for each in status.containers)),
    "pool_containers_draining": _one(lambda status: sum(each.draining for each in status.containers)),
    "pool_containers_troubled": lambda status: _counts(
        "pool_containers_troubled", (word.value for each in status.containers for word in each.conditions)
    ),
    "pool_places": _one(lambda status: status.places),
    "pool_queue_requests": lambda status: _counts("pool_queue_requests", (r.priority.label for r in status.queue)),
    "pool_queue_oldest_seconds": _oldest,
    "pool_degraded": _one(lambda status: bool(status.degraded)),
    "pool_draining": _one(lambda status: status.draining),
    "pool_manager_active": _one(lambda status: bool(status.manager)),
    "pool_container_state": lambda status: [((each.id, each.state.value), 1.0) for each in status.containers],
    "pool_container_state_seconds": _each(lambda status, record: max(status.at - record.since, 0.0)),
    "pool_container_failed_resets": _each(lambda _, record: record.failures),
    "pool_container_memory_bytes": _sampled(lambda sample: sample.memory_bytes),
    "pool_container_memory_limit_bytes": _sampled(lambda sample: sample.memory_limit_bytes or None),
    "pool_container_cpu_ratio": _sampled(lambda s: None if s.cpu_percent is None else s.cpu_percent / 100),
    "pool_container_pids": _sampled(lambda sample: sample.pids),
    "pool_container_memory_full_seconds": _sampled(lambda sample: sample.full_in_s),
}
