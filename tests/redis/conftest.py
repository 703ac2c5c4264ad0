"""Every store test runs twice: on fakeredis, and on a private real server. No test may leave a key behind unawares."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from fakeredis import FakeAsyncRedis

from pool.client import AsyncClient
from pool.store import Connection, PoolStore
from tests.catalogue import expect_known_events
from tests.poolctl import open_terminal
from tests.support import Clock, settings
from tests.support_redis import Server, one_server

#: Keys that live as long as the pool does; all others must have a TTL.
LASTING = {
    "meta", "ids", "rotation", "ready", "exp", "work", "frozen", "spares", "q", "wdl", "own", "held", "queued",
    "events", "mgr", "baselines",
}  # fmt: skip


@pytest.fixture(params=["fakeredis", "server"])
async def connection(request: pytest.FixtureRequest) -> AsyncIterator[Connection]:
    if request.param == "fakeredis":
        connection = Connection("redis://fake", patience_s=0, redis=FakeAsyncRedis(decode_responses=True))
    else:
        connection = Connection(request.getfixturevalue("redis_url"), patience_s=0)
    yield connection
    await connection.close()


@pytest.fixture
def clock(connection: Connection) -> Clock:
    return Clock(connection)


@pytest.fixture
async def store(connection: Connection, clock: Clock) -> AsyncIterator[PoolStore]:
    """An open pool without containers. At the end, every key but the pool's own must be about to expire.

    What happened must be in the catalogue of events.
    """
    store = PoolStore(connection, f"t{uuid.uuid4().hex[:8]}")
    await store.open(settings(), "first")
    yield store
    await expect_known_events(connection, store.pool)
    async with connection.plain() as redis:
        prefix = f"cp:{{{store.pool}}}:"
        keys = [str(key) for key in await redis.keys(prefix + "*")]
        lasting = [key for key in keys if await redis.ttl(key) == -1]
        strange = [k for k in lasting if k.removeprefix(prefix) not in LASTING and not k.startswith(prefix + "c:")]
        await store.forget()
        await redis.delete(*keys)
    assert not strange, f"keys without TTL leaked: {strange}"


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[AsyncClient]:
    """A client on the real server."""
    async with AsyncClient(redis_url, owner="tester") as client:
        yield client


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server that a test may stop, on loopback."""
    async with one_server() as server:
        yield server


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal: the one that a person sees, the one that a process has."""
    with open_terminal() as ends:
        yield ends
