"""From the replies of the Lua commands to the types of `pool.models`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from pool.models import (
    ContainerInfo,
    ContainerRecord,
    GatewayRules,
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


@dataclass(frozen=True, slots=True)
class Measured:
    """What tells whether a pool is overloaded. Times are seconds since the epoch by the clock of Redis.

    Attributes:
        degraded: Why the pool is degraded; empty if it is not.
        queued: How many requests wait.
        last_event: Measure again after this one.
        waits: When leases were granted, and after how many seconds of waiting.
        ends: When leases ended, and whether that was a failure: lost, failed or error.
    """

    at: float
    degraded: str
    queued: int
    last_event: str
    waits: tuple[tuple[float, float], ...] = ()
    ends: tuple[tuple[float, bool], ...] = ()


def pairs(flat: Sequence[str]) -> dict[str, str]:
    """Turn `[key, value, …]` into a mapping."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def text(fields: Mapping[Any, Any]) -> dict[str, str]:
    """Narrow a hash as the client library types it to what it holds: text."""
    return {str(key): str(value) for key, value in fields.items()}


def seconds(microseconds: str | int) -> float:
    """Turn the store's microseconds into seconds."""
    return int(microseconds) / 1e6


def dump_info(info: ContainerInfo) -> str:
    """Write what clients need to reach a container."""
    data: dict[str, Any] = {
        "id": info.id,
        "name": info.name,
        "host": info.host,
        "ports": dict(info.ports),
        "url": info.url,
        "labels": dict(info.labels),
    }
    if info.hand_out is not None:
        data["hand_out"] = asdict(info.hand_out)
    if info.gateway is not None:
        data["gateway"] = asdict(info.gateway)
    return json.dumps(data)


def load_info(text: str, generation: str) -> ContainerInfo:
    """Read what `dump_info` wrote."""
    data = _parsed(text)
    own: dict[str, Any] = {
        "ports": {int(inside): outside for inside, outside in data["ports"].items()},
        "labels": dict(data["labels"]),
    }
    if check := data.get("hand_out"):
        own["hand_out"] = HandOutCheck(**check | {"status": tuple(check["status"]), "headers": dict(check["headers"])})
    if rules := data.get("gateway"):
        own["gateway"] = GatewayRules(**rules)
    return ContainerInfo(**data | own, generation=int(generation))


@lru_cache(maxsize=1024)
def _parsed(text: str) -> dict[str, Any]:
    """Parse the text once for each generation of a container, not with every lease; nobody changes the result."""
    data: dict[str, Any] = json.loads(text)
    return data


def dump_facts(facts: PoolFacts) -> str:
    """Write what a pool's containers are like."""
    return json.dumps({"memory_mb": facts.memory_mb, "cpus": facts.cpus, "labels": dict(facts.labels)})


def lease(pool: str, flat: Sequence[str]) -> LeaseData:
    """Read a lease from its container's hash."""
    fields = pairs(flat)
    info = load_info(fields["info"], fields["generation"])
    return LeaseData(
        pool=pool,
        request_id=fields["request"],
        container=info,
        owner=fields["owner"],
        priority=Priority(int(fields["priority"])),
        fence=int(fields["fence"]),
        token=fields["token"],
        granted_at=seconds(fields["granted_at"]),
        expires_at=seconds(fields["expires_at"]),
        deadline_at=seconds(fields["deadline_at"]),
        ttl_s=seconds(fields["ttl"]),
        waited_s=seconds(int(fields["granted_at"]) - int(fields["enqueued_at"])),
        extensions_used=int(fields["extensions"]),
        metadata=json.loads(fields.get("metadata", "{}")),
        gateway_url=_gateway_url(info, LeaseRef(pool, fields["request"], int(fields["fence"]), fields["token"])),
    )


def _gateway_url(info: ContainerInfo, ref: LeaseRef) -> str:
    return ref.url(info.gateway.base) if info.gateway is not None and info.gateway.base else ""


def recommendation(reply: Sequence[str]) -> TimeoutRecommendation:
    """Read the reply of the recommend command."""
    samples, *durations = reply
    return TimeoutRecommendation(int(samples), *map(seconds, durations))


def measured(reply: Sequence[Any]) -> Measured:
    """Read the reply of the measure command."""
    now, degraded, queued, last, waits, ends = reply
    return Measured(
        at=seconds(now),
        degraded=degraded,
        queued=int(queued),
        last_event=last,
        waits=tuple((seconds(at), seconds(wait)) for at, wait in zip(waits[::2], waits[1::2], strict=True)),
        ends=tuple((seconds(at), outcome != Outcome.PASSED) for at, outcome in zip(ends[::2], ends[1::2], strict=True)),
    )


def container(fields: Mapping[str, str]) -> ContainerRecord:
    """Read a container's hash."""

    def moment(name: str) -> float | None:
        return seconds(fields[name]) if name in fields else None

    return ContainerRecord(
        info=load_info(fields["info"], fields["generation"]),
        state=State(fields["state"]),
        revision=int(fields["revision"]),
        fence=int(fields["fence"]),
        since=seconds(fields["since"]),
        spec=fields.get("spec", ""),
        reason=ResetReason(fields["reason"]) if "reason" in fields else None,
        outcome=Outcome(fields["outcome"]) if "outcome" in fields else None,
        level=ResetLevel(int(fields.get("level", "0"))),
        failures=int(fields.get("failures", "0")),
        uses=int(fields.get("uses", "0")),
        note=fields.get("note", ""),
        draining="draining" in fields,
        owner=fields.get("owner", ""),
        request_id=fields.get("request", ""),
        last_owner=fields.get("last_owner", ""),
        last_request_id=fields.get("last_request", ""),
        priority=Priority(int(fields["priority"])) if "priority" in fields else None,
        granted_at=moment("granted_at"),
        expires_at=moment("expires_at"),
        deadline_at=moment("deadline_at"),
        metadata=json.loads(fields.get("metadata", "{}")),
        sample=Sample.from_json(fields["sample"]) if "sample" in fields else None,
        conditions=Condition.read(fields.get("conditions", "")),
        born_at=moment("born_at") if fields.get("born_as") == fields["generation"] else None,
    )


def status(pool: str, reply: Sequence[Any]) -> PoolStatus:
    """Read the reply of the snapshot command."""
    now, meta_flat, manager, containers, queue = reply
    meta = pairs(meta_flat)
    return PoolStatus(
        pool=pool,
        at=seconds(now),
        incarnation=meta["incarnation"],
        deployment=meta.get("deployment", ""),
        draining="draining" in meta,
        degraded=meta.get("degraded", ""),
        manager=manager,
        containers=tuple(container(pairs(flat)) for flat in containers),
        queue=tuple(
            WaitingRequest(
                request_id=request,
                owner=owner,
                priority=Priority(int(priority)),
                position=position,
                waited_s=seconds(int(now) - int(enqueued_at)),
                effective=_aged(int(priority), int(now) - int(enqueued_at), int(meta["weight"])),
                first=first == "1",
            )
            for position, (request, owner, priority, enqueued_at, first) in enumerate(queue, start=1)
        ),
        mean_held_s=seconds(meta["mean_held"]) if "mean_held" in meta else None,
        mean_reset_s=seconds(meta["mean_reset"]) if "mean_reset" in meta else None,
        facts=PoolFacts(**json.loads(meta["facts"])),
        rotation=int(meta["rotation"]) if meta.get("rotation") else None,
        size=int(meta.get("size", 0)),
    )


def _aged(priority: int, waited_us: int, weight_us: int) -> Priority:
    """Return the class that a wait has brought a request to: one up for each weight."""
    return Priority(max(priority - waited_us // weight_us, 0))
