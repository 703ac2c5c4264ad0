"""What can be configured, and its defaults: one class for each part of the file."""

# ruff: noqa: RUF012 - pydantic copies a mutable default for each object; ruff does not see that Options is a BaseModel

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pool.config.container import ContainerOptions, Options, PortNumber, Seconds, refusal
from pool.config.evidence import EvidenceOptions
from pool.config.gateway import Access, GatewayOptions, obstacles_to_gateway
from pool.config.holding import holder_options, obstacles_to_holding
from pool.config.names import NAME_PATTERN
from pool.config.recycle import RecycleOptions
from pool.config.redis_url import MOST_REPLICAS, parse_redis_url
from pool.config.reset import ResetOptions
from pool.config.thresholds import ThresholdOptions
from pool.models import GatewayRules, HandOutCheck

Name = Annotated[str, Field(pattern=NAME_PATTERN)]


class TcpProbe(Options):
    """Connect to a port. On its own it proves little: a port proxy accepts before the server listens."""

    port: PortNumber | None = None
    """Container port; the first published one by default."""
    timeout_s: Seconds = 2.0
    """How long a connection may take."""


class HttpProbe(Options):
    """Ask the server something."""

    port: PortNumber | None = None
    """Container port; the first published one by default."""
    path: str = "/"
    """Path to GET. It must not open a session or change anything."""
    status: Annotated[list[Annotated[int, Field(ge=100, le=599)]], Field(min_length=1)] = [200, 204]
    """Answers that mean healthy."""
    timeout_s: Seconds = 5.0
    """How long the answer may take."""
    headers: dict[str, str] = {}
    """Request headers to send. Their values are shown as little as those of environment variables."""

    @field_validator("path")
    @classmethod
    def _rooted(cls, value: str) -> str:
        if not value.startswith("/"):
            raise ValueError("use a path that begins with /")
        return value


def published(ports: Mapping[int, int], port: int | None) -> int:
    """Return the published port of a probe: of the container port that it names, or the first there is."""
    return ports[port] if port is not None else next(iter(ports.values()))


class HealthOptions(Options):
    """When a container counts as healthy. Probes run in the order TCP, HTTP, engine."""

    interval_s: Seconds = 30.0
    """Seconds between two checks of one container."""
    failures: Annotated[int, Field(ge=1, le=100)] = 3
    """Failures in a row that make a container unhealthy. A container that is not running is so at once."""
    recoveries: Annotated[int, Field(ge=1, le=100)] = 1
    """Good checks in a row after which earlier failures do not count any more."""
    start_timeout_s: Seconds = 60.0
    """How long a started container may take until it is healthy."""
    tcp: TcpProbe | None = TcpProbe()
    """TCP probe; `null` for a container without a port."""
    http: HttpProbe | None = None
    """HTTP probe; none by default, since every server answers differently."""
    hand_out: Literal["none", "tcp", "http"] = "none"
    """The probe that each client runs between a grant and its use, headers included: about a millisecond against a
    container that broke since it was last checked. One that fails goes to recovery, and the client gets another; so
    every client must be able to reach the published ports."""

    @model_validator(mode="after")
    def _hand_out_is_a_probe(self) -> HealthOptions:
        if self.hand_out != "none" and getattr(self, self.hand_out) is None:
            raise refusal("hand_out", self.hand_out, f"it needs health.{self.hand_out}; configure that, or use none")
        return self

    def check_at_hand_out(self, ports: Mapping[int, int]) -> HandOutCheck | None:
        """Return what clients are to ask a container whose ports are published like this."""
        if self.hand_out == "tcp" and self.tcp is not None and ports:
            return HandOutCheck("tcp", published(ports, self.tcp.port), self.tcp.timeout_s)
        if self.hand_out == "http" and self.http is not None and ports:
            probe = self.http
            port = published(ports, probe.port)
            return HandOutCheck("http", port, probe.timeout_s, probe.path, tuple(probe.status), probe.headers)
        return None


class LimitOptions(Options):
    """How long things may take, and how many may wait."""

    ttl_s: Seconds = 15.0
    """A lease lapses when its holder sends no heartbeat for this long."""
    claim_ttl_s: Seconds = 5.0
    """A granted request that its client does not confirm for this long goes to the next one."""
    lease_timeout_s: Seconds = 120.0
    """A lease's longest life when the request names none, and `adaptive_timeouts` knows too little."""
    adaptive_timeouts: bool = True
    """Give a lease whose request names no timeout what the history of its label recommends: the greater of 1.5 × the
    95th percentile and 2 × the mean of the last 100 leases that passed or failed, not below `ttl_s` and
    `min_lease_timeout_s` nor above `max_lease_timeout_s`. It takes five leases, and starts anew when it cuts one off
    before `lease_timeout_s`."""
    min_lease_timeout_s: Seconds = 30.0
    """No adaptive timeout is shorter, nor than `lease_timeout_s` where that is less: what always took a second takes
    ten on a busy day, and is to keep its container."""
    max_lease_timeout_s: Seconds = 3600.0
    """The longest life a request may ask for."""
    max_wait_s: Seconds = 300.0
    """The longest wait a request may ask for."""
    max_queued: Annotated[int, Field(ge=1)] = 10_000
    """Requests that may wait at once."""
    max_queued_per_owner: Annotated[int, Field(ge=1)] | None = None
    """Requests of one owner that may wait at once; no limit by default."""
    max_leases: Annotated[int, Field(ge=1)] | None = None
    """Leases that may be open at once; by default as many as there are containers to be lent."""
    max_leases_per_owner: Annotated[int, Field(ge=1)] | None = None
    """Leases that one owner may hold at once; no limit by default."""
    max_extensions: Annotated[int, Field(ge=0)] = 3
    """How often a holder may move its deadline, never beyond `max_lease_timeout_s` from the grant."""

    @model_validator(mode="after")
    def _ordered(self) -> LimitOptions:
        if self.lease_timeout_s > self.max_lease_timeout_s:
            allowed = f"it may not exceed max_lease_timeout_s ({self.max_lease_timeout_s:g})"
            raise refusal("lease_timeout_s", self.lease_timeout_s, allowed)
        return self


class DegradationOptions(Options):
    """When a pool counts as overloaded. `docs/degradation.md` says what it does then."""

    enabled: bool = True
    """Whether it is watched for at all."""
    queue: Annotated[int, Field(ge=1)] = 10
    """More waiting requests than this."""
    wait_s: Seconds = 60.0
    """A longer mean wait than this, over the latest grants."""
    failure_rate: Annotated[float, Field(gt=0, le=1)] = 0.2
    """A greater share than this of the latest leases failed: lost, or ended as failed or error."""
    hold_s: Seconds = 10.0
    """How long all three must have been at half or less until the pool is normal again."""


class SlotOptions(Options):
    """One container of a pool, named by hand."""

    id: Name
    """Stable id, unique in the deployment."""
    name: Name | None = None
    """The engine's name for it; derived from the pool's `name` by default."""
    ports: dict[PortNumber, PortNumber] = {}
    """Container port → published port, in place of the pool's numbering."""


class PoolOptions(Options):
    """A named, fixed-size set of identical containers."""

    size: Annotated[int, Field(ge=1, le=1000)] | None = None
    """How many containers there are to be lent. Give either `size` or `containers`."""
    containers: Annotated[list[SlotOptions], Field(min_length=1)] | None = None
    """The containers one by one, where ids, names or ports follow no pattern."""
    spares: Annotated[int, Field(ge=0, le=1000)] = 0
    """Further containers that stand by, running and verified, and are lent to nobody. One that needs a hard reset or a
    recreation, or is drained, swaps places with a spare at once, and is the spare once it is well again. They come on
    top of `size`, and their ids, names and ports go on from it; of those listed as `containers`, so many stand by."""
    name: str = "{deployment}-{id}"
    """Pattern of the engine's names, with `{deployment}`, `{pool}`, `{id}` and `{n}`."""
    advertise_host: str = "127.0.0.1"
    """Address under which clients reach the published ports."""
    scheme: Literal["http", "https", "ws", "wss", "tcp"] = "http"
    """Scheme of the lease's `url`."""
    slot: Literal["plain", "held"] = "plain"
    """`plain`: each container has a network of its own. `held`: a second, tiny container (the pool's image, running
    nothing but the stopped shell of `reset.recipe`) keeps network and published ports of each, so that a hard reset or
    a recreation takes about half as long. `docs/resets.md` says what it asks for."""
    access: Access = "direct"
    """How holders reach a container. `direct`: at its published ports. `gateway`: only through the manager's HTTP
    server, which ends all connections with the lease; nothing is published. `both`: either way. `docs/gateway.md`."""
    gateway: GatewayOptions = GatewayOptions()
    """What the gateway does with requests; where `access` allows it."""
    pause_after_s: Seconds | None = None
    """Seconds without a lease after which a container is frozen; it then uses no CPU, and is thawed before it is lent.
    `null`: never."""
    aging_s: Seconds | None = None
    """Seconds of waiting that make up for one priority class. `null`: strictly by priority."""
    container: ContainerOptions
    """How each container is created."""
    health: HealthOptions = HealthOptions()
    """When a container counts as healthy."""
    thresholds: ThresholdOptions = ThresholdOptions()
    """When the use of memory and CPU is worth an event, or a reset."""
    reset: ResetOptions = ResetOptions()
    """How a used container becomes as good as new."""
    recycle: RecycleOptions = RecycleOptions()
    """When a container has served long enough to be replaced."""
    evidence: EvidenceOptions = EvidenceOptions()
    """What is kept of a container that went wrong."""
    limits: LimitOptions = LimitOptions()
    """Time and number limits."""
    degradation: DegradationOptions = DegradationOptions()
    """When the pool counts as overloaded."""

    @field_validator("name")
    @classmethod
    def _formattable(cls, value: str) -> str:
        try:
            value.format(deployment="d", pool="p", id="i", n=1)
        except (AttributeError, LookupError, ValueError) as error:
            raise ValueError("use no placeholders but {deployment}, {pool}, {id} and {n}") from error
        return value

    @model_validator(mode="after")
    def _size_or_containers(self) -> PoolOptions:
        if self.size is None and self.containers is None:
            raise refusal("size", None, "give the number of containers here, or list them under containers")
        if self.size is not None and self.containers is not None:
            raise refusal("size", self.size, "give either size or containers, not both")
        if self.containers is not None and self.spares >= len(self.containers):
            listed = len(self.containers)
            allowed = f"{listed} listed under containers, spares included; use 0 to {listed - 1}, or list more"
            raise refusal("spares", self.spares, allowed)
        return self

    @property
    def rotation(self) -> int:
        """How many containers are lent, spares not counted."""
        return self.size or len(self.containers or ()) - self.spares

    @model_validator(mode="after")
    def _can_be_held(self) -> PoolOptions:
        if self.slot == "held":
            if self.reset.recipe.shell is None:
                allowed = "its holder runs the shell of reset.recipe.shell; configure that, or use plain"
                raise refusal("slot", self.slot, allowed)
            for at, value, allowed in obstacles_to_holding(self.container):
                raise refusal(f"container.{at}", value, allowed)
        return self

    @model_validator(mode="after")
    def _can_be_reached(self) -> PoolOptions:
        slots = {index: slot.ports for index, slot in enumerate(self.containers or ())}
        for at, value, allowed in obstacles_to_gateway(
            self.access, self.scheme, self.health.hand_out, self.container, slots
        ):
            raise refusal(at, value, allowed)
        return self

    def gateway_rules(self, base: str) -> GatewayRules | None:
        """Return how the gateway reaches the containers; None where it does not.

        Args:
            base: Where clients reach the gateway; empty where that is not known.
        """
        if self.access == "direct":
            return None
        secure = self.scheme in ("https", "wss")
        return GatewayRules("https" if secure else "http", **self.gateway.model_dump(), base=base)

    @property
    def holder_options(self) -> ContainerOptions:
        """How the holder of a slot is created."""
        return holder_options(self.container, self.reset.recipe.shell or "")

    @model_validator(mode="after")
    def _ports_exist(self) -> PoolOptions:
        published = [port.container for port in self.container.ports]
        listed = f"use a port of container.ports ({', '.join(map(str, published)) or 'there are none'})"
        for kind, probe in (("tcp", self.health.tcp), ("http", self.health.http)):
            if probe and not published:
                raise refusal(f"health.{kind}", {}, "a container without ports needs null here")
            if probe and probe.port not in (None, *published):
                raise refusal(f"health.{kind}.port", probe.port, listed)
        for index, slot in enumerate(self.containers or ()):
            for port in slot.ports:
                if port not in published:
                    raise refusal(f"containers.{index}.ports", port, listed)
        return self


class RedisOptions(Options):
    """Which Redis, or Valkey, holds the state. `docs/redis.md` says what Sentinel and Cluster need."""

    url: str | None = None
    """`redis://`, `rediss://` (TLS), `unix://`, `redis+sentinel://host,host/service`, `redis+cluster://host,host`, or
    the latter two with `rediss+`. `null`: a private server, started by whoever needs it first."""
    state_dir: Path | None = None
    """Where the private server keeps its socket and data; the user's state directory by default."""
    wait_replicas: Annotated[int, Field(ge=0, le=MOST_REPLICAS)] = 0
    """Replicas that must have a grant, or a heartbeat, before it counts. Clients say it in their URL:
    `?wait_replicas=1`."""

    @field_validator("url")
    @classmethod
    def _usable(cls, value: str | None) -> str | None:
        if value:
            parse_redis_url(value)
        return value

    @model_validator(mode="after")
    def _said_once(self) -> RedisOptions:
        if self.url and self.wait_replicas and "wait_replicas=" in self.url:
            raise refusal("wait_replicas", self.wait_replicas, "say it here or in redis.url, not in both")
        return self

    @property
    def address(self) -> str | None:
        """The URL with `wait_replicas` in it, as clients take it; None for the private server."""
        if not self.url or not self.wait_replicas:
            return self.url
        return f"{self.url}{'&' if '?' in self.url else '?'}wait_replicas={self.wait_replicas}"


class DockerOptions(Options):
    """Where the engine is and how it is called."""

    url: str | None = None
    """`unix://` or `tcp://`; the environment's DOCKER_HOST or the local socket by default."""
    tls_dir: Path | None = None
    """Directory with `ca.pem`, `cert.pem` and `key.pem` for `tcp://`."""
    timeout_s: Seconds = 30.0
    """Deadline of one call to the engine."""
    start_concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    """Containers that are started at the same time."""

    @field_validator("url")
    @classmethod
    def _scheme(cls, value: str | None) -> str | None:
        if value and not value.startswith(("unix://", "tcp://")):
            raise ValueError("use a URL that begins with unix:// or tcp://; for ssh, forward the socket with ssh -L")
        return value


class ManagerOptions(Options):
    """How often the manager looks, and how long it may be silent."""

    claim_ttl_s: Annotated[float, Field(ge=1, le=60)] = 3.0
    """A manager silent for this long is replaced by one that stands by."""
    stop_grace_s: Seconds = 20.0
    """How long a stopping manager lets resets in progress finish."""
    reap_interval_s: Seconds = 0.5
    """How often expired leases and waits are looked for."""
    reconcile_interval_s: Seconds = 30.0
    """How often Redis and the engine are compared."""
