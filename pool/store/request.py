"""A request as its client sends it."""

from __future__ import annotations

from dataclasses import dataclass, field

from pool.models import Priority


@dataclass(frozen=True, slots=True)
class RequestSpec:
    """A request as its client sends it.

    Attributes:
        ttl_s: 0 for the pool's default.
        timeout_s: 0 for what the history of the label recommends, or else the pool's default.
        label: What kind of work it is for; the owner where it is empty.
    """

    request_id: str
    token: str = field(repr=False)
    owner: str
    process: str
    priority: Priority
    wait_s: float
    ttl_s: float = 0.0
    timeout_s: float = 0.0
    liveness_s: float = 10.0
    label: str = ""
