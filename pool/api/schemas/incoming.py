"""What the API takes: nothing is converted, and nothing unknown is ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pool.allocator import RequestId, Span, Text, WaitSpan
from pool.api.schemas.types import LevelName, PoolName, PriorityName, Reason, Revision, Whole

_SINCE = (
    r"^(\d{1,4}[smhd]|[12]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?Z)$"
)


class In(BaseModel):
    """What comes in: nothing is converted, and nothing unknown is ignored."""

    model_config = ConfigDict(strict=True, extra="forbid", use_attribute_docstrings=True)


class Requirements(In):
    """What a container must have; a request without a pool goes to one whose containers do."""

    min_memory_mb: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """It may use at least so much memory, in MiB."""
    max_cpu_percent: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """It can use at most so much CPU; 100 is one core."""
    labels: dict[str, str] = {}
    """It has all of these labels."""


class Wish(In):
    """What requests for one container and for several have in common."""

    owner: Text | None = None
    """Who asks, such as a test run. By default the owner that the token is bound to, else the token's name."""
    priority: PriorityName = "normal"
    """Who is served first."""
    wait_s: WaitSpan = 30.0
    """How long this call waits; 0: not at all."""
    timeout_s: Span | None = None
    """The lease's longest life. By default what earlier leases of the label took says it, else what the pool says."""
    ttl_s: Span | None = None
    """The lease lapses without a heartbeat for this long. By default what the pool says."""
    label: Text | None = None
    """What kind of work it is for; the owner by default."""
    metadata: dict[str, Any] | None = None
    """What the request says about itself, kept with the lease. At most 10,000 characters as JSON."""
    request_id: RequestId | None = None
    """Names the request: sent again, it gets the same lease, or waits on at its place. A new one by default."""


class LeaseRequest(Wish):
    """A request for one container."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"pool": "browsers", "owner": "run-42", "priority": "high", "wait_s": 60},
                {"requirements": {"min_memory_mb": 256, "labels": {"team": "qa"}}, "timeout_s": 300},
            ]
        }
    )

    pool: PoolName | None = None
    """The pool's name; may be left out where there is only one, or with requirements."""
    max_wait_s: WaitSpan | None = None
    """How long the request may stay in the queue while it is asked about. By default as long as the pool allows."""
    requirements: Requirements | None = None
    """What the container must have."""


class BundleRequest(Wish):
    """A request for several containers, all or none."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"pools": {"browsers": 2, "mail": 1}, "owner": "run-42", "wait_s": 60}]}
    )

    pools: Annotated[dict[PoolName, Annotated[int, Field(ge=1, le=1000), Whole]], Field(min_length=1)]
    """Name of each pool → how many of its containers."""
    max_retries: Annotated[int, Field(ge=0, le=10), Whole] = 2
    """How many containers may be found unfit at hand-out, in the place of each, where the pool checks that."""


class Rejection(In):
    """Why a container is given back unused."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"problem": "GET / answered 500", "again": True}]})

    problem: Reason
    """What is wrong with it."""
    again: bool = True
    """Get another container, or wait for one at the old place in the queue."""
    wait_s: WaitSpan = 30.0
    """How long this call waits for another one."""


class Extension(In):
    """How much further a deadline is to be, and why."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"seconds": 60, "reason": "the upload is slow"}]})

    seconds: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
    """How much further."""
    reason: Reason
    """Why; it is recorded."""
    used: Annotated[int, Field(ge=0, le=1_000_000), Whole] | None = None
    """How many extensions the holder knows of: with it, asking twice counts once."""


class Tokens(In):
    """The leases to keep alive."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"tokens": ["cpl_YnJvd3NlcnMvcnVuLTEvNy9zZWNyZXQ"]}]})

    tokens: Annotated[
        list[Annotated[str, Field(pattern=r"^cpl_[A-Za-z0-9_-]{1,1340}$")]], Field(min_length=1, max_length=1000)
    ]
    """Their tokens."""


class Why(In):
    """Why an operator does something."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "new image"}]})

    reason: Reason | None = None
    """It is recorded."""


class ContainerOrder(Why):
    """Why an operator does something to a container, and to which state of it."""

    revision: Revision | None = None
    """Only while this is the container's, as it was shown; once it is another, 409 says what the container is now."""


class ResetOrder(ContainerOrder):
    """How thoroughly a container is to be reset."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"level": "hard", "reason": "looks odd"}]})

    level: LevelName = "soft"
    """At least so thoroughly."""


class QuarantineOrder(In):
    """Why a container is taken out of rotation."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "fails every second test"}]})

    reason: Reason
    """It is shown until the container is restored."""
    force: bool = False
    """Even if it is leased: its holder loses it, and is told."""
    revision: Revision | None = None
    """Only while this is the container's, as it was shown; once it is another, 409 says what the container is now."""


class Query(BaseModel):
    """Parameters of a query: texts, which are read as what they stand for; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class LabelPath(BaseModel):
    """A label of a pool's leases."""

    pool: PoolName
    label: Text


class PoolQuery(Query):
    """Which pool."""

    pool: PoolName | None = None
    """Name of the pool; found by itself where it is left out."""


class PollQuery(PoolQuery):
    """Which pool, and how long to wait."""

    wait_s: WaitSpan = 30.0
    """How long this call waits; 0: not at all."""


class ReleaseQuery(Query):
    """How the work under a lease ended."""

    outcome: Literal["passed", "failed", "error"] = "passed"
    """It decides how thoroughly the container is reset."""


class LogQuery(PoolQuery):
    """Which part of a log."""

    tail: Annotated[int, Field(ge=0, le=10_000)] = 200
    """The last so many lines."""
    follow: bool = False
    """Go on with what it writes, until the connection is closed."""


class AnalyticsQuery(PoolQuery):
    """Which part of the past."""

    since: Annotated[str, Field(pattern=_SINCE, examples=["24h", "7d", "2026-11-21T08:00:00Z"])] = "24h"
    """From the hour on that this is in: how long ago (`90m`, `24h`, `7d`), or when, as RFC 3339 in UTC."""
    owner: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """List only these owners; may hold `*`. The other figures are everybody's."""


class AuditQuery(PoolQuery):
    """Which entries of the audit."""

    who: Annotated[str, Field(max_length=200)] | None = None
    """Only what they did; may hold `*`."""
    since: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?Z$")] | None = None
    """Only from then on, as RFC 3339 in UTC."""
    tail: Annotated[int, Field(ge=0, le=10_000)] = 100
    """The last so many."""


class EventQuery(PoolQuery):
    """Which events."""

    type: Annotated[str, Field(pattern=r"^[a-z_.]{1,64}$")] | None = None
    """Only those of this type, such as `lease.granted`, or of a group, such as `lease`."""
