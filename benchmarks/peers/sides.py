"""Who can hand something over between two processes, each as its documentation says to use it."""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

import redis

from pool.client import AsyncClient, Client

#: Far longer than any hand-off takes: a waiter that gives up is a bug.
PATIENCE_S = 60.0


class Side(Protocol):
    """One of two who pass a thing to and fro. What they pass is taken first by the one who begins."""

    def take(self) -> None:
        """Wait until it is ours."""

    def give(self) -> None:
        """Give it back."""

    def close(self) -> None:
        """Disconnect."""


class BareList:
    """BLPOP and RPUSH, nothing else."""

    def __init__(self, url: str, key: str, *, first: bool) -> None:
        self._redis = redis.Redis.from_url(url, socket_timeout=None)
        self._key = key
        if first:
            self._redis.rpush(key, "x")

    def take(self) -> None:
        self._redis.blpop([self._key], timeout=0)

    def give(self) -> None:
        self._redis.rpush(self._key, "x")

    def close(self) -> None:
        self._redis.close()


class RedisPyLock:
    """redis-py's Lock as it comes: who waits looks every 0.1 s."""

    def __init__(self, url: str, key: str, *, first: bool) -> None:
        del first
        self._redis = redis.Redis.from_url(url)
        self._lock = self._redis.lock(key, timeout=PATIENCE_S)

    def take(self) -> None:
        self._lock.acquire()

    def give(self) -> None:
        self._lock.release()

    def close(self) -> None:
        self._redis.close()


class PyRedisSemaphore:
    """py-redis-semaphore as it comes: a semaphore of one, BLPOP, heartbeat."""

    def __init__(self, url: str, key: str, *, first: bool) -> None:
        del first
        from redis_semaphore import Semaphore, SemaphoreConfig  # noqa: PLC0415 - an extra

        self._redis = redis.Redis.from_url(url, socket_timeout=None)
        self._semaphore = Semaphore(self._redis, SemaphoreConfig(name=key, limit=1))

    def take(self) -> None:
        self._semaphore.acquire()

    def give(self) -> None:
        self._semaphore.release()

    def close(self) -> None:
        self._redis.close()


class Ours:
    """This project's synchronous client: a pool of one container that needs no reset."""

    def __init__(self, url: str, key: str, *, first: bool) -> None:
        del first
        self._client = Client(url)
        self._pool = key
        self._lease: Any = None

    def take(self) -> None:
        self._lease = self._client.acquire(self._pool, wait_s=PATIENCE_S)

    def give(self) -> None:
        self._lease.release()

    def close(self) -> None:
        self._client.close()


class OursAsync:
    """This project's asynchronous client."""

    def __init__(self, url: str, key: str, *, first: bool) -> None:
        del first
        self._runner = asyncio.Runner()
        self._client = AsyncClient(url)
        self._runner.run(self._client.connect())
        self._pool = key
        self._lease: Any = None

    def take(self) -> None:
        self._lease = self._runner.run(self._client.acquire(self._pool, wait_s=PATIENCE_S))

    def give(self) -> None:
        self._runner.run(self._lease.release())

    def close(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


class LlmSandbox:
    """llm-sandbox's pool, with a container that does not exist: a list under a lock."""

    shared: Any = None

    def __init__(self, url: str, key: str, *, first: bool) -> None:
        del url, key
        if first:
            type(self).shared = _fake_sandbox_pool()
        self._container: Any = None

    def take(self) -> None:
        self._container = self.shared.acquire()

    def give(self) -> None:
        self.shared.release(self._container)

    def close(self) -> None:
        self.shared.close()


def _fake_sandbox_pool() -> Any:
    from llm_sandbox.pool.base import ContainerPoolManager, PooledContainer  # noqa: PLC0415 - an extra
    from llm_sandbox.pool.config import PoolConfig  # noqa: PLC0415 - an extra

    class FakePool(ContainerPoolManager):  # type: ignore[misc] # untyped where the extra is not installed
        def _create_session_for_container(self) -> Any:
            raise NotImplementedError("its only container is there from the start")

        def _destroy_container_impl(self, container: Any) -> None:
            del container

        def _get_container_id(self, container: Any) -> str:
            return str(container)

        def _health_check_impl(self, container: Any) -> bool:
            return bool(container)

    config = PoolConfig(max_pool_size=1, health_check_interval=3600, enable_prewarming=False)
    pool = FakePool(client=None, config=config, lang="python")
    container = PooledContainer(container_id="fake", container="fake")
    container.mark_idle()
    pool._pool.append(container)  # noqa: SLF001 - there is no other way without an engine
    return pool


@dataclass(frozen=True)
class Peer:
    """Somebody who can hand over.

    Attributes:
        distribution: What to install for it; empty if it is there anyway.
        module: What shows that it is installed.
        lacks: What it does not do.
        threads: Whether its other side is a thread, since it knows no processes.
        needs_pool: Whether it hands over a container of a pool that has to be opened before.
    """

    name: str
    side: Callable[..., Side]
    lacks: str
    distribution: str = ""
    module: str = ""
    threads: bool = False
    needs_pool: bool = False

    @property
    def installed(self) -> bool:
        return not self.module or find_spec(self.module) is not None

    @property
    def title(self) -> str:
        if not self.distribution or not self.installed:
            return self.name
        return f"{self.name} {importlib.metadata.version(self.distribution)}"


PEERS = (
    Peer(
        "bare BLPOP/RPUSH",
        BareList,
        "no lease, no expiry: a holder that dies takes the item along; no priorities, no fence, no withdrawal, "
        "an item popped by a client that is just leaving is lost",
    ),
    Peer(
        "redis-py Lock",
        RedisPyLock,
        "one thing only, no pool; no order: whoever looks first; no priorities, no fence, no heartbeat; expiry frees a "
        "dirty container",
        "redis",
        "redis",
    ),
    Peer(
        "py-redis-semaphore",
        PyRedisSemaphore,
        "counts, does not say which container; order only roughly (newcomers overtake); no priorities, no deadline; "
        "expiry frees a dirty container",
        "py-redis-semaphore",
        "redis_semaphore",
    ),
    Peer(
        "llm-sandbox pool",
        LlmSandbox,
        "threads of one process only; no lease: a holder that hangs keeps it; no order (greedy threads starve others), "
        "no priorities, no fence, no reset between users",
        "llm-sandbox",
        "llm_sandbox",
        threads=True,
    ),
    Peer("containerpool", Ours, "", "containerpool", "pool", needs_pool=True),
    Peer("containerpool, async", OursAsync, "", "containerpool", "pool", needs_pool=True),
)
