"""One typed method for each Lua command of a pool. Seconds outside, microseconds inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pool.config import PoolOptions
from pool.errors import (
    AlreadyReleased,
    ExtensionDenied,
    RequestConflict,
    StoreError,
)
from pool.models import (
    ContainerInfo,
    ContainerRecord,
    LeaseData,
    LeaseRef,
    Outcome,
    PoolFacts,
    PoolStatus,
    RequestState,
    ResetLevel,
    State,
    TimeoutRecommendation,
    check_transition,
)
from pool.store import decode, refusals
from pool.store.connection import POOLS_KEY, Connection, check_pool_name
from pool.store.decode import Measured
from pool.store.request import RequestSpec

#: Distance between two priority classes where priority is strict: longer than any queue lives, and the largest
#: score (now + 3 times this) stays below 2^53, where a double still holds every microsecond.
_STRICT_WEIGHT_US = 10**15
#: Events that one measurement looks at, the newest ones: more than enough for those that count.
_MEASURED_EVENTS = 400


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _facts(options: PoolOptions) -> PoolFacts:
    container = options.container
    memory_mb = None if container.memory is None else container.memory / 2**20
    return PoolFacts(memory_mb, container.cpus, dict(container.labels))


def _limit(value: int | None) -> str:
    return "" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """What the commands themselves need to know of a pool's configuration."""

    fields: Mapping[str, str]

    @classmethod
    def of(cls, options: PoolOptions) -> PoolSettings:
        """Read them from the pool's options."""
        limits = options.limits
        weight = _STRICT_WEIGHT_US if options.aging_s is None else _us(options.aging_s)
        return cls(
            {
                "weight": str(weight),
                "ttl": str(_us(limits.ttl_s)),
                "claim_ttl": str(_us(limits.claim_ttl_s)),
                "timeout": str(_us(limits.lease_timeout_s)),
                "max_timeout": str(_us(limits.max_lease_timeout_s)),
                "max_wait": str(_us(limits.max_wait_s)),
                "max_queued": str(limits.max_queued),
                "max_queued_per_owner": _limit(limits.max_queued_per_owner),
                "max_leases": _limit(limits.max_leases),
                "max_leases_per_owner": _limit(limits.max_leases_per_owner),
                "max_extensions": str(limits.max_extensions),
                "adaptive": str(int(limits.adaptive_timeouts)),
                "hold": str(_us(options.degradation.hold_s)),
                "facts": decode.dump_facts(_facts(options)),
                "hand_over": str(int(options.reset.on_release is ResetLevel.NONE)),
            }
        )


@dataclass(frozen=True, slots=True)
class Grant:
    """The request has its lease; `at` is when Redis said so, in seconds since the epoch by its clock."""

    lease: LeaseData
    at: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """The request waits; `position` 1 is served next. The wait ends after `wait_s`, in seconds."""

    position: int
    wait_s: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Claim:
    """Whether we lead a pool, and who does if not us."""

    leading: bool
    leader: str


class PoolStore:
    """The commands of one pool.

    Every command may be sent twice; where that shows in the answer, the method accounts for it.
    """

    def __init__(self, connection: Connection, pool: str) -> None:
        self.connection = connection
        self.pool = check_pool_name(pool)
        self._meta = self._key("meta")

    def _key(self, name: str) -> str:
        return f"cp:{{{self.pool}}}:{name}"

    async def _run(self, name: str, *arguments: str | int) -> Any:
        reply, _ = await self.connection.run(name, self._meta, arguments)
        return reply

    # Requests and leases

    async def acquire(self, request: RequestSpec) -> Grant | Waiting:
        """Take a container at once, or enter the queue.

        Raises:
            UnknownPool, PoolDraining, Degraded, QueueFull, RequestConflict: The pool does not take the request.
            InvalidRequest: It asks for more than the pool's limits allow.
            AcquireTimeout: `wait_s` is 0 and nothing is free.
        """
        reply = await self._run(
            "acquire", request.request_id, request.token, request.owner, request.process, _us(request.liveness_s),
            int(request.priority), _us(request.wait_s), _us(request.ttl_s), _us(request.timeout_s),
            request.label or request.owner,
        )  # fmt: skip
        if reply[0] == "leased":
            return Grant(decode.lease(self.pool, reply[2]), decode.seconds(reply[1]))
        if reply[0] == "waiting":
            return Waiting(int(reply[1]), decode.seconds(reply[2]))
        raise refusals.of_request(self.pool, self.connection.url, request, reply)

    async def collect(
        self, process: str, requests: Sequence[str], *, liveness_s: float
    ) -> list[Grant | RequestState | None]:
        """Ask what became of requests; confirm those that were granted. None where Redis knows nothing of one."""
        replies = await self._run("collect", process, _us(liveness_s), *requests)
        if not replies:
            return [None] * len(requests)
        answers: list[Grant | RequestState | None] = []
        for reply in replies:
            if reply[0] == "leased":
                answers.append(Grant(decode.lease(self.pool, reply[2]), decode.seconds(reply[1])))
            else:
                answers.append(None if reply[0] in ("gone", "stale") else RequestState(reply[0]))
        return answers

    async def heartbeat(
        self, process: str, leases: Sequence[tuple[str, int, str]], *, liveness_s: float
    ) -> list[float | None]:
        """Keep a process and its leases `(request id, fence, token)` alive.

        Returns:
            For each lease when it expires, in seconds by the clock of Redis; None where it is lost.
        """
        flat = [part for lease in leases for part in lease]
        replies = await self._run("heartbeat", process, _us(liveness_s), *flat)
        return [int(expiry) / 1e6 if expiry != "0" else None for expiry in replies]

    async def release(self, ref: LeaseRef, outcome: Outcome) -> None:
        """Give a lease back.

        Raises:
            AlreadyReleased: It was given back before.
            LeaseLost: It had ended otherwise, or is not known.
        """
        reply, resent = await self.connection.run(
            "release", self._meta, (ref.request_id, ref.fence, ref.token, outcome.value)
        )
        if reply == "released" or (reply == "released_before" and resent):
            return
        if reply == "released_before":
            raise AlreadyReleased(f"the lease of request {ref.request_id!r} was released before")
        raise refusals.lost(ref, reply)

    async def extend(self, ref: LeaseRef, *, extra_s: float, reason: str, used: int | None = None) -> LeaseData:
        """Move a lease's deadline further into the future, and return the lease as it is then.

        Args:
            ref: The lease.
            extra_s: How much further.
            reason: Why; it is recorded.
            used: How many extensions the holder knows of, so that this one, sent twice, counts once.

        Raises:
            ExtensionDenied: The extensions are used up, or the deadline would be beyond the longest lease.
            LeaseLost: The lease has ended.
        """
        reply = await self._run(
            "extend", ref.request_id, ref.fence, ref.token, _us(extra_s), reason, "" if used is None else used
        )
        match reply:
            case ["extended", _, fields]:
                return decode.lease(self.pool, fields)
            case ["denied", "count", limit]:
                raise ExtensionDenied(
                    f"the lease of request {ref.request_id!r} was extended {limit} times already",
                    hint="limits.max_extensions of the pool is how often it may be",
                )
            case ["denied", "bound", limit]:
                raise ExtensionDenied(
                    f"the lease of request {ref.request_id!r} may not last longer than {int(limit) / 1e6:g} s in all",
                    hint="limits.max_lease_timeout_s of the pool is the longest; ask for less",
                )
        raise refusals.lost(ref, reply[0])

    async def recommend(self, label: str) -> TimeoutRecommendation | None:
        """Return what the history of a label recommends; None where it has fewer than five leases.

        Raises:
            UnknownPool: No manager ever opened the pool.
        """
        reply = await self._run("recommend", label)
        if reply == "unknown_pool":
            raise refusals.unknown_pool(self.pool, self.connection.url)
        return decode.recommendation(reply) if reply else None

    async def cancel(self, request_id: str, token: str) -> str:
        """Withdraw a request; what it was granted meanwhile goes on to the next one.

        Returns:
            `cancelled`, `released` where it had become a lease, or how it had ended before.

        Raises:
            RequestConflict: The request is not the caller's.
        """
        reply = str(await self._run("cancel", request_id, token))
        if reply == "conflict":
            raise RequestConflict(f"request {request_id!r} is not yours to cancel")
        return reply

    async def reap(self, *, limit: int = 100) -> tuple[int, int, int]:
        """End what outlived its time; returns how many waits, unconfirmed grants and leases."""
        waits, grants, leases = await self._run("reap", limit)
        return int(waits), int(grants), int(leases)

    # Containers

    async def open(self, settings: PoolSettings, incarnation: str) -> tuple[bool, str]:
        """Create the pool if it is unknown, write its settings; returns whether it was created, and its incarnation."""
        flat = [part for pair in settings.fields.items() for part in pair]
        created, incarnation = await self._run("open", incarnation, *flat)
        async with self.connection.plain() as redis:
            await redis.sadd(POOLS_KEY, self.pool)
        return bool(created), incarnation

    async def register(self, info: ContainerInfo, *, spec: str, state: State = State.STARTING) -> ContainerRecord:
        """Make a container known or bring what is known up to date; the state of a known one stays."""
        await self._run("register", info.id, state.value, info.generation, spec, decode.dump_info(info))
        record = await self.container(info.id)
        if record is None:
            raise StoreError(f"container {info.id!r} vanished from Redis as it was registered")
        return record

    async def transition(
        self,
        record: ContainerRecord,
        to: State,
        *,
        store: Mapping[str, str | int] | None = None,
        facts: Mapping[str, str | int] | None = None,
    ) -> bool:
        """Move a container on from the state and revision that `record` read.

        Args:
            record: What the caller read, and decided by.
            to: The new state.
            store: Fields to keep with the container, such as `reason`, `level`, `failures`, `note`.
            facts: Further facts for the event.

        Returns:
            False if somebody else moved it meanwhile: an ordinary lost race.

        Raises:
            ForbiddenTransition: The table of states has no such move.
        """
        check_transition(record.state, to)
        kept = [str(part) for pair in (store or {}).items() for part in pair]
        told = [str(part) for pair in (facts or {}).items() for part in pair]
        moved, _, _ = await self._run(
            "transition", record.id, record.state.value, record.revision, to.value, len(kept), *kept, *told
        )
        return bool(moved)

    async def container(self, container_id: str) -> ContainerRecord | None:
        """Return one container as it is now; None where the pool does not know it."""
        async with self.connection.plain() as redis:
            fields = await redis.hgetall(self._key(f"c:{container_id}"))
        return decode.container(decode.text(fields)) if "state" in fields else None

    async def save_baseline(self, container_id: str, text: str) -> None:
        """Keep what a container looked like when it was new."""
        async with self.connection.plain() as redis:
            await redis.hset(self._key("baselines"), container_id, text)

    async def load_baseline(self, container_id: str) -> str | None:
        """Return what `save_baseline` kept."""
        async with self.connection.plain() as redis:
            text = await redis.hget(self._key("baselines"), container_id)
        return None if text is None else str(text)

    async def reconcile(self, container_ids: Sequence[str]) -> tuple[list[str], list[str]]:
        """Repair indexes and forget containers that left; returns those unknown to Redis, and those forgotten."""
        unknown, forgotten = await self._run("reconcile", *container_ids)
        return list(unknown), list(forgotten)

    async def lead(self, manager: str, *, ttl_s: float, info: str) -> Claim:
        """Claim the pool for a manager, or renew the claim."""
        leading, leader = await self._run("lead", manager, _us(ttl_s), info)
        return Claim(bool(leading), leader)

    async def resign(self, manager: str) -> None:
        """Give up the claim, if it is ours."""
        await self._run("lead", manager, 0, "")

    async def drain(self) -> int:
        """Take no new request and end the waiting ones; returns how many leases are still held."""
        return int(await self._run("drain"))

    async def measure(self, *, after: str) -> Measured | None:
        """Read what tells whether the pool is overloaded; None where no manager ever opened it.

        Args:
            after: The last event that is known already; empty for the newest ones there are.
        """
        reply = await self._run("measure", after, _MEASURED_EVENTS)
        return decode.measured(reply) if reply else None

    async def degrade(self, old: str, new: str, *, facts: Mapping[str, str]) -> bool:
        """Say why the pool is degraded, or with an empty `new` that it is not any more.

        Args:
            old: What the caller read.
            new: What is to be.
            facts: For the event.

        Returns:
            False if somebody else changed it meanwhile, or nothing changes.
        """
        told = [part for pair in facts.items() for part in pair]
        return bool(await self._run("degrade", old, new, *told))

    async def forget(self) -> None:
        """Remove the pool from Redis."""
        await self._run("forget")
        async with self.connection.plain() as redis:
            await redis.srem(POOLS_KEY, self.pool)

    async def status(self) -> PoolStatus:
        """Read the whole pool at one moment.

        Raises:
            UnknownPool: No manager ever opened it.
        """
        reply = await self._run("snapshot")
        if not reply:
            raise refusals.unknown_pool(self.pool, self.connection.url)
        return decode.status(self.pool, reply)


async def pool_names(connection: Connection) -> list[str]:
    """Return the names of all pools that were opened in this Redis."""
    async with connection.plain() as redis:
        return sorted(str(name) for name in await redis.smembers(POOLS_KEY))
