"""What several test modules need: a hand-moved clock, ready-made pools and requests, waiting with a deadline."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from pool.client import AsyncClient
from pool.client.direct import Direct
from pool.client.keeping import Keeper
from pool.config import Config, PoolOptions
from pool.models import ContainerInfo, Priority, State
from pool.ports import ExecResult
from pool.store import Connection, PoolSettings, PoolStore, RequestSpec
from pool.testing import MemoryContainer
from tests.catalogue import expect_known_events


class Clock:
    """The pool's clock, moved by hand."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        connection.clock_us = 1_800_000_000_000_000

    def advance(self, seconds: float) -> None:
        assert self._connection.clock_us is not None
        self._connection.clock_us += round(seconds * 1e6)


def settings(**limits: object) -> PoolSettings:
    """The settings of a pool with these limits; `size`, `spares`, `aging_s` and `on_release` may be among them."""
    options = {
        "size": limits.pop("size", 1),
        "spares": limits.pop("spares", 0),
        "container": {"image": "i"},
        "health": {"tcp": None},
        "aging_s": limits.pop("aging_s", None),
        "reset": {"on_release": limits.pop("on_release", "soft")},
        "limits": limits,
    }
    return PoolSettings.of(PoolOptions.model_validate(options))


def info(container_id: str, generation: int = 1) -> ContainerInfo:
    return ContainerInfo(
        container_id, f"n-{container_id}", "127.0.0.1", {3000: 3001}, "http://127.0.0.1:3001", {}, generation
    )


async def add_available(store: PoolStore, *container_ids: str) -> None:
    for container_id in container_ids:
        record = await store.register(info(container_id), spec="s")
        assert await store.transition(record, State.AVAILABLE)


def wish(request_id: str, **changes: object) -> RequestSpec:
    fields: dict[str, object] = {
        "request_id": request_id,
        "token": f"token-{request_id}",
        "owner": "owner",
        "process": "process",
        "priority": Priority.NORMAL,
        "wait_s": 60.0,
    }
    return RequestSpec(**(fields | changes))  # type: ignore[arg-type]  # a test may send nonsense


@asynccontextmanager
async def open_pool(redis_url: str, *container_ids: str, **limits: object) -> AsyncIterator[PoolStore]:
    """An open pool on a real server, by the server's own clock, for as long as the block lasts."""
    connection = Connection(redis_url)
    store = PoolStore(connection, f"t{uuid.uuid4().hex[:8]}")
    await store.open(settings(**limits), "first")
    await add_available(store, *container_ids)
    try:
        yield store
        await expect_known_events(connection, store.pool)
    finally:
        await store.forget()
        await connection.close()


def keeper_of(client: AsyncClient) -> Keeper:
    """What a client on Redis waits for and holds."""
    backend = client._open()
    assert isinstance(backend, Direct)
    return backend.keeper


async def eventually(condition: Callable[[], Awaitable[bool]], *, deadline_s: float = 10.0) -> None:
    """Wait for a condition that another process or task brings about."""
    loop = asyncio.get_running_loop()
    until = loop.time() + deadline_s
    while not await condition():
        assert loop.time() < until, "the condition did not come true in time"
        await asyncio.sleep(0.01)


def obedient_shell(container: MemoryContainer, script: str) -> ExecResult:
    """Stand for a shell in a fake container: wipe what `dirty` left, report every stage as done."""
    container.clean()
    return report_stages(script)


def report_stages(script: str) -> ExecResult:
    """Print what the reset script prints when every stage succeeds."""
    stages = re.findall(r"printf '%s stage %s %s\\n' (\w+) (\w+)", script)
    return ExecResult(0, "".join(f"{marker} stage {stage} 0\n" for marker, stage in stages))


def pool_config(deployment: str, pool: str, **pool_options: object) -> Config:
    """A configuration of one pool of two containers that need no probes, with short times."""
    options: dict[str, object] = {
        "size": 2,
        "container": {"image": "any", "ports": [{"container": 3000, "host": 0}]},
        "health": {"tcp": None, "interval_s": 0.2},
        "limits": {"ttl_s": 1.0, "claim_ttl_s": 1.0},
        "evidence": {"causes": []},
    }
    return Config.model_validate(
        {
            "deployment": deployment,
            "manager": {"claim_ttl_s": 1.0, "reap_interval_s": 0.05, "stop_grace_s": 3},
            "pools": {pool: options | pool_options},
        }
    )
