"""One typed method for each Lua command of a pool. Seconds outside, microseconds inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pool.errors import StoreError, UnknownContainer
from pool.models import (
    ContainerInfo,
    ContainerRecord,
    PoolFacts,
    PoolStatus,
    ResetLevel,
    State,
)
from pool.setups import Setup
from pool.states import check_transition
from pool.store import decode, refusals
from pool.store.connection import POOLS_KEY, Connection
from pool.store.decode import Measured
from pool.store.observation import Observation
from pool.store.request_store import RequestStore, us

if TYPE_CHECKING:
    from pool.config import PoolOptions

#: Distance between two priority classes where priority is strict: longer than any queue lives, and the largest
#: score (now + 3 times this) stays below 2^53, where a double still holds every microsecond.
_STRICT_WEIGHT_US = 10**15
#: Events that one measurement looks at, the newest ones: more than enough for those that count.
_MEASURED_EVENTS = 400


def _facts(options: PoolOptions) -> PoolFacts:
    container = options.container
    memory_mb = None if container.memory is None else container.memory / 2**20
    return PoolFacts(memory_mb, container.cpus, dict(container.labels))


def _flat(facts: Mapping[str, str | int] | None) -> list[str]:
    """Write names and values one after the other, as scripts take them."""
    return [str(part) for pair in (facts or {}).items() for part in pair]


def _limit(value: int | None) -> str:
    return "" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """What the commands themselves need to know of a pool's configuration."""

    fields: Mapping[str, str]

    @classmethod
    def of(cls, options: PoolOptions, deployment: str = "") -> PoolSettings:
        """Read them from the pool's options; the deployment tells whose the pool is once no configuration knows it."""
        limits = options.limits
        weight = _STRICT_WEIGHT_US if options.aging_s is None else us(options.aging_s)
        return cls(
            {
                "deployment": deployment,
                "weight": str(weight),
                "ttl": str(us(limits.ttl_s)),
                "claim_ttl": str(us(limits.claim_ttl_s)),
                "timeout": str(us(limits.lease_timeout_s)),
                "min_timeout": str(us(min(limits.min_lease_timeout_s, limits.lease_timeout_s))),
                "max_timeout": str(us(limits.max_lease_timeout_s)),
                "max_wait": str(us(limits.max_wait_s)),
                "max_queued": str(limits.max_queued),
                "max_queued_per_owner": _limit(limits.max_queued_per_owner),
                "max_leases": _limit(limits.max_leases),
                "max_leases_per_owner": _limit(limits.max_leases_per_owner),
                "max_extensions": str(limits.max_extensions),
                "adaptive": str(int(limits.adaptive_timeouts)),
                "hold": str(us(options.degradation.hold_s)),
                "facts": decode.dump_facts(_facts(options)),
                "size": str(options.rotation + options.spares),
                "rotation": _limit(options.rotation if options.spares else None),
                "setup": Setup.of(options).to_json(),
                "hand_over": str(int(options.reset.on_release is ResetLevel.NONE and not options.recycle.wanted)),
            }
        )


@dataclass(frozen=True, slots=True)
class Claim:
    """Whether we lead a pool, and who does if not us."""

    leading: bool
    leader: str


class PoolStore(RequestStore):
    """All commands of one pool: what clients do, and what managers do.

    Every command may be sent twice; where that shows in the answer, the method accounts for it.
    """

    async def reap(self, *, limit: int = 100) -> tuple[int, int, int]:
        """End what outlived its time; returns how many waits, unconfirmed grants and leases."""
        waits, grants, leases = await self._run("reap", limit)
        return int(waits), int(grants), int(leases)

    # Containers

    async def open(self, settings: PoolSettings, incarnation: str) -> tuple[bool, str]:
        """Create the pool if it is unknown, write its settings; returns whether it was created, and its incarnation."""
        created, incarnation = await self._run("open", incarnation, *_flat(settings.fields))
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
        kept, told = _flat(store), _flat(facts)
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
        leading, leader = await self._run("lead", manager, us(ttl_s), info)
        return Claim(bool(leading), leader)

    async def resign(self, manager: str) -> None:
        """Give up the claim, if it is ours."""
        await self._run("lead", manager, 0, "")

    async def drain(
        self, *, by: Literal["manager", "operator"] = "manager", facts: Mapping[str, str] | None = None
    ) -> int:
        """Take no new request and end the waiting ones; returns how many leases are still held.

        Args:
            by: Whose wish it is: a manager's ends when the pool is opened again, an operator's with `resume` only.
            facts: For the event.
        """
        return int(await self._run("drain", by, *_flat(facts)))

    async def drain_container(self, container_id: str, facts: Mapping[str, str] | None = None) -> None:
        """Keep a container from its next lease until `resume`; what holds it goes on.

        Args:
            container_id: Which one.
            facts: For the event.

        Raises:
            UnknownPool, UnknownContainer: There is none.
        """
        self._expect(await self._run("drain_container", container_id, *_flat(facts)), container_id)

    async def resume(self, container_id: str = "", facts: Mapping[str, str] | None = None) -> None:
        """Lend a draining container again, or without an id the draining pool.

        Args:
            container_id: Which one.
            facts: For the event.

        Raises:
            UnknownPool, UnknownContainer: There is none.
        """
        self._expect(await self._run("resume", container_id, *_flat(facts)), container_id)

    def _expect(self, reply: str, container_id: str) -> None:
        if reply == "unknown_pool":
            raise refusals.unknown_pool(self.pool, self.connection.url)
        if reply == "unknown":
            raise UnknownContainer(
                f"pool {self.pool!r} has no container {container_id!r}", hint="`poolctl status` shows those it has"
            )

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
        return bool(await self._run("degrade", old, new, *_flat(facts)))

    async def tell(self, kind: str, facts: Mapping[str, str]) -> None:
        """Put an event into the pool's stream; into none where no manager ever opened the pool.

        Args:
            kind: Its type, dotted, such as `container.evidence`.
            facts: What there is to say.
        """
        await self._run("tell", kind, *_flat(facts))

    async def observe(self, observations: Sequence[Observation]) -> None:
        """Keep what was seen of containers, and tell of what began and what ended."""
        if observations:
            await self._run("observe", *(part for seen in observations for part in seen.arguments))

    async def deployment(self) -> str:
        """Return whose the pool is: the deployment that opened it last; empty where nobody did."""
        async with self.connection.plain() as redis:
            return str(await redis.hget(self._meta, "deployment") or "")

    async def retire(self) -> str:
        """Remove a pool that no configuration knows any more; returns why it stays, or nothing once it is gone."""
        why, *what = await self._run("retire")
        if why:
            words = {"managed": "it is managed by {}", "leased": "a container is leased by {!r}"}
            return words.get(why, "container {} is quarantined").format(*what)
        async with self.connection.plain() as redis:
            await redis.srem(POOLS_KEY, self.pool)
        return ""

    async def sweep(self, names: Sequence[str]) -> bool:
        """Delete keys of a pool that Redis does not know any more, named without prefix; False if it knows it again."""
        return int(await self._run("sweep", *names)) >= 0

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

    async def setup(self) -> Setup:
        """Return what of the pool's configuration recommendations look at; all of it unknown where nobody wrote it."""
        async with self.connection.plain() as redis:
            text: Any = await redis.hget(self._meta, "setup")
        return Setup.from_json(text)


async def pool_names(connection: Connection) -> list[str]:
    """Return the names of all pools that were opened in this Redis."""
    async with connection.plain() as redis:
        return sorted(str(name) for name in await redis.smembers(POOLS_KEY))
