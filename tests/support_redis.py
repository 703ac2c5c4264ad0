"""Real Redis servers for tests: alone, with replicas and Sentinels, as a Cluster. Whoever starts them ends them."""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from pool.embedded import find_binary
from tests.support import eventually

#: The offset of a Cluster node's second port.
_BUS = 10_000


def free_port() -> int:
    """A port of this machine on which nobody listens, nor on the one that a Cluster would use with it."""
    while True:
        port = random.randrange(20_000, 32_000)
        with closing(socket.socket()) as first, closing(socket.socket()) as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + _BUS))
            except OSError:
                continue
            return port


@dataclass
class Server:
    """One process, on loopback."""

    directory: Path
    options: tuple[str, ...] = ()
    sentinel: str = ""
    port: int = field(default_factory=free_port)
    process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it, or start it again with the data that it had."""
        home = self.directory / str(self.port)
        home.mkdir(exist_ok=True)
        common = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(home), "--logfile", str(home / "log")]
        if self.sentinel:
            config = home / "conf"
            config.write_text(self.sentinel)
            words = [str(config), "--sentinel", *common]
        else:
            words = [*common, "--save", "", "--appendonly", "yes", "--repl-diskless-sync-delay", "0", *self.options]
        self.process = await asyncio.create_subprocess_exec(
            find_binary(), *words, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        await eventually(self.answers)

    async def answers(self) -> bool:
        assert self.process is not None
        assert self.process.returncode is None, (self.directory / str(self.port) / "log").read_text()
        try:
            return await self.ask("PING") in (True, "PONG")
        except (RedisError, OSError):
            return False

    async def ask(self, *command: str | int) -> object:
        async with Redis(port=self.port, decode_responses=True, protocol=2, socket_connect_timeout=2) as redis:
            return await redis.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py's

    def send(self, number: signal.Signals) -> None:
        """Freeze or thaw it."""
        assert self.process is not None
        self.process.send_signal(number)

    async def kill(self) -> None:
        """End it without a chance to say goodbye."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@asynccontextmanager
async def _directory() -> AsyncIterator[tuple[Path, list[Server]]]:
    """A directory, and a list of servers to end with it."""
    directory = Path(tempfile.mkdtemp(prefix="cp"))
    servers: list[Server] = []
    try:
        yield directory, servers
    finally:
        for server in servers:
            await server.kill()
        shutil.rmtree(directory, ignore_errors=True)


@asynccontextmanager
async def one_server(*options: str) -> AsyncIterator[Server]:
    async with _directory() as (directory, servers):
        servers.append(Server(directory, options))
        await servers[0].start()
        yield servers[0]


@dataclass
class Watched:
    """A master with replicas, watched by Sentinels."""

    data: list[Server]
    sentinels: list[Server]

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(sentinel.address for sentinel in self.sentinels)}/main"

    async def replicated(self, copies: int) -> bool:
        return await self.data[0].ask("WAIT", copies, 100) == copies


@asynccontextmanager
async def watched(*, replicas: int = 2, sentinels: int = 3) -> AsyncIterator[Watched]:
    """Start a master, replicas and Sentinels that fail over half a second after the master fell silent."""
    async with _directory() as (directory, servers):
        master = Server(directory)
        followers = [Server(directory, ("--replicaof", f"127.0.0.1 {master.port}")) for _ in range(replicas)]
        config = (
            f"sentinel monitor main 127.0.0.1 {master.port} 2\n"
            "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 5000\n"
        )
        guards = [Server(directory, sentinel=config) for _ in range(sentinels)]
        servers += [master, *followers, *guards]
        for server in servers:
            await server.start()
        setup = Watched([master, *followers], guards)
        await eventually(lambda: setup.replicated(replicas), deadline_s=20)

        async def acquainted() -> bool:
            return all([await _knows(guard, replicas=replicas, sentinels=sentinels - 1) for guard in guards])

        await eventually(acquainted, deadline_s=30)
        yield setup


async def _knows(guard: Server, *, replicas: int, sentinels: int) -> bool:
    flat = await guard.ask("SENTINEL", "MASTER", "main")
    assert isinstance(flat, list)
    state = dict(zip(flat[::2], flat[1::2], strict=True))
    return int(state["num-slaves"]) == replicas and int(state["num-other-sentinels"]) == sentinels


@dataclass
class Cluster:
    """Three masters that share the slots."""

    nodes: list[Server]

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(node.address for node in self.nodes)}"

    async def healthy(self) -> bool:
        replies = [str(await node.ask("CLUSTER INFO")) for node in self.nodes]
        return all(re.search(r"cluster_state\W+ok", reply) for reply in replies)

    async def move(self, slot: int, to: Server) -> None:
        """Give an empty slot to another node, as all nodes see it."""
        identity = str(await to.ask("CLUSTER", "MYID"))
        for node in [to, *self.nodes]:
            await node.ask("CLUSTER", "SETSLOT", slot, "NODE", identity)


@asynccontextmanager
async def cluster() -> AsyncIterator[Cluster]:
    async with _directory() as (directory, servers):
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "5000")
        servers += [Server(directory, options) for _ in range(3)]
        for server in servers:
            await server.start()
        for server, (first, last) in zip(servers, [(0, 5460), (5461, 10922), (10923, 16383)], strict=True):
            await server.ask("CLUSTER", "ADDSLOTS", *range(first, last + 1))
            await servers[0].ask("CLUSTER", "MEET", "127.0.0.1", server.port)
        found = Cluster(list(servers))
        await eventually(found.healthy, deadline_s=20)

        async def agreed() -> bool:
            replies = [await node.ask("CLUSTER", "SLOTS") for node in servers]
            return all(isinstance(reply, list) and len(reply) == 3 for reply in replies)

        await eventually(agreed, deadline_s=20)
        yield found
