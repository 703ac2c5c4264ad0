"""Both sides in one shape: the model's state and the keys in Redis, the model's answers and the store's."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from pool.errors import (
    AcquireTimeout,
    AlreadyReleased,
    ExtensionDenied,
    InvalidRequest,
    LeaseLimitReached,
    LeaseLost,
    OwnerLeaseLimitReached,
    OwnerQueueFull,
    PoolDraining,
    PoolError,
    QueueFull,
    RequestConflict,
    RequirementsUnmet,
    UnknownContainer,
    UnknownPool,
)
from pool.models import LeaseData, RequestState
from pool.store import Grant, Waiting
from tests.model.keys import Keys
from tests.model.reference import Answer, Reference
from tests.model.state import Container, Lease

View = dict[str, Any]

#: What the store raises, and the first word of the model's answer for it.
REFUSALS: dict[type[PoolError], Answer] = {
    UnknownPool: ("unknown_pool",),
    UnknownContainer: ("unknown",),
    PoolDraining: ("draining",),
    AcquireTimeout: ("busy",),
    InvalidRequest: ("limit",),
    QueueFull: ("over_limit", "max_queued"),
    OwnerQueueFull: ("over_limit", "max_queued_per_owner"),
    LeaseLimitReached: ("over_limit", "max_leases"),
    OwnerLeaseLimitReached: ("over_limit", "max_leases_per_owner"),
    RequestConflict: ("refused",),
    RequirementsUnmet: ("too_many",),
    LeaseLost: ("lost",),
    AlreadyReleased: ("released_before",),
    ExtensionDenied: ("denied",),
}
_FACTS = ("reason", "outcome", "level")
_LEASE_NUMBERS = ("priority", "ttl", "enqueued_at", "granted_at", "expires_at", "deadline_at", "extensions")


def us(seconds: float) -> int:
    """Turn the store's seconds back into whole microseconds."""
    return round(seconds * 1e6)


async def answer_of(work: Coroutine[Any, Any, object]) -> Answer:
    """Run a method of the store and bring its answer, or what it raised, into the model's shape."""
    try:
        result = await work
    except tuple(REFUSALS) as error:
        return REFUSALS[type(error)]
    match result:
        case Grant(lease):
            return leased(lease)
        case LeaseData():
            return leased(result)
        case Waiting(position):
            return ("waiting", position)
        case RequestState():
            return ("ended", result.value)
        case list():
            return (
                "all",
                *(leased(one.lease) if isinstance(one, Grant) else ("waiting", one.position) for one in result),
            )
    return ("released",) if result is None else (result,)


def leased(lease: LeaseData) -> Answer:
    times = (us(lease.granted_at), us(lease.expires_at), us(lease.deadline_at), us(lease.ttl_s))
    who = (lease.request_id, lease.owner, int(lease.priority), lease.token, lease.fence)
    return ("leased", lease.container.id, *who, *times, lease.extensions_used)


def all_as_raised(answers: list[Answer]) -> Answer:
    """The model's answers to a bundle: all, or the first that refuses it."""
    refusals = [as_raised(answer) for answer in answers if answer[0] not in ("leased", "waiting")]
    return refusals[0] if refusals else ("all", *answers)


def as_raised(answer: Answer) -> Answer:
    """The model's answer as far as the store's errors tell one from another."""
    match answer:
        case ("conflict",) | ("ended", _):
            return ("refused",)
        case ("gone" | "stale" | "lost" | "cancelled" | "timed_out" | "over_limit" | "unfit" | "waiting",):
            return ("lost",)
        case ("denied", _):
            return ("denied",)
    return answer


def expected_view(model: Reference) -> View:
    """The model's state, as the keys should show it."""
    requests: View = {}
    for name, request in model.requests.items():
        if request.owner is None:
            requests[name] = {"state": request.state}
        else:
            requests[name] = {
                "state": request.state,
                "owner": request.owner,
                "process": request.process,
                "token": request.token,
                "enqueued_at": request.enqueued_at,
                "wait_until": request.wait_until,
                "fence": request.fence,
                "rejected": request.rejected,
            }
    return {
        "incarnation": model.rules is not None,
        "tick": model.last,
        "offset": model.offset,
        "draining": model.drained_by,
        "ready": model.ready(),
        "rotation": model.rotation(),
        "spares": model.spares(),
        "queue": model.queue(),
        "held": dict(model.held()),
        "queued": dict(model.queued()),
        "alive": model.alive_until,
        "requests": requests,
        "containers": {name: _container(container) for name, container in model.containers.items()},
    }


def _container(container: Container) -> View:
    return {
        "state": container.state,
        "since": container.since,
        "revision": container.since,
        "generation": container.generation,
        "fence": container.fence,
        "uses": container.uses,
        "draining": container.draining,
        **{fact: container.facts.get(fact) for fact in _FACTS},
        "lease": container.lease,
    }


def _number(fields: dict[str, str], name: str) -> int | None:
    return int(fields[name]) if name in fields else None


def real_view(keys: Keys) -> View:
    """The same from the keys."""
    meta = keys.hash("meta")
    numbers = ("enqueued_at", "wait_until", "fence", "rejected")
    requests: View = {}
    for name, fields in keys.requests.items():
        if "owner" not in fields:
            requests[name] = {"state": fields["state"]}
        else:
            texts = {part: fields[part] for part in ("state", "owner", "process", "token")}
            requests[name] = texts | {part: _number(fields, part) for part in numbers}
    return {
        "incarnation": "incarnation" in meta,
        "tick": int(meta.get("tick", 0)),
        "offset": int(meta.get("offset", 0)),
        "draining": meta.get("draining"),
        "ready": list(keys.zset("ready")),
        "rotation": sorted(keys.rotation),
        "spares": list(keys.zset("spares")),
        "queue": list(keys.zset("q")),
        "held": {owner: int(n) for owner, n in keys.hash("held").items()},
        "queued": {owner: int(n) for owner, n in keys.hash("queued").items()},
        "alive": keys.zset("own"),
        "requests": requests,
        "containers": {name: _real_container(fields) for name, fields in keys.containers.items()},
    }


def _real_container(fields: dict[str, str]) -> View:
    numbers = {part: _number(fields, part) for part in ("since", "revision", "generation", "fence", "uses")}
    lease = None
    if fields["state"] == "allocated":
        texts: dict[str, Any] = {part: fields[part] for part in ("request", "token", "owner", "process")}
        whole: dict[str, Any] = {part: int(fields[part]) for part in _LEASE_NUMBERS}
        lease = Lease(confirmed=fields["confirmed"] == "1", **texts, **whole)
    facts = {fact: fields.get(fact) for fact in _FACTS}
    return {"state": fields["state"], **numbers, "draining": "draining" in fields, **facts, "lease": lease}


def differences(expected: Any, real: Any, path: str = "") -> list[str]:
    """Where two views differ, one line each."""
    if isinstance(expected, dict) and isinstance(real, dict):
        names = sorted({*expected, *real})
        return [line for n in names for line in differences(expected.get(n), real.get(n), f"{path}/{n}")]
    return [] if expected == real else [f"{path or '/'}: the model has {expected!r}, Redis {real!r}"]
