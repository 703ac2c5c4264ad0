"""What the pool speaks of, as types: containers, leases, requests, status, events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pool.leases import LeaseRef as LeaseRef  # noqa: PLC0414 - what speaks of leases finds it here
from pool.observed import Condition, Sample
from pool.reach import GatewayRules as GatewayRules  # noqa: PLC0414 - what speaks of containers finds them here
from pool.reach import HandOutCheck as HandOutCheck  # noqa: PLC0414 - likewise
from pool.words import Outcome as Outcome  # noqa: PLC0414 - likewise
from pool.words import Priority as Priority  # noqa: PLC0414 - likewise
from pool.words import RequestState as RequestState  # noqa: PLC0414 - likewise
from pool.words import ResetLevel as ResetLevel  # noqa: PLC0414 - likewise
from pool.words import ResetReason as ResetReason  # noqa: PLC0414 - likewise
from pool.words import State as State  # noqa: PLC0414 - likewise


def rfc3339(seconds: float) -> str:
    """Write seconds since the epoch as programs read them, in UTC.

    >>> rfc3339(1_800_000_000.25)
    '2027-01-15T08:00:00.250Z'
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class ContainerInfo:
    """What a client needs to reach a container.

    Attributes:
        id: Stable id within the deployment, such as ``playwright-1``.
        name: The engine's name for the container.
        host: Address under which the published ports are reachable; where nothing is published, the container's own.
        ports: Container port → published port, or the same port where nothing is published.
        labels: The labels that the configuration gives the container.
        url: Base URL of the container's first port; empty where nothing is published.
        generation: Rises by one each time the container behind the id is recreated.
        hand_out: What to ask it before it is used; None for nothing.
        gateway: How the gateway passes requests on to it; None where it does not.
    """

    id: str
    name: str
    host: str
    ports: Mapping[int, int]
    url: str
    labels: Mapping[str, str] = field(default_factory=dict)
    generation: int = 1
    hand_out: HandOutCheck | None = None
    gateway: GatewayRules | None = None


@dataclass(frozen=True, slots=True)
class LeaseData:
    """A granted lease as Redis holds it. Times are seconds since the epoch by the clock of Redis.

    Attributes:
        token: Secret that proves who holds the lease; never log it.
        fence: Rises with every grant of the container.
        ttl_s: The lease lapses when no heartbeat arrives for this long.
        deadline_at: The lease ends then, heartbeats or not.
        waited_s: From the request to the grant.
        extensions_used: How often the deadline was moved.
        metadata: What the request said about itself.
        gateway_url: Base URL of the container through the gateway; a secret, since the token is in it. Empty where
            there is no gateway, or nobody said where.
    """

    pool: str
    request_id: str
    container: ContainerInfo
    owner: str
    priority: Priority
    fence: int
    token: str = field(repr=False)
    granted_at: float
    expires_at: float
    deadline_at: float
    ttl_s: float
    waited_s: float
    extensions_used: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)
    gateway_url: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        """Base URL of the leased container: its own, or the gateway's where it publishes nothing."""
        return self.container.url or self.gateway_url

    @property
    def proof(self) -> LeaseRef:
        """What proves that the lease is held."""
        return LeaseRef(self.pool, self.request_id, self.fence, self.token)

    @property
    def ref(self) -> str:
        """The lease as one secret string that `LeaseRef.parse` reads back."""
        return str(self.proof)

    def to_json(self) -> dict[str, Any]:
        """Return the lease as plain JSON types, token included."""
        container = self.container
        return {
            "id": self.request_id,
            "pool": self.pool,
            "container": {
                "id": container.id,
                "name": container.name,
                "host": container.host,
                "ports": {str(inside): outside for inside, outside in container.ports.items()},
                "labels": dict(container.labels),
                "generation": container.generation,
            },
            "url": self.url,
            "gateway_url": self.gateway_url or None,
            "owner": self.owner,
            "priority": self.priority.label,
            "fence": self.fence,
            "token": self.token,
            "ref": self.ref,
            "granted_at": rfc3339(self.granted_at),
            "expires_at": rfc3339(self.expires_at),
            "deadline_at": rfc3339(self.deadline_at),
            "ttl_s": self.ttl_s,
            "waited_s": round(self.waited_s, 6),
            "extensions_used": self.extensions_used,
            "metadata": dict(self.metadata),
        }


@dataclass(frozen=True, slots=True)
class TimeoutRecommendation:
    """How long the latest leases of a label took, 100 at most, and what follows for the next one, in seconds.

    Attributes:
        p95_s: 19 of 20 took no longer.
        timeout_s: What a request that names no timeout gets: the greater of `1.5 × p95_s` and `2 × mean_s`, but not
            below the pool's ttl nor above its longest lease.
    """

    samples: int
    mean_s: float
    p95_s: float
    timeout_s: float


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """A container as the store knows it. Times are seconds since the epoch by the clock of Redis.

    Attributes:
        revision: Rises with every change of state; a compare-and-set names the one it read.
        since: When the container entered its state.
        reason: Why it is being reset, while it is.
        level: The reset level reached so far, while it is reset; it never falls during one reset.
        failures: Resets that failed in a row.
        uses: Leases since the container was created.
        draining: It gets no new lease until it is resumed.
        owner: Who holds it, while it is leased.
        last_owner: Who held it last, once that lease has ended.
        last_request_id: The request that the last lease answered.
        metadata: What the holder's request said about itself.
        sample: What it used when it was last checked.
        conditions: What is the matter with it while it stays in rotation.
        born_at: When this generation was first checked; None before.
    """

    info: ContainerInfo
    state: State
    revision: int
    fence: int
    since: float
    spec: str = ""
    reason: ResetReason | None = None
    outcome: Outcome | None = None
    level: ResetLevel = ResetLevel.NONE
    failures: int = 0
    uses: int = 0
    note: str = ""
    draining: bool = False
    owner: str = ""
    request_id: str = ""
    last_owner: str = ""
    last_request_id: str = ""
    priority: Priority | None = None
    granted_at: float | None = None
    expires_at: float | None = None
    deadline_at: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    sample: Sample | None = None
    conditions: frozenset[Condition] = frozenset()
    born_at: float | None = None

    @property
    def id(self) -> str:
        """The container's stable id."""
        return self.info.id

    @property
    def kept_frozen(self) -> bool:
        """Whether an operator wants it frozen, whoever waits."""
        return self.state is State.PAUSED and self.draining and self.reason is ResetReason.MANUAL


@dataclass(frozen=True, slots=True)
class WaitingRequest:
    """A request in the queue.

    Attributes:
        effective: The class that its wait has brought it to where the pool ages requests.
        first: Others of its bundle are granted, so it stands before everybody else.
    """

    request_id: str
    owner: str
    priority: Priority
    position: int
    waited_s: float
    effective: Priority
    first: bool = False


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """What the containers of a pool are like; None where there is no limit."""

    memory_mb: float | None = None
    cpus: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """One pool at one moment.

    Attributes:
        at: Seconds since the epoch by the clock of Redis.
        mean_held_s: Moving average of how long leases last; None before the first.
        degraded: Why the pool takes less than it does otherwise; empty while it is normal.
        deployment: Whose configuration opened it last.
        rotation: How many places the rotation has, where further containers stand by as spares; None where none do.
        mean_reset_s: Moving average from a release until the container is available; None before the first.
        size: How many containers the configuration has, spares included; 0 where that is not known.
    """

    pool: str
    at: float
    incarnation: str
    draining: bool
    manager: str
    containers: tuple[ContainerRecord, ...]
    queue: tuple[WaitingRequest, ...]
    mean_held_s: float | None = None
    mean_reset_s: float | None = None
    facts: PoolFacts = PoolFacts()
    degraded: str = ""
    deployment: str = ""
    rotation: int | None = None
    size: int = 0

    @property
    def places(self) -> int:
        """How many containers can be lent at the same time, once all are there."""
        there = max(len(self.containers), self.size)
        return min(there, self.rotation or there)

    def count(self, state: State) -> int:
        """How many containers are in a state."""
        return sum(container.state is state for container in self.containers)


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a pool's audit and event stream.

    Attributes:
        id: The stream's id, rising.
        at: Seconds since the epoch by the clock of Redis.
        type: Dotted name, such as ``lease.granted``.
        fields: Facts, all strings.
    """

    id: str
    at: float
    type: str
    fields: Mapping[str, str]
