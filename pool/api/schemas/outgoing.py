"""What the API gives."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from pool.api.schemas.types import LevelName, Moment, PriorityName
from pool.models import Outcome, State


class Out(BaseModel):
    """What goes out."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Named(Out):
    """What a client needs to reach a container."""

    id: str
    name: str
    host: str
    ports: dict[str, int]
    """Container port → published port."""
    labels: dict[str, str]
    generation: int


class HandOut(Out):
    """What to ask a container before it is used; if it fails, reject it."""

    kind: Literal["tcp", "http"]
    port: int
    path: str
    status: list[int]
    headers: dict[str, str]
    timeout_s: float


class Lease(Out):
    """A container, lent."""

    id: str
    """Also the id of the request."""
    pool: str
    container: Named
    url: str | None
    """Where the container is reached: its own address, or else the gateway's."""
    container_url: str | None
    """Its own address; null where it publishes no port."""
    gateway_url: str | None
    """Where the container is reached through this server; null where the pool has no gateway."""
    owner: str
    priority: PriorityName
    fence: int
    """Rises with every lease of a container."""
    token: str
    """Proves who holds the lease. A secret: send it as `Authorization: Bearer`."""
    granted_at: Moment
    expires_at: Moment
    """It lapses then without a heartbeat before."""
    deadline_at: Moment
    """It ends then, heartbeats or not."""
    left_s: float
    """Until the deadline, as this answer was made."""
    ttl_s: float
    waited_s: float
    extensions_used: int
    max_extensions: int
    metadata: dict[str, Any]
    hand_out: HandOut | None


class Queued(Out):
    """A request that still waits: ask again at `poll`."""

    request_id: str
    pool: str
    position: int | None
    """1 is served next; null while that is not known."""
    estimated_wait_s: float | None
    poll: str


class Bundle(Out):
    """Several containers, lent together."""

    leases: dict[str, list[Lease]]
    """By the name of their pool."""


class Times(Out):
    """Until when a lease lasts."""

    expires_at: Moment
    deadline_at: Moment
    left_s: float
    """Until the deadline."""


class Beat(Out):
    """One lease of several that were kept alive; `expires_at` is null where it is lost."""

    id: str
    expires_at: Moment | None


class Beats(Out):
    """The leases, in the order of their tokens."""

    leases: list[Beat]


class Container(Named):
    """A container and its lease; null where there is none, or where it is none of the reader's business."""

    url: str
    state: State
    revision: int
    draining: bool
    since: Moment
    for_s: float
    owner: str | None
    request_id: str | None
    priority: PriorityName | None
    metadata: dict[str, Any]
    fence: int
    granted_at: Moment | None
    expires_at: Moment | None
    deadline_at: Moment | None
    uses: int
    failures: int
    reason: str | None
    level: LevelName | None
    outcome: Outcome | None
    note: str | None
    last_owner: str | None
    last_request_id: str | None
    born_at: Moment | None
    conditions: list[str]
    memory_mb: float | None
    memory_percent: float | None
    cpu_percent: float | None
    full_in_s: float | None


class WaitingRequest(Out):
    """One place in the queue; null where it is none of the reader's business."""

    position: int
    request_id: str | None
    owner: str | None
    priority: PriorityName
    effective_priority: PriorityName
    """What its wait has brought it to where the pool ages requests."""
    first: bool
    """Others of its bundle are granted, so it stands before everybody else."""
    waited_s: float
    estimated_wait_s: float | None
    waits_for: str


class Facts(Out):
    """What the containers of a pool are like; null where there is no limit."""

    memory_mb: float | None
    cpus: float | None
    labels: dict[str, str]


class Pool(Out):
    """A pool at one moment."""

    pool: str
    at: Moment
    deployment: str | None
    incarnation: str
    draining: bool
    degraded: str | None
    """Why the pool takes less than otherwise; null while it is normal."""
    manager: str | None
    """Who manages it; null while nobody does."""
    mean_held_s: float | None
    mean_reset_s: float | None
    forecast_s: dict[PriorityName, float | None]
    """How long a request made now would probably wait, by priority; null where no container is in rotation."""
    facts: Facts
    places: int
    """How many containers are in rotation; further ones stand by as spares."""
    containers: list[Container]
    queue: list[WaitingRequest]


class Pools(Out):
    """All pools that the reader may use."""

    pools: list[Pool]


class Queue(Out):
    """Who waits, in the order of service."""

    pool: str
    queue: list[WaitingRequest]


class Located(Container):
    """A container, and the pool that it belongs to."""

    pool: str


class Containers(Out):
    """The containers of all pools, or of one."""

    containers: list[Located]


class Explanation(Out):
    """Why a request waits, in a sentence."""

    request_id: str
    explanation: str


class Timeout(Out):
    """How long the latest leases of a label took, and what timeout follows, in seconds."""

    samples: int
    """How many leases were looked at."""
    mean_s: float
    p95_s: float
    """19 of 20 took no longer."""
    timeout_s: float


class Recommendation(Out):
    """What is recommended for a label; null where there were fewer than five leases."""

    label: str
    recommendation: Timeout | None


class Usage(Out):
    """What a container uses at this moment."""

    id: str
    memory_bytes: int
    memory_limit_bytes: int
    """0 where there is no limit."""
    cpu_ns: int
    """A running total."""
    pids: int


class Evidence(Out):
    """What was kept of a container at one moment."""

    model_config = ConfigDict(extra="allow")

    id: str
    size_bytes: int
    files: dict[str, int]
    """Name → bytes."""


class EvidenceList(Out):
    """All that was kept of a container, oldest first."""

    bundles: list[Evidence]


class Done(Out):
    """What was asked for is done."""

    pool: str
    draining: bool


class AuditEntry(Out):
    """Who did what, when and why, and with what result; `hash` covers it and, by `prev`, all entries before."""

    model_config = ConfigDict(extra="allow")


class AuditPage(Out):
    """Entries of the audit."""

    entries: list[AuditEntry]


class ProblemModel(BaseModel):
    """What went wrong (RFC 9457). `code` is for programs, and stays as it is."""

    model_config = ConfigDict(
        title="Problem",
        extra="allow",
        use_attribute_docstrings=True,
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:containerpool:problem:acquire_timeout",
                    "title": "Service Unavailable",
                    "status": 503,
                    "detail": "no container of pool 'browsers' is free",
                    "code": "acquire_timeout",
                    "hint": "give wait_s to wait for one",
                    "retry_after_s": 1.0,
                    "request_id": "0f8e2b1c9d7a6543",
                }
            ]
        },
    )

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    """What the log names this request by."""
    hint: str | None = None
    """What to do about it."""
    field: str | None = None
    """What is wrong in the request."""
    allowed: str | None = None
    """What may stand there."""
    retry_after_s: float | None = None
    """When asking again makes sense."""
