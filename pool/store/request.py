"""A request as its client sends it."""

from __future__ import annotations

from dataclasses import dataclass, field

from pool.models import Priority, RequestState

#: A client process counts as alive for this long after its last sign of life.
LIVENESS_S = 10.0


@dataclass(frozen=True, slots=True)
class RequestSpec:
    """A request as its client sends it.

    Attributes:
        ttl_s: 0 for the pool's default.
        timeout_s: 0 for what the history of the label recommends, or else the pool's default.
        label: What kind of work it is for; the owner where it is empty.
        metadata: A JSON object, or nothing.
    """

    request_id: str
    token: str = field(repr=False)
    owner: str
    process: str
    priority: Priority
    wait_s: float
    ttl_s: float = 0.0
    timeout_s: float = 0.0
    liveness_s: float = LIVENESS_S
    label: str = ""
    metadata: str = ""

    def member_ids(self, count: int) -> list[str]:
        """Return the ids of the requests that a bundle of so many is made of."""
        return [f"{self.request_id}.{number}" for number in range(1, count + 1)]


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """What Redis remembers of a request.

    Attributes:
        spec: What it takes to ask for it again; its times are not kept.
    """

    state: RequestState
    spec: RequestSpec
