"""Which server has a key: the only one there is, the master that Sentinels name, or the node of its Cluster slot.

The client library has classes for the latter two. They are not used: they resend commands on their own, follow a
Cluster's ASK (see `ClusterServers`), have no pool that waits for a connection, and ask one Sentinel after the other, so
that a frozen one holds everybody up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,  # noqa: A004 - redis-py's name
    MovedError,
    RedisError,
)

from pool.config.redis_url import RedisUrl
from pool.store.lanes import ScriptRedis

#: Connections to one server. A command that finds all of them busy waits.
_MAX_CONNECTIONS = 16
#: Deadline of a question about who has what; all that can answer are asked at once.
_ASK_TIMEOUT_S = 1.0

#: Commands that are not about a key.
_KEYLESS = frozenset({"INFO", "PING", "SCRIPT", "KEYS", "SCAN", "FLUSHALL", "FLUSHDB", "CLUSTER", "CONFIG", "TIME"})

Address = tuple[str, int]


class Servers(Protocol):
    """Finds the server that a key lives on, and follows when it moves."""

    #: The client to use for everything where there is only one server ever; None where it has to be looked up.
    fixed: Redis | None
    #: Whether keys of different pools may be on different servers.
    split: bool

    async def client(self) -> Redis:
        """Return a client that runs any command about one key."""

    async def owner(self, key: str) -> Redis:
        """Return the client of the one server that has a key."""

    async def dedicated(self, key: str) -> Redis:
        """Return a client with a single connection of its own to the server that has a key."""

    async def all(self) -> list[Redis]:
        """Return a client for each server that has keys."""

    def doubt(self) -> None:
        """Look again before the next command: the last one failed."""

    async def close(self) -> None:
        """Close all connections."""


def open_client(url: str, *, max_connections: int = _MAX_CONNECTIONS) -> Redis:
    """Return a client of one server, without the library's retries and timeouts; see `Connection`.

    Raises:
        ValueError: The URL is none.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=10,
        decode_responses=True,
        protocol=2,
        socket_timeout=None,
        socket_connect_timeout=2.0,
        retry=Retry(NoBackoff(), 0),
    )
    return ScriptRedis(connection_pool=pool)


async def close_client(redis: Redis) -> None:
    """Close a client, commands in flight included."""
    with suppress(RedisError, OSError):  # what is broken already needs no closing
        await redis.aclose()
        await redis.connection_pool.disconnect()


def servers_of(url: RedisUrl) -> Servers:
    """Return what finds the servers of a URL."""
    match url.mode:
        case "sentinel":
            return SentinelServers(url)
        case "cluster":
            return ClusterServers(url)
    return OneServer(open_client(url.server_url()), url)


class OneServer:
    """The plain case."""

    split = False

    def __init__(self, redis: Redis, url: RedisUrl | None = None) -> None:
        self.fixed: Redis | None = redis
        self._redis = redis
        self._url = url

    async def client(self) -> Redis:
        """Return the client."""
        return self._redis

    async def owner(self, key: str) -> Redis:  # noqa: ARG002 - it has all keys
        """Return the client."""
        return self._redis

    async def dedicated(self, key: str) -> Redis:  # noqa: ARG002 - it has all keys
        """Return a client with a connection of its own; a client given from outside stands for its own."""
        return self._redis if self._url is None else open_client(self._url.server_url(), max_connections=1)

    async def all(self) -> list[Redis]:
        """Return the client."""
        return [self._redis]

    def doubt(self) -> None:
        """Do nothing: there is no other."""

    async def close(self) -> None:
        """Close all connections."""
        await close_client(self._redis)


class SentinelServers:
    """The master that a majority of the Sentinels names."""

    split = False
    fixed: Redis | None = None

    def __init__(self, url: RedisUrl) -> None:
        self._url = url
        self._sentinels = [open_client(url.sentinel_url(*node), max_connections=2) for node in url.nodes]
        self._master: tuple[Address, Redis] | None = None
        self._sure = False
        self._lock = asyncio.Lock()

    async def client(self) -> Redis:
        """Return the master's client."""
        return (await self._found())[1]

    async def owner(self, key: str) -> Redis:  # noqa: ARG002 - the master has all keys
        """Return the master's client."""
        return (await self._found())[1]

    async def dedicated(self, key: str) -> Redis:  # noqa: ARG002 - the master has all keys
        """Return a client of the master with a connection of its own."""
        address, _ = await self._found()
        return open_client(self._url.server_url(*address), max_connections=1)

    async def all(self) -> list[Redis]:
        """Return the master's client."""
        return [await self.client()]

    def doubt(self) -> None:
        """Ask the Sentinels again before the next command."""
        self._sure = False

    async def close(self) -> None:
        """Close all connections."""
        for redis in [*self._sentinels, *([self._master[1]] if self._master else [])]:
            await close_client(redis)

    async def _found(self) -> tuple[Address, Redis]:
        if self._sure and self._master is not None:
            return self._master
        async with self._lock:
            if not self._sure or self._master is None:
                self._master = await self._find()
                self._sure = True
            return self._master

    async def _find(self) -> tuple[Address, Redis]:
        """Ask who is master. Of different answers that of the latest failover counts."""
        majority = len(self._sentinels) // 2 + 1
        replies = await _answers(self._sentinels, "SENTINEL", "MASTER", self._url.service, enough=majority)
        states = [dict(zip(reply[::2], reply[1::2], strict=True)) for reply in replies]
        latest = max(states, key=lambda state: int(state["config-epoch"]))
        address = latest["ip"], int(latest["port"])
        known = self._master
        redis = known[1] if known and known[0] == address else open_client(self._url.server_url(*address))
        try:
            await _expect_master(redis, address)
        except BaseException:
            if known is None or redis is not known[1]:
                await close_client(redis)
            raise
        if known and redis is not known[1]:
            await close_client(known[1])  # whoever still waits for a reply of the old master fails at once
        return address, redis


async def _expect_master(redis: Redis, address: Address) -> None:
    """Ask a server itself: a Sentinel may know of a failover sooner than the server does, or later."""
    role = (await _answers([redis], "ROLE", enough=1))[0][0]
    if role != "master":
        raise ConnectionError(f"{address[0]}:{address[1]} is not the master, but a {role}")


class ClusterServers:
    """The nodes of a Cluster; a pool has one slot, so each of its commands concerns one node.

    A moved slot is followed (MOVED). A slot on the move is not (ASK): a script sees a part of the pool there, and would
    decide by it. Until it has arrived the node counts as unavailable.
    """

    split = True
    fixed: Redis | None = None

    def __init__(self, url: RedisUrl) -> None:
        self._url = url
        self._clients: dict[Address, Redis] = {}
        self._slots: list[Address | None] | None = None
        self._lock = asyncio.Lock()
        self._router = _Router(self)

    async def client(self) -> Redis:
        """Return a client that sends each command to the node of its key."""
        return self._router

    async def owner(self, key: str) -> Redis:
        """Return the client of the node that has a key."""
        return self._client(await self._address(key))

    async def dedicated(self, key: str) -> Redis:
        """Return a client with a connection of its own to the node that has a key."""
        return open_client(self._url.server_url(*await self._address(key)), max_connections=1)

    async def all(self) -> list[Redis]:
        """Return a client for each node that has slots."""
        slots = await self._map()
        return [self._client(address) for address in dict.fromkeys(slots) if address is not None]

    def doubt(self) -> None:
        """Ask for the slots again before the next command."""
        self._slots = None

    async def close(self) -> None:
        """Close all connections."""
        for redis in self._clients.values():
            await close_client(redis)

    def _client(self, address: Address) -> Redis:
        if address not in self._clients:
            self._clients[address] = open_client(self._url.server_url(*address))
        return self._clients[address]

    async def _address(self, key: str) -> Address:
        slot = key_slot(key.encode())
        address = (await self._map())[slot]
        if address is None:
            self.doubt()
            raise ConnectionError(f"no node of the Cluster has slot {slot}")
        return address

    async def _map(self) -> list[Address | None]:
        async with self._lock:
            if self._slots is None:
                self._slots = await self._ask()
            return self._slots

    async def _ask(self) -> list[Address | None]:
        """Ask all nodes known so far at once; the first answer counts, since a wrong one leads to MOVED."""
        places = list(dict.fromkeys([*self._url.nodes, *self._clients]))
        asked = {self._client(place): place for place in places}
        reply = (await _answers(list(asked), "CLUSTER", "SLOTS", enough=1))[0]
        slots: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, master, *_ in reply:
            host, port = master[0], int(master[1])
            address = (host if host not in (None, "", "?") else places[0][0]), port  # unnamed: where we asked
            slots[first : last + 1] = [address] * (last + 1 - first)
        for gone in self._clients.keys() - set(slots) - set(self._url.nodes):
            await close_client(self._clients.pop(gone))
        return slots


class _Router(Redis):
    """Sends each command to the node that has its key."""

    def __init__(self, servers: ClusterServers) -> None:
        super().__init__()
        self._servers = servers

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        name = str(args[0]).split()[0].upper()
        if name in _KEYLESS:
            raise RedisError(f"{name} is about no key; ask each node of the Cluster for itself")
        key = str(args[3] if name in ("EVAL", "EVALSHA") else args[1])
        try:
            return await _execute(await self._servers.owner(key), *args, **options)
        except MovedError:  # it did not run there
            self._servers.doubt()
            return await _execute(await self._servers.owner(key), *args, **options)


async def _execute(redis: Redis, *args: Any, **options: Any) -> Any:
    return await redis.execute_command(*args, **options)  # type: ignore[no-untyped-call]  # redis-py's


async def _answers(clients: Sequence[Redis], *command: str, enough: int) -> list[Any]:
    """Ask all at once, and return the first answers.

    Raises:
        RedisError, OSError: Nobody answered; a refusal of our password is preferred to silence.
    """

    async def ask(client: Redis) -> Any:
        async with asyncio.timeout(_ASK_TIMEOUT_S):
            return await _execute(client, *command)

    tasks = [asyncio.create_task(ask(client)) for client in clients]
    answers: list[Any] = []
    faults: list[Exception] = []
    try:
        for answered in asyncio.as_completed(tasks):
            try:
                answers.append(await answered)
            except (RedisError, OSError) as error:
                faults.append(error)
            if len(answers) == enough:
                break
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if not answers:
        raise next((fault for fault in faults if isinstance(fault, AuthenticationError)), faults[0])
    return answers
