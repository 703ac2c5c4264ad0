"""Why a request waits, and for how long: estimates from what the pool is doing, for people and for `Retry-After`."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from pool.errors import RequestConflict
from pool.models import ContainerRecord, PoolStatus, Priority, State, WaitingRequest
from pool.states import IDLE_STATES, ROTATION

#: Assumed before the pool has seen a lease or a reset, in seconds.
_FIRST_HELD_S = 30.0
_FIRST_RESET_S = 1.0
_FREE = frozenset({*IDLE_STATES, State.PAUSED})
_NOT_COMING = frozenset({State.QUARANTINED, State.STOPPED})


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A waiting request, and what is known of its wait.

    Attributes:
        estimated_wait_s: From now until it is probably served; None where no container is in rotation.
        waits_for: What stands between it and a container, in words.
    """

    request: WaitingRequest
    estimated_wait_s: float | None
    waits_for: str


def queue(status: PoolStatus) -> list[QueueEntry]:
    """Return the waiting requests in the order in which they will be served, with estimates.

    The estimate lets each container become free when an average lease and reset would be over, never after the
    lease's deadline, and hands it to the requests in their order.
    """
    turns = _turns(status)
    return [QueueEntry(request, next(turns), _obstacles(status, request)) for request in status.queue]


def forecast(status: PoolStatus) -> dict[Priority, float | None]:
    """Return for each priority how long a request made now would wait, in seconds, as `queue` estimates it.

    It stands behind whoever waits with its priority or a higher one. None where no container is in rotation.
    """
    turns = list(islice(_turns(status), len(status.queue) + 1))
    return {
        priority: turns[sum(request.first or request.effective <= priority for request in status.queue)]
        for priority in Priority
    }


def _turns(status: PoolStatus) -> Iterator[float | None]:
    """Yield when the first in line is served, the second, and so on, in seconds from now."""
    held = status.mean_held_s or _FIRST_HELD_S
    reset = status.mean_reset_s or _FIRST_RESET_S
    free = _free_in_s(status, held, reset)
    heapq.heapify(free)
    while True:
        yield heapq.heapreplace(free, free[0] + held + reset) if free else None


def explain(status: PoolStatus, request_id: str) -> str:
    """Say in a sentence why a request waits, or what became of it.

    Raises:
        RequestConflict: It neither waits nor holds a container of this pool.
    """
    for record in status.containers:
        if record.request_id == request_id:
            return f"It holds {record.id}."
    for entry in queue(status):
        if entry.request.request_id == request_id:
            break
    else:
        raise RequestConflict(
            f"request {request_id!r} neither waits for pool {status.pool!r} nor holds one of its containers",
            hint="it was served, ran out of time or was withdrawn; `poolctl queue` shows who waits",
        )
    if entry.estimated_wait_s is None:
        return f"{entry.waits_for}; none will be free until an operator resets one."
    soon = "any moment" if entry.estimated_wait_s < 1 else f"in about {entry.estimated_wait_s:.0f} s"
    return f"{entry.waits_for}; its turn should come {soon}."


def _free_in_s(status: PoolStatus, held: float, reset: float) -> list[float]:
    """Return when each container comes to those who wait: that has a place, or will be the first to get one."""
    due = [record for record in status.containers if record.state not in _NOT_COMING and not record.draining]
    within = [_next_free_in_s(record, status.at, held, reset) for record in due if record.state in ROTATION]
    coming = sorted(_next_free_in_s(record, status.at, held, reset) for record in due if record.state not in ROTATION)
    taken = sum(record.state in ROTATION for record in status.containers)
    return within + coming[: max(status.places - taken, 0)]


def _next_free_in_s(record: ContainerRecord, now: float, held: float, reset: float) -> float:
    if record.state in _FREE:
        return 0.0
    spent = now - record.since
    if record.state is not State.ALLOCATED:
        return max(reset - spent, 0.0)
    left = max(held - spent, 0.0)
    if record.deadline_at is not None:
        left = min(left, max(record.deadline_at - now, 0.0))
    return left + reset


def _does(record: ContainerRecord) -> str:
    """Say what a container does, for somebody who waits for it."""
    if record.state is State.ALLOCATED:
        return "leased"
    return "draining" if record.draining and record.state in _FREE else record.state


def _obstacles(status: PoolStatus, request: WaitingRequest) -> str:
    ahead = Counter(other.priority for other in status.queue[: request.position - 1])
    requests = [f"{ahead[priority]} {priority.label}" for priority in Priority if ahead[priority]]
    containers = [f"{number} {what}" for what, number in Counter(map(_does, status.containers)).items()]
    if request.first:
        return f"Waits for the rest of its bundle, containers: {', '.join(containers) or 'none'}"
    queue_part = f"{' and '.join(requests)} request{'s' * (ahead.total() > 1)} ahead" if requests else "Next in line"
    return f"{queue_part}, containers: {', '.join(containers) or 'none'}"
