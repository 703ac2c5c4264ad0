"""A request as its client sends it."""

from __future__ import annotations

from dataclasses import dataclass, field

from pool.models import Priority


@dataclass(frozen=True, slots=True)
class RequestSpec:
    """A request as its client sends it. A `ttl_s` or `timeout_s` of 0 means the pool's default."""

    request_id: str
    token: str = field(repr=False)
    owner: str
    process: str
    priority: Priority
    wait_s: float
    ttl_s: float = 0.0
    timeout_s: float = 0.0
    liveness_s: float = 10.0
