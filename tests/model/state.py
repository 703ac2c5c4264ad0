"""What the reference model remembers. Times are microseconds of the pool's clock."""

from __future__ import annotations

from dataclasses import dataclass, field

from pool.store import PoolSettings


def _optional(text: str) -> int | None:
    return int(text) if text else None


@dataclass(frozen=True, slots=True)
class Rules:
    """A pool's settings, as the model reads them."""

    weight: int
    ttl: int
    claim_ttl: int
    timeout: int
    max_timeout: int
    max_wait: int
    max_queued: int
    max_queued_per_owner: int | None
    size: int
    rotation: int | None
    max_leases: int | None
    max_leases_per_owner: int | None
    max_extensions: int
    hand_over: bool

    @classmethod
    def of(cls, settings: PoolSettings) -> Rules:
        fields = settings.fields
        return cls(
            weight=int(fields["weight"]),
            ttl=int(fields["ttl"]),
            claim_ttl=int(fields["claim_ttl"]),
            timeout=int(fields["timeout"]),
            max_timeout=int(fields["max_timeout"]),
            max_wait=int(fields["max_wait"]),
            size=int(fields["size"]),
            max_queued=int(fields["max_queued"]),
            max_queued_per_owner=_optional(fields["max_queued_per_owner"]),
            rotation=_optional(fields["rotation"]),
            max_leases=_optional(fields["max_leases"]),
            max_leases_per_owner=_optional(fields["max_leases_per_owner"]),
            max_extensions=int(fields["max_extensions"]),
            hand_over=fields["hand_over"] == "1",
        )


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asks for; 0 for `ttl` and `timeout` means the pool's default."""

    request: str
    token: str
    owner: str
    process: str
    priority: int
    wait: int
    ttl: int = 0
    timeout: int = 0
    liveness: int = 10_000_000
    size: int | None = None

    @property
    def names(self) -> list[str]:
        """The requests that it is made of: one, or those of a bundle."""
        return [self.request] if self.size is None else [f"{self.request}.{n + 1}" for n in range(self.size)]


@dataclass(slots=True)
class Request:
    """A request, waiting or not. One that was cancelled before it arrived has a state and nothing else.

    Attributes:
        bundle: The other requests of its bundle, and itself.
        began: When the first of the bundle was granted: the rest then stand before everybody else.
        rejected: Fence of the last container that its holder sent back as unfit.
    """

    state: str
    owner: str | None = None
    process: str | None = None
    priority: int = 0
    token: str | None = None
    ttl: int = 0
    timeout: int = 0
    enqueued_at: int = 0
    wait_until: int = 0
    score: int = 0
    fence: int | None = None
    bundle: tuple[str, ...] = ()
    began: int | None = None
    begun: bool = False
    rejected: int | None = None


@dataclass(slots=True)
class Lease:
    """The one lease of a container. `granted_at` is also its fence, unless the lease began later than that."""

    request: str
    token: str
    owner: str
    process: str
    priority: int
    ttl: int
    confirmed: bool
    enqueued_at: int
    granted_at: int
    expires_at: int
    deadline_at: int
    extensions: int = 0


@dataclass(slots=True)
class Container:
    """A container.

    Attributes:
        fence: That of its last lease.
        facts: Reason, outcome and the like.
        thaw_asked: When somebody last asked for it to be thawed, where it is paused.
        draining: It gets no new lease.
    """

    state: str
    since: int
    generation: int
    fence: int = 0
    uses: int = 0
    lease: Lease | None = None
    facts: dict[str, str] = field(default_factory=dict)
    thaw_asked: int | None = None
    draining: bool = False
