"""The commands of requests and leases. Seconds outside, microseconds inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pool.errors import AlreadyReleased, ExtensionDenied, RequestConflict
from pool.models import LeaseData, LeaseRef, Outcome, Priority, RequestState, TimeoutRecommendation
from pool.redaction import redact
from pool.store import decode, refusals
from pool.store.connection import Connection, check_pool_name
from pool.store.request import LIVENESS_S, RequestRecord, RequestSpec


def us(seconds: float) -> int:
    """Turn seconds into whole microseconds."""
    return round(seconds * 1_000_000)


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
class Sight:
    """How a request stands.

    Attributes:
        state: `leased` while its lease holds, or how it ended, such as `released` or `lost`; or that it waits.
        fence: Of its lease, the last one where it had several; 0 before the first.
        token: The secret of its leases, to be compared.
        at: When Redis said so, in seconds since the epoch by its clock.
        lease: The lease, while it holds.
    """

    state: RequestState
    fence: int
    token: str = field(repr=False)
    at: float
    lease: LeaseData | None


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """What a pool's configuration allows a request: how long it may wait, how often its lease is extended."""

    max_wait_s: float
    max_extensions: int


class RequestStore:
    """What clients do with one pool.

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

    async def acquire(self, request: RequestSpec) -> Grant | Waiting:
        """Take a container at once, or enter the queue.

        Raises:
            UnknownPool, PoolDraining, Degraded, QueueFull, RequestConflict: The pool does not take the request.
            InvalidRequest: It asks for more than the pool's limits allow.
            AcquireTimeout: `wait_s` is 0 and nothing is free.
            LeaseLost: The reply was lost, and so was the lease until it was asked for again.
        """
        return (await self._acquire(request, ""))[0]

    async def acquire_many(self, request: RequestSpec, count: int) -> list[Grant | Waiting]:
        """Have a bundle of requests taken on, all or none: `request.member_ids(count)` are their ids.

        Once one of them is granted, the others stand before everybody else in the queue. Their leases live until the
        wait is over and their timeout after it; `begin` makes that the timeout from then on.

        Raises:
            RequirementsUnmet: The pool has fewer containers.
            AcquireTimeout: `wait_s` is 0 and not as many are free.
            PoolError: What `acquire` raises.
        """
        return await self._acquire(request, str(count))

    async def _acquire(self, request: RequestSpec, size: str) -> list[Grant | Waiting]:
        arguments = (
            request.request_id, request.token, request.owner, request.process, us(request.liveness_s),
            int(request.priority), us(request.wait_s), us(request.ttl_s), us(request.timeout_s),
            request.label or request.owner, request.metadata, size,
        )  # fmt: skip
        replies, resent = await self.connection.run("acquire", self._meta, arguments)
        if isinstance(replies[0], str):
            raise refusals.of_request(self.pool, self.connection.url, request, replies)
        if ended := next((reply for reply in replies if reply[0] == "ended"), None):
            if resent and ended[1] == RequestState.LOST:
                raise refusals.lost(request.request_id, self.pool, ended[1])
            raise refusals.of_request(self.pool, self.connection.url, request, ended)
        return [self._answer(reply) for reply in replies]

    def _answer(self, reply: Sequence[Any]) -> Grant | Waiting:
        return self._grant(reply) if reply[0] == "leased" else Waiting(int(reply[1]), decode.seconds(reply[2]))

    def _grant(self, reply: Sequence[Any]) -> Grant:
        return Grant(decode.lease(self.pool, reply[2]), decode.seconds(reply[1]))

    async def begin(self, leases: Sequence[LeaseRef]) -> list[Grant]:
        """Begin the life of a bundle's leases: what they were granted for runs from now on. Only the first time counts.

        Raises:
            LeaseLost: One of them is lost.
        """
        flat = [part for ref in leases for part in (ref.request_id, ref.fence, ref.token)]
        grants = []
        for ref, reply in zip(leases, await self._run("begin", *flat), strict=True):
            if reply[0] != "leased":
                raise refusals.lost(ref.request_id, ref.pool, reply[0])
            grants.append(self._grant(reply))
        return grants

    async def reject(
        self, ref: LeaseRef, note: str, *, again: bool, liveness_s: float = LIVENESS_S
    ) -> Grant | Waiting | RequestState:
        """Give a container that was found unfit at hand-out to recovery.

        Args:
            ref: The lease; it ends.
            note: What is wrong.
            again: Get another container, or wait for one at the old place in the queue.
            liveness_s: How long the process counts as alive while it waits.

        Returns:
            The next lease, the wait, or how the request ended: unfit unless `again`, cancelled by a drain, timed out.

        Raises:
            LeaseLost: It holds nothing.
        """
        reply = await self._run(
            "reject", ref.request_id, ref.fence, ref.token, us(liveness_s), redact(note), "1" if again else "0"
        )
        if reply[0] == "lost":
            raise refusals.lost(ref.request_id, ref.pool, reply[1])
        return RequestState(reply[1]) if reply[0] == "ended" else self._answer(reply)

    async def collect(
        self, process: str, requests: Sequence[str], *, liveness_s: float
    ) -> list[Grant | RequestState | None]:
        """Ask what became of requests; confirm those that were granted. None where Redis knows nothing of one."""
        replies = await self._run("collect", process, us(liveness_s), *requests)
        if not replies:
            return [None] * len(requests)
        answers: list[Grant | RequestState | None] = []
        for reply in replies:
            if reply[0] == "leased":
                answers.append(self._grant(reply))
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
        replies = await self._run("heartbeat", process, us(liveness_s), *flat)
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
        raise refusals.lost(ref.request_id, ref.pool, reply)

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
            "extend", ref.request_id, ref.fence, ref.token, us(extra_s), redact(reason), "" if used is None else used
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
        raise refusals.lost(ref.request_id, ref.pool, reply[0])

    async def look(self, request_id: str) -> Sight | None:
        """Return how a request stands, without changing anything; None where Redis knows nothing of it."""
        match await self._run("look", request_id):
            case [at, state, fence, token, fields]:
                lease = decode.lease(self.pool, fields) if fields else None
                return Sight(RequestState(state), int(fence or 0), token, decode.seconds(at), lease)
        return None

    async def recommend(self, label: str) -> TimeoutRecommendation | None:
        """Return what the history of a label recommends; None where it has fewer than five leases.

        Raises:
            UnknownPool: No manager ever opened the pool.
        """
        reply = await self._run("recommend", label)
        if reply == "unknown_pool":
            raise refusals.unknown_pool(self.pool, self.connection.url)
        return decode.recommendation(reply) if reply else None

    async def find(self, request_id: str) -> RequestRecord | None:
        """Return what is remembered of a request; None where it was never seen, or an hour after its end."""
        async with self.connection.plain() as redis:
            values: Any = await redis.hmget(
                self._key(f"r:{request_id}"), ["state", "owner", "process", "priority", "token"]
            )
        state, owner, process, priority, token = values
        if owner is None:  # also of one that was withdrawn before it arrived
            return None
        spec = RequestSpec(request_id, token, owner, process, Priority(int(priority)), wait_s=0)
        return RequestRecord(RequestState(state), spec)

    async def limits(self) -> PoolLimits:
        """Return what the pool's configuration allows a request.

        Raises:
            UnknownPool: No manager ever opened it.
        """
        async with self.connection.plain() as redis:
            values: Any = await redis.hmget(self._meta, ["max_wait", "max_extensions"])
        if None in values:
            raise refusals.unknown_pool(self.pool, self.connection.url)
        return PoolLimits(decode.seconds(values[0]), int(values[1]))

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
