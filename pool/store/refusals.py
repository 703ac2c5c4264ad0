"""What the pool says when it does not do what was asked: one error for each reply."""

from __future__ import annotations

from collections.abc import Sequence

from pool.errors import (
    AcquireTimeout,
    Degraded,
    InvalidRequest,
    LeaseLimitReached,
    LeaseLost,
    OwnerLeaseLimitReached,
    OwnerQueueFull,
    PoolDraining,
    PoolError,
    QueueFull,
    Refused,
    RequestConflict,
    RequirementsUnmet,
    UnknownPool,
)
from pool.store.request import RequestSpec


def of_request(pool: str, url: str, request: RequestSpec, reply: Sequence[str]) -> PoolError:
    """Return the error that a reply of the acquire command stands for."""
    match reply:
        case ["unknown_pool"]:
            return unknown_pool(pool, url)
        case ["busy"]:
            return AcquireTimeout(f"no container of pool {pool!r} is free", hint="give wait_s to wait for one")
        case ["draining"]:
            return PoolDraining(f"pool {pool!r} is draining and takes no new request", retry_after_s=30)
        case ["degraded", why, hold]:
            return Degraded(
                f"pool {pool!r} is degraded and takes no request of low priority: {why}",
                hint="ask again later, or with a higher priority",
                retry_after_s=int(hold) / 1e6,
            )
        case ["too_many", containers]:
            return too_many(pool, containers)
        case ["over_limit", which, limit]:
            return over_limit(pool, which, request.owner, limit)
        case ["limit", name, limit]:
            given = {"wait_s": request.wait_s, "timeout_s": request.timeout_s}[name]
            return InvalidRequest(name, given, f"pool {pool!r} allows at most {int(limit) / 1e6:g}")
        case ["conflict"]:
            return RequestConflict(
                f"request id {request.request_id!r} belongs to another owner than {request.owner!r}",
                hint="choose an id that nobody else uses, or none",
            )
        case ["ended", state]:
            return RequestConflict(
                f"request {request.request_id!r} has already ended: {state}", hint="ask again under a new id"
            )
    raise AssertionError(f"acquire.lua does not reply {reply!r}")


def too_many(pool: str, containers: int | str, wanted: int | str = "more") -> RequirementsUnmet:
    """Return the error of a bundle that is larger than its pool."""
    return RequirementsUnmet(
        f"pool {pool!r} has {containers} containers; {wanted} of them can never be had at once",
        hint="ask for fewer, or make the pool larger",
    )


def over_limit(pool: str, which: str, owner: str, limit: str) -> Refused:
    """Return the error of a limit that a request ran into; `which` is its name in the configuration."""
    kind, what = {
        "max_queued": (QueueFull, f"{limit} requests wait for pool {pool!r} already"),
        "max_queued_per_owner": (
            OwnerQueueFull,
            f"{limit} requests of {owner!r} wait for pool {pool!r} already",
        ),
        "max_leases": (LeaseLimitReached, f"{limit} leases of pool {pool!r} are open already"),
        "max_leases_per_owner": (
            OwnerLeaseLimitReached,
            f"{owner!r} holds {limit} leases of pool {pool!r} already",
        ),
    }[which]
    return kind(what, hint=f"limits.{which} of the pool says so; ask again later", retry_after_s=5)


def unknown_pool(pool: str, url: str) -> UnknownPool:
    """Return the error of a pool that no manager ever opened."""
    return UnknownPool(
        f"pool {pool!r} does not exist at {url}",
        hint="`poolctl status` lists the pools; `poolctl serve CONFIG` opens those of a configuration",
    )


def lost(request_id: str, pool: str, state: str) -> LeaseLost:
    """Return the error of a lease that has ended; `state` says how."""
    return LeaseLost(
        f"the lease of request {request_id!r} in pool {pool!r} is not held any more ({state})",
        hint="it expired, was revoked, or never was; the container belongs to somebody else by now",
    )
