"""What of a pool's configuration is weighed against how it is used; kept in Redis, where every reader finds it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pool.config import PoolOptions


@dataclass(frozen=True, slots=True)
class Setup:
    """How a pool is set up. None is what is not known: an older manager did not write it.

    Attributes:
        places: Containers that can be lent at the same time.
        spares: Further ones that stand by.
        memory_mb: Limit of each container, in MiB; None also where there is none.
        lease_timeout_s: A lease's longest life where nobody says.
        max_lease_timeout_s: The longest that a request may ask for.
        adaptive: Whether the history of a label says how long its leases may take.
        ttl_s: A lease lapses without a heartbeat for so long.
        claim_ttl_s: A grant lapses that nobody confirms for so long.
        max_wait_s: The longest wait that a request may ask for.
        max_queued: Requests that may wait at once.
        aging: Whether a long wait raises the priority.
        pauses: Whether idle containers are frozen.
        on_release: The level of the reset after a lease that passed.
        on_failure: After one that ended as failed.
        medium: Whether there is a medium level.
        soft: Whether there is a soft level.
        held: Whether a holder keeps each slot's network, so that hard resets take half as long.
    """

    places: int | None = None
    spares: int | None = None
    memory_mb: float | None = None
    lease_timeout_s: float | None = None
    max_lease_timeout_s: float | None = None
    adaptive: bool | None = None
    ttl_s: float | None = None
    claim_ttl_s: float | None = None
    max_wait_s: float | None = None
    max_queued: int | None = None
    aging: bool | None = None
    pauses: bool | None = None
    on_release: str | None = None
    on_failure: str | None = None
    medium: bool | None = None
    soft: bool | None = None
    held: bool | None = None

    @classmethod
    def of(cls, options: PoolOptions) -> Setup:
        """Read it from the pool's options."""
        limits, reset, memory = options.limits, options.reset, options.container.memory
        return cls(
            places=options.rotation,
            spares=options.spares,
            memory_mb=None if memory is None else memory / 2**20,
            lease_timeout_s=limits.lease_timeout_s,
            max_lease_timeout_s=limits.max_lease_timeout_s,
            adaptive=limits.adaptive_timeouts,
            ttl_s=limits.ttl_s,
            claim_ttl_s=limits.claim_ttl_s,
            max_wait_s=limits.max_wait_s,
            max_queued=limits.max_queued,
            aging=options.aging_s is not None,
            pauses=options.pause_after_s is not None,
            on_release=reset.on_release.label,
            on_failure=reset.on_failure.label,
            medium=reset.recipe.has_medium,
            soft=reset.recipe.shell is not None,
            held=options.slot == "held",
        )

    def to_json(self) -> str:
        """Write it for Redis."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | None) -> Setup:
        """Read what `to_json` wrote, passing over what only a newer manager knows.

        >>> Setup.from_json('{"places": 2, "what_comes_next": 1}').places
        2
        """
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in json.loads(text or "{}").items() if name in known})
