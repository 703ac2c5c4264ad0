"""Scenes for the page: real pools on a real server, whose containers are moved by hand, without an engine."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pool.config import PoolOptions
from pool.models import ContainerInfo, ContainerRecord, State
from pool.observed import Condition, Sample
from pool.store import Connection, Observation, PoolSettings, PoolStore
from tests.support import pool_config
from tests.support_api import Api, serving

_MB = 2**20
MEMORY_MB = 1024
#: Facts of a move that stay with the container.
_KEPT = frozenset({"level", "reason", "note", "failures"})


@dataclass
class Stage:
    """Pools behind a server of the API.

    Attributes:
        leases: The lease that each container is under, as its holder has it.
    """

    api: Api
    connection: Connection
    leases: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.api.server.url

    def store(self, pool: str) -> PoolStore:
        return PoolStore(self.connection, pool)

    async def open(self, pool: str, size: int, *, managed: bool = True) -> PoolStore:
        """A pool whose containers are all available."""
        store = self.store(pool)
        options = {
            "size": size, "container": {"image": "i", "memory": f"{MEMORY_MB}m"}, "health": {"tcp": None},
            "limits": {"max_wait_s": 3600, "max_queued": 5000, "ttl_s": 3600},
        }  # fmt: skip
        await store.open(PoolSettings.of(PoolOptions.model_validate(options), "shop"), "first")
        ids = [f"{pool}-{number}" for number in range(1, size + 1)]
        at_once = 1 if size < 100 else 50  # few of them are lent in their order
        for some in range(0, size, at_once):
            await asyncio.gather(*(self._add(store, name) for name in ids[some : some + at_once]))
        if managed:
            await self.manage(pool)
        return store

    async def _add(self, store: PoolStore, name: str) -> None:
        port = 3000 + int(name.rpartition("-")[2])
        info = ContainerInfo(name, f"shop-{name}", "127.0.0.1", {3000: port}, f"http://127.0.0.1:{port}")
        record = await store.register(info, spec="s")
        assert await store.transition(record, State.AVAILABLE, facts={"start_ms": "391"})

    async def manage(self, pool: str) -> None:
        """Have a manager claim the pool, which then does nothing."""
        assert (await self.store(pool).lead("build-7-4711", ttl_s=3600, info="build-7")).leading

    async def record(self, container_id: str) -> ContainerRecord:
        record = await self.store(container_id.rpartition("-")[0]).container(container_id)
        assert record is not None
        return record

    async def take(self, pool: str, owner: str, *, token: str = "", **wish: Any) -> str:
        """The id of a container that somebody holds from now on; of the request, where none is free."""
        wish = {"pool": pool, "owner": owner, "wait_s": 0.05, "timeout_s": 900} | wish
        reply = await self.api.call("POST", "/v1/leases", token=token, json=wish)
        assert reply.status in (201, 202), reply.text
        if reply.status == 202:
            return str(reply.body["request_id"])
        container_id = str(reply.body["container"]["id"])
        self.leases[container_id] = reply.body
        return container_id

    async def give_back(self, container_id: str, outcome: str = "passed") -> None:
        lease = self.leases.pop(container_id)
        reply = await self.api.call("DELETE", f"/v1/leases/{lease['id']}?outcome={outcome}", token=lease["token"])
        assert reply.status in (200, 204), reply.text

    async def move(self, container_id: str, state: State, **facts: str | int) -> None:
        """What a manager would do; `level`, `reason`, `note` and `failures` stay with the container."""
        record = await self.record(container_id)
        kept = {name: value for name, value in facts.items() if name in _KEPT}
        store = self.store(container_id.rpartition("-")[0])
        told = {name: str(value) for name, value in facts.items() if name not in _KEPT}
        assert await store.transition(record, state, store=kept, facts=told)

    async def clean(self, container_id: str, *, ms: int = 18, level: str = "soft") -> None:
        """Reset a container that was given back."""
        await self.move(container_id, State.AVAILABLE, reset_level=level, reset_reason="on_release", reset_ms=ms)

    async def remember(self, pool: str, *, held_s: float, reset_s: float) -> None:
        """What earlier leases took on average."""
        async with self.connection.plain() as redis:
            key = f"cp:{{{pool}}}:meta"
            await redis.hset(key, "mean_held", str(round(held_s * 1e6)))
            await redis.hset(key, "mean_reset", str(round(reset_s * 1e6)))

    async def sees(self, container_id: str, memory_mb: float, *conditions: Condition) -> None:
        """A sample of what a container uses."""
        sample = Sample(round(memory_mb * _MB), MEMORY_MB * _MB, cpu_percent=12.5)
        over = frozenset(Condition) - set(conditions)
        seen = Observation(container_id, sample, hold=frozenset(conditions), over=over)
        await self.store(container_id.rpartition("-")[0]).observe([seen])


@asynccontextmanager
async def on_stage(redis_url: str, *, evidence: Path | None = None) -> AsyncIterator[Stage]:
    """An empty server of the API; the Redis is the caller's, and nobody else's."""
    config = pool_config("shop", "browsers", evidence={"causes": [], "dir": str(evidence) if evidence else None})
    async with serving(redis_url, config=config, liveness_s=600) as api:
        connection = Connection(redis_url, patience_s=1)
        try:
            yield Stage(api, connection)
        finally:
            await connection.close()


RUNS = ("checkout-e2e/2431", "search-e2e/2432", "login-e2e/2429", "nightly/visual-17", "alice", "payments-e2e/988")


async def busy_morning(stage: Stage) -> None:
    """Two pools in the middle of their work: something of everything."""
    chance = random.Random(7)
    await stage.open("browsers", 9)
    await stage.open("mail", 3)
    for turn in range(34):
        container_id = await stage.take("browsers", chance.choice(RUNS), metadata={"build": 2400 + turn})
        await asyncio.sleep(0)
        await stage.give_back(container_id, "failed" if turn in (11, 26) else "passed")
        await stage.clean(container_id, ms=chance.randint(12, 31))
    taken = [await stage.take("browsers", chance.choice(RUNS)) for _ in range(9)]
    by_id = sorted(taken, key=lambda name: int(name.rpartition("-")[2]))
    for container_id in (by_id[2], by_id[5], by_id[6]):
        await stage.give_back(container_id)
    await stage.clean(by_id[2])
    await stage.move(by_id[5], State.RESETTING, level=2, reset_level="soft", reset_ms=2004, reason="on_release",
                     note="a process was left: chrome_crashpad")  # fmt: skip
    await stage.move(by_id[7], State.UNHEALTHY, reason="on_health_failure", fault="crash", note="exited with 137")
    await stage.move(by_id[7], State.QUARANTINED, note="three resets failed: the port does not open")
    await stage.take("browsers", "search-e2e/2433")
    await stage.take("mail", "checkout-e2e/2431", priority="high")
    await stage.store("browsers").drain_container(by_id[0], {"by": "minji", "why": "new image"})
    await stage.remember("browsers", held_s=96.4, reset_s=0.021)
    for owner, priority in (
        ("release-gate/51", "critical"),
        ("payments-e2e/989", "normal"),
        ("nightly/visual-18", "low"),
    ):
        await stage.take("browsers", owner, priority=priority)


async def breathe(stage: Stage, step: int) -> None:
    """Samples of all containers, as of a later step."""
    for number in range(1, 10):
        base, swing = 180 + 31 * (number % 5), 24 + 9 * (number % 4)
        rising = 19 * step if number == 4 else 0
        memory = base + rising + swing * math.sin(step / (2 + number % 3) + number)
        high = [Condition.MEMORY_HIGH] if memory > 0.4 * MEMORY_MB else []
        await stage.sees(f"browsers-{number}", memory, *high)
    for number in range(1, 4):
        await stage.sees(f"mail-{number}", 41 + 3 * math.sin(step / 3 + number))


#: As `pool.recommendations` writes it.
ADVICE = {
    "code": "more_containers", "severity": "warning", "saves": None,
    "title": "11 containers would have cut the p95 wait from 19 s to 4.1 s",
    "evidence": {"containers": 9, "advised": 11, "wait_p95_s": 19.0, "advised_wait_p95_s": 4.1},
    "action": "Raise size from 9 to 11.",
}  # fmt: skip


def day(pools: Sequence[str], now: datetime | None = None) -> dict[str, Any]:
    """What `GET /v1/analytics` says after a day: as far as the page needs it. One pool has advice."""
    chance = random.Random(3)
    last = (now or datetime.now(UTC)).replace(minute=0, second=0, microsecond=0)
    return {
        "pools": [
            {
                "pool": pool,
                "hours": [_hour(last - timedelta(hours=23 - n), chance) for n in range(24)],
                "recommendations": [] if number else [ADVICE],
            }
            for number, pool in enumerate(pools)
        ]
    }


def _hour(start: datetime, chance: random.Random) -> dict[str, Any]:
    load = max(0.04, math.sin((start.hour - 5) / 24 * 2 * math.pi)) ** 1.3 * chance.uniform(0.85, 1.1)
    figures = {
        "requests": round(420 * load), "leases": round(415 * load), "utilisation": min(0.93 * load, 1.0),
        "wait_p50_s": 0.01 + 3.2 * load**3, "wait_p95_s": 0.05 + 19 * load**2.4,
        "use_p50_s": 31 + 9 * chance.random(), "use_p95_s": 84 + 30 * chance.random(),
        "reset_p50_s": 0.018 + 0.006 * chance.random(), "reset_p95_s": 0.06 + 0.05 * load * chance.random(),
    }  # fmt: skip
    return {"start": start.isoformat().replace("+00:00", "Z"), **figures}
