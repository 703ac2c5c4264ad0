"""What there is to tell, as plain JSON types: the same from `poolctl --json` and from the API.

Times are RFC 3339 in UTC, durations seconds. No secret is in any of it but in a lease, which is only for its holder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pool.models import ContainerInfo, ContainerRecord, Event, LeaseData, PoolStatus, State, rfc3339
from pool.observed import Sample
from pool.waiting import QueueEntry, forecast, queue

#: Where a sample says nothing about the container that there is now.
_NOT_SAMPLED = (State.STARTING, State.QUARANTINED, State.STOPPED)

#: Tells of an owner whether the reader may know what it does.
Sees = Callable[[str], bool]


def _sees_all(_: str) -> bool:
    return True


def status_json(status: PoolStatus, *, sees: Sees = _sees_all) -> dict[str, Any]:
    """Return a pool's status, without what concerns owners whom its reader may not know."""
    facts = status.facts
    return {
        "pool": status.pool,
        "at": rfc3339(status.at),
        "deployment": status.deployment or None,
        "incarnation": status.incarnation,
        "draining": status.draining,
        "degraded": status.degraded or None,
        "manager": status.manager or None,
        "places": status.places,
        "mean_held_s": _seconds(status.mean_held_s),
        "mean_reset_s": _seconds(status.mean_reset_s),
        "forecast_s": {priority.label: _seconds(wait) for priority, wait in forecast(status).items()},
        "facts": {"memory_mb": facts.memory_mb, "cpus": facts.cpus, "labels": dict(facts.labels)},
        "containers": [container_json(record, status.at, sees=sees) for record in status.containers],
        "queue": queue_json(status, sees=sees),
    }


def queue_json(status: PoolStatus, *, sees: Sees = _sees_all) -> list[dict[str, Any]]:
    """Return who waits in a pool, in the order of service."""
    return [_waiting_json(entry, known=sees(entry.request.owner)) for entry in queue(status)]


def _waiting_json(entry: QueueEntry, *, known: bool) -> dict[str, Any]:
    request = entry.request
    return {
        "position": request.position,
        "request_id": request.request_id if known else None,
        "owner": request.owner if known else None,
        "priority": request.priority.label,
        "effective_priority": request.effective.label,
        "first": request.first,
        "waited_s": round(request.waited_s, 3),
        "estimated_wait_s": _seconds(entry.estimated_wait_s),
        "waits_for": entry.waits_for,
    }


def container_json(record: ContainerRecord, now: float, *, sees: Sees = _sees_all) -> dict[str, Any]:
    """Return a container and its lease; `now` is in seconds since the epoch."""
    known = sees(record.owner)
    return {
        **_info_json(record.info),
        "url": record.info.url,
        "state": record.state.value,
        "revision": record.revision,
        "draining": record.draining,
        "since": rfc3339(record.since),
        "for_s": round(now - record.since, 3),
        "owner": record.owner if record.owner and known else None,
        "request_id": record.request_id if record.request_id and known else None,
        "priority": None if record.priority is None else record.priority.label,
        "metadata": dict(record.metadata) if known else {},
        "fence": record.fence,
        "granted_at": _moment(record.granted_at),
        "expires_at": _moment(record.expires_at),
        "deadline_at": _moment(record.deadline_at),
        "uses": record.uses,
        "failures": record.failures,
        "reason": record.reason,
        "level": record.level.label if record.level else None,
        "outcome": record.outcome,
        "note": record.note or None,
        "last_owner": record.last_owner if record.last_owner and sees(record.last_owner) else None,
        "last_request_id": record.last_request_id if record.last_request_id and sees(record.last_owner) else None,
        "born_at": _moment(record.born_at),
        **usage_json(record),
    }


def usage_json(record: ContainerRecord) -> dict[str, Any]:
    """Return what a container used when it was last checked; null for what is not known."""
    sample: Sample | None = record.sample if record.state not in _NOT_SAMPLED else None
    return {
        "conditions": sorted(condition.value for condition in record.conditions),
        "memory_mb": _tenths(sample.memory_mb if sample else None),
        "memory_percent": _tenths(sample.memory_percent if sample else None),
        "cpu_percent": _tenths(sample.cpu_percent if sample else None),
        "full_in_s": _tenths(sample.full_in_s if sample else None),
    }


def lease_json(
    lease: LeaseData, *, at: float, token: str, gateway_url: str | None, max_extensions: int
) -> dict[str, Any]:
    """Return a lease as the API gives it to its holder.

    Args:
        lease: What was granted.
        at: When Redis said so, in seconds since the epoch by its clock.
        token: What proves it, as the API takes it.
        gateway_url: Where it is reached through the manager; None where it is not.
        max_extensions: How often its deadline may be moved.
    """
    return {
        "id": lease.request_id,
        "pool": lease.pool,
        "container": _info_json(lease.container),
        "url": lease.container.url or gateway_url,
        "container_url": lease.container.url or None,
        "gateway_url": gateway_url,
        "owner": lease.owner,
        "priority": lease.priority.label,
        "fence": lease.fence,
        "token": token,
        "granted_at": rfc3339(lease.granted_at),
        "expires_at": rfc3339(lease.expires_at),
        "deadline_at": rfc3339(lease.deadline_at),
        "left_s": round(max(lease.deadline_at - at, 0.0), 6),
        "ttl_s": lease.ttl_s,
        "waited_s": round(lease.waited_s, 6),
        "extensions_used": lease.extensions_used,
        "max_extensions": max_extensions,
        "metadata": dict(lease.metadata),
        "hand_out": _check_json(lease.container),
    }


def event_json(pool: str, event: Event, *, sees: Sees = _sees_all) -> dict[str, Any]:
    """Return an event of a pool; of an owner whom its reader may not know, only what happened to the container."""
    facts: Mapping[str, str] = event.fields
    if "owner" in facts and not sees(facts["owner"]):
        facts = {name: value for name, value in facts.items() if name in ("container", "from", "to", "reason")}
    return {"id": event.id, "at": rfc3339(event.at), "pool": pool, "type": event.type, "facts": dict(facts)}


def _info_json(info: ContainerInfo) -> dict[str, Any]:
    return {
        "id": info.id,
        "name": info.name,
        "host": info.host,
        "ports": {str(inside): outside for inside, outside in info.ports.items()},
        "labels": dict(info.labels),
        "generation": info.generation,
    }


def _check_json(info: ContainerInfo) -> dict[str, Any] | None:
    """Return what a holder asks its container before it uses it."""
    check = info.hand_out
    if check is None:
        return None
    return {
        "kind": check.kind,
        "port": check.port,
        "path": check.path,
        "status": list(check.status),
        "headers": dict(check.headers),
        "timeout_s": check.timeout_s,
    }


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _tenths(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
