"""The catalogue of all metrics: what each means, which labels it has, and where its values come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product

from pool.models import Priority, ResetLevel, ResetReason, State
from pool.observed import Condition


class Kind(StrEnum):
    """What a metric is to Prometheus."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    INFO = "info"


class Source(StrEnum):
    """Where values come from."""

    STATE = "state"  #: The pool's state in Redis, read for each scrape; every server shows the same.
    EVENTS = "events"  #: Counted once in the pool's events, and kept in Redis; every server shows the same.
    SERVER = "server"  #: The server that answers.


@dataclass(frozen=True, slots=True)
class Family:
    """One metric.

    Attributes:
        name: As queries write it.
        about: What it tells.
        labels: Name of each label, beside `pool` → the values it can have; empty where they are not known before.
        buckets: Upper bounds, of a histogram.
    """

    name: str
    kind: Kind
    source: Source
    about: str
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()

    @property
    def names(self) -> list[str]:
        """The names of all labels."""
        return [*([] if self.source is Source.SERVER else ["pool"]), *self.labels]

    def zeros(self) -> Iterator[tuple[str, ...]]:
        """Yield the combinations of labels, beside `pool`, that are there from the beginning, with 0."""
        if all(self.labels.values()):
            yield from product(*self.labels.values())


PRIORITIES = tuple(priority.label for priority in Priority)
LEVELS = tuple(level.label for level in ResetLevel if level)
REASONS = tuple(reason.value for reason in ResetReason)
#: How leases end.
LEASE_ENDS = ("passed", "failed", "error", "expired", "revoked", "unconfirmed", "cancelled", "unfit")
#: How requests end that get nothing.
REQUEST_ENDS = ("timed_out", "cancelled", "over_limit", "lost")
PROBES = ("tcp", "http", "engine")
#: As `pool.health.Fault` has them.
FAULTS = ("crash", "out_of_memory", "hang", "paused", "leak", "disk_full", "host_lost", "image_gone")

#: A released container is handed over within milliseconds; a wait in the queue takes as long as others' leases.
WAIT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
LEASE_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
#: A soft reset takes some 10 ms, a hard one some 140 to 400, a recreation seconds.
RESET_BUCKETS = (0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

_CONTAINER: Mapping[str, Sequence[str]] = {"container": ()}


def _state(name: str, about: str, labels: Mapping[str, Sequence[str]] | None = None) -> Family:
    return Family(name, Kind.GAUGE, Source.STATE, about, labels or {})


def _events(name: str, about: str, labels: Mapping[str, Sequence[str]] | None = None) -> Family:
    return Family(name, Kind.COUNTER, Source.EVENTS, about, labels or {})


def _times(name: str, about: str, buckets: tuple[float, ...], labels: Mapping[str, Sequence[str]]) -> Family:
    return Family(name, Kind.HISTOGRAM, Source.EVENTS, about, labels, buckets)


_STATE = (
    _state("pool_containers", "Containers by state.", {"state": tuple(state.value for state in State)}),
    _state("pool_containers_draining", "Containers that get no new lease until they are resumed."),
    _state(
        "pool_containers_troubled",
        "Containers with something the matter while they stay in rotation.",
        {"condition": tuple(condition.value for condition in Condition)},
    ),
    _state("pool_places", "Containers that can be lent at the same time."),
    _state("pool_queue_requests", "Requests that wait, by their own priority.", {"priority": PRIORITIES}),
    _state(
        "pool_queue_oldest_seconds",
        "How long the oldest waiting request has waited; 0 where none waits.",
        {"priority": PRIORITIES},
    ),
    _state("pool_degraded", "1 while the pool is overloaded and takes less than it does otherwise."),
    _state("pool_draining", "1 while the pool takes no new request."),
    _state("pool_manager_active", "1 while a manager leads the pool."),
    _state(
        "pool_container_state",
        "1 for the state that the container is in; the others are absent.",
        {"container": (), "state": tuple(state.value for state in State)},
    ),
    _state("pool_container_state_seconds", "How long it has been in that state.", _CONTAINER),
    _state("pool_container_failed_resets", "Resets of it that failed in a row.", _CONTAINER),
    _state(
        "pool_container_memory_bytes",
        "Memory in use, as last sampled. Absent while it is not sampled: while it is reset, or no manager leads.",
        _CONTAINER,
    ),
    _state("pool_container_memory_limit_bytes", "Its memory limit; absent where there is none.", _CONTAINER),
    _state("pool_container_cpu_ratio", "CPU used since the sample before, of what it may use: 1 is all.", _CONTAINER),
    _state("pool_container_pids", "Processes and threads in it.", _CONTAINER),
    _state(
        "pool_container_memory_full_seconds",
        "When its memory limit will be reached, by the trend of its samples; absent where that is not in sight.",
        _CONTAINER,
    ),
)

_EVENTS = (
    _times(
        "pool_acquire_wait_seconds",
        "From a request, as Redis got it, to its grant: 0 where a container was free.",
        WAIT_BUCKETS,
        {"priority": PRIORITIES},
    ),
    _times(
        "pool_lease_duration_seconds",
        "How long leases were held: those that were used, however they ended.",
        LEASE_BUCKETS,
        {},
    ),
    _events(
        "pool_leases_total",
        "Leases that ended. `expired`: their time was over; `revoked`: the container was taken away; `unconfirmed`: "
        "the client never fetched it; `cancelled`: it left before; `unfit`: the check at hand-out failed.",
        {"outcome": LEASE_ENDS},
    ),
    _events(
        "pool_lease_expirations_total",
        "Leases that expired: at their deadline, or without a heartbeat.",
        {"cause": ("deadline", "heartbeat")},
    ),
    _events("pool_lease_extensions_total", "Deadlines that were to be moved.", {"result": ("granted", "denied")}),
    _events(
        "pool_requests_unserved_total",
        "Requests that left the queue without a container. Those that were refused before they waited are none.",
        {"outcome": REQUEST_ENDS},
    ),
    _events(
        "pool_resets_total",
        "Attempts to reset a container, each at one level: another one follows those that `failed`, or quarantine. "
        "`on_start`: the container was started.",
        {"level": LEVELS, "reason": REASONS, "outcome": ("clean", "failed")},
    ),
    _times(
        "pool_reset_duration_seconds",
        "How long attempts took after which the container was clean.",
        RESET_BUCKETS,
        {"level": LEVELS},
    ),
    _events(
        "pool_health_checks_total",
        "Regular checks of containers. One that passes counts for each probe of the pool, one that fails for the probe "
        "that failed.",
        {"probe": PROBES, "result": ("passed", "failed")},
    ),
    _events(
        "pool_container_faults_total",
        "Containers that left rotation for a fault, see docs/recovery.md.",
        {"fault": FAULTS},
    ),
    _events("pool_quarantines_total", "Containers that were quarantined, by hand or not."),
    _events("pool_swaps_total", "Spares that took the place of a container."),
    _events("pool_recycles_total", "Containers replaced for their uses, age or size (`recycle`)."),
    _events("pool_events_total", "Events by type.", {"type": ()}),
    _events(
        "pool_event_gaps_total",
        "How often events were trimmed before they were counted, since no manager led for too long: counters lack what "
        "happened meanwhile.",
    ),
)

_SERVER = (
    Family(
        "pool_redis_up",
        Kind.GAUGE,
        Source.SERVER,
        "1 if Redis answered this scrape. While it is 0, only what the server knows by itself is there.",
    ),
    Family(
        "pool_redis_latency_seconds",
        Kind.GAUGE,
        Source.SERVER,
        "How long Redis took to answer a PING, the server's own delay included; absent while it is away.",
    ),
    Family(
        "pool_http_requests_total",
        Kind.COUNTER,
        Source.SERVER,
        "Calls of the API and the gateway that were answered. `route` is that of the table of routes, `unknown` where "
        "there is none; status 499: the caller left before.",
        {"route": (), "method": (), "status": ()},
    ),
    Family(
        "pool_gateway_connections",
        Kind.GAUGE,
        Source.SERVER,
        "Calls and WebSockets that are passed on to containers right now.",
        {"kind": ("http", "websocket")},
    ),
    Family(
        "pool_build_info",
        Kind.INFO,
        Source.SERVER,
        "1; the labels say what runs.",
        {"version": (), "python": ()},
    ),
)

#: All of them but `process_*`, which are those of every client library: CPU, memory, files, start.
FAMILIES: Mapping[str, Family] = {family.name: family for family in (*_STATE, *_EVENTS, *_SERVER)}
