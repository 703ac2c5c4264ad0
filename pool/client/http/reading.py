"""From the JSON of the HTTP API to the types of `pool.models`. What an older server does not say gets a default."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pool.errors import StoreUnsupported
from pool.models import (
    ContainerInfo,
    ContainerRecord,
    HandOutCheck,
    LeaseData,
    LeaseRef,
    Outcome,
    PoolFacts,
    PoolStatus,
    Priority,
    ResetLevel,
    ResetReason,
    State,
    TimeoutRecommendation,
    WaitingRequest,
)
from pool.observed import Condition, Sample
from pool.store import Grant, Waiting
from pool.waiting import QueueEntry

Json = Mapping[str, Any]


def grant(body: Json) -> Grant:
    """Read a lease, and when the server gave it by the clock of Redis.

    Raises:
        StoreUnsupported: It is none.
    """
    try:
        data = lease(body)
        left_s = body.get("left_s")
        return Grant(data, data.granted_at if left_s is None else data.deadline_at - float(left_s))
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable("lease", error) from error


def lease(body: Json) -> LeaseData:
    """Read a lease."""
    check = body.get("hand_out")
    ref = LeaseRef.unseal(body["token"])
    gateway_url = body.get("gateway_url") or ""
    return LeaseData(
        pool=body["pool"],
        request_id=body["id"],
        container=_info(body["container"], url="" if body["url"] == gateway_url else body["url"], check=check),
        owner=body["owner"],
        priority=Priority.parse(body["priority"]),
        fence=body["fence"],
        token=ref.token,
        granted_at=_moment(body["granted_at"]),
        expires_at=_moment(body["expires_at"]),
        deadline_at=_moment(body["deadline_at"]),
        ttl_s=body["ttl_s"],
        waited_s=body["waited_s"],
        extensions_used=body["extensions_used"],
        metadata=body.get("metadata") or {},
        gateway_url=gateway_url,
    )


def _info(body: Json, *, url: str, check: Json | None = None) -> ContainerInfo:
    return ContainerInfo(
        id=body["id"],
        name=body["name"],
        host=body["host"],
        ports={int(inside): outside for inside, outside in body["ports"].items()},
        url=url,
        labels=body.get("labels") or {},
        generation=body.get("generation", 1),
        hand_out=None if check is None else HandOutCheck(**{**check, "status": tuple(check["status"])}),
    )


def waiting(body: Json, *, wait_s: float) -> Waiting:
    """Read the place of a request that waits."""
    return Waiting(body.get("position") or 0, wait_s)


def status(body: Json) -> PoolStatus:
    """Read a pool's status.

    Raises:
        StoreUnsupported: It is none.
    """
    try:
        return PoolStatus(
            pool=body["pool"],
            at=_moment(body["at"]),
            incarnation=body.get("incarnation") or "",
            deployment=body.get("deployment") or "",
            draining=body["draining"],
            degraded=body.get("degraded") or "",
            manager=body.get("manager") or "",
            containers=tuple(map(container, body["containers"])),
            queue=tuple(entry.request for entry in queue(body["queue"])),
            mean_held_s=body.get("mean_held_s"),
            mean_reset_s=body.get("mean_reset_s"),
            facts=PoolFacts(**body["facts"]) if body.get("facts") else PoolFacts(),
            rotation=body.get("places"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable("status", error) from error


def container(body: Json) -> ContainerRecord:
    """Read a container as the status shows it."""
    return ContainerRecord(
        info=_info(body, url=body["url"]),
        state=State(body["state"]),
        revision=body.get("revision", 0),
        fence=body.get("fence", 0),
        since=_moment(body["since"]),
        reason=ResetReason(body["reason"]) if body.get("reason") else None,
        outcome=Outcome(body["outcome"]) if body.get("outcome") else None,
        level=ResetLevel[body["level"].upper()] if body.get("level") else ResetLevel.NONE,
        failures=body.get("failures", 0),
        uses=body.get("uses", 0),
        note=body.get("note") or "",
        draining=body.get("draining", False),
        owner=body.get("owner") or "",
        request_id=body.get("request_id") or "",
        last_owner=body.get("last_owner") or "",
        last_request_id=body.get("last_request_id") or "",
        priority=Priority.parse(body["priority"]) if body.get("priority") else None,
        granted_at=_maybe(body.get("granted_at")),
        expires_at=_maybe(body.get("expires_at")),
        deadline_at=_maybe(body.get("deadline_at")),
        metadata=body.get("metadata") or {},
        sample=_sample(body),
        conditions=Condition.read(" ".join(body.get("conditions") or ())),
        born_at=_maybe(body.get("born_at")),
    )


def _sample(body: Json) -> Sample | None:
    if body.get("memory_mb") is None:
        return None
    used, share = round(body["memory_mb"] * 2**20), body.get("memory_percent")
    limit = round(used * 100 / share) if share else 0
    return Sample(used, limit, cpu_percent=body.get("cpu_percent"), full_in_s=body.get("full_in_s"))


def queue(entries: list[Json]) -> list[QueueEntry]:
    """Read who waits. A request of which this client may not know has no id and no owner."""
    return [
        QueueEntry(
            WaitingRequest(
                request_id=entry.get("request_id") or "",
                owner=entry.get("owner") or "",
                priority=Priority.parse(entry["priority"]),
                position=entry["position"],
                waited_s=entry["waited_s"],
                effective=Priority.parse(entry.get("effective_priority") or entry["priority"]),
                first=entry.get("first", False),
            ),
            entry.get("estimated_wait_s"),
            entry.get("waits_for") or "",
        )
        for entry in entries
    ]


def recommendation(body: Json | None) -> TimeoutRecommendation | None:
    """Read what the history of a label recommends, if it does."""
    if not body:
        return None
    return TimeoutRecommendation(body["samples"], body["mean_s"], body["p95_s"], body["timeout_s"])


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _maybe(text: str | None) -> float | None:
    return None if text is None else _moment(text)


def _unreadable(what: str, error: Exception) -> StoreUnsupported:
    return StoreUnsupported(
        f"the server's {what} cannot be read: {type(error).__name__} {error}",
        hint="server and client are of different versions; bring both to the same one",
    )
