"""The stage: a private server, the real manager on an engine in memory, the recorder, and client processes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pool.client import AsyncClient
from pool.embedded import ensure_server, stop_server
from pool.manager import Ending, PoolManager
from pool.models import PoolStatus, State
from pool.store import Connection, PoolStore, read_events
from pool.testing import MemoryRuntime
from tests.concurrency import recorder
from tests.concurrency.book import Report
from tests.support import obedient_shell, pool_config

ROOT = Path(__file__).parents[2]
POOL = "crowd"
#: How long anything may take that is waited for; a busy machine needs it, nothing is asserted to be faster.
DEADLINE_S = 90.0
_POLL_S = 0.05
_WORKER_SAYS = 10_000


@dataclass(frozen=True)
class Cast:
    """Who takes part.

    Attributes:
        containers: Size of the pool.
        on_release: Level of the reset after a passed lease; with `none` a release hands over in the same step.
        workers: Client processes.
        tasks: Tasks in each.
        pace_s: At most this long between two uses of a container by its holder. Where many containers are used at the
            shortest, the machine has nothing left for what disturbs them, and the play takes several times as long.
        ttl_s: A lease lapses without a heartbeat for this long.
        seed: Of what the tasks choose; their interleaving is the machine's.
    """

    containers: int
    on_release: str = "soft"
    workers: int = 4
    tasks: int = 50
    pace_s: float = 0.008
    ttl_s: float = 1.5
    seed: int = 1


@dataclass
class Scene:
    """Everything that runs, for whoever disturbs it."""

    cast: Cast
    directory: Path
    url: str
    redis_pid: int
    connection: Connection
    client: AsyncClient
    workers: dict[str, Process] = field(default_factory=dict)

    @property
    def store(self) -> PoolStore:
        return PoolStore(self.connection, POOL)

    @property
    def socket(self) -> Path:
        return self.directory / "containers.sock"

    async def report(self) -> Report:
        """Return what the containers saw so far."""
        return await recorder.ask(self.socket)

    async def seen(self, condition: Callable[[Report], bool], what: str) -> Report:
        """Wait until the containers saw something; fails at once when they saw a rule broken, or a worker ended."""
        loop = asyncio.get_running_loop()
        until = loop.time() + DEADLINE_S
        while True:
            report = await self.report()
            assert not report.faults, report.faults
            for name, worker in self.workers.items():
                assert worker.returncode is None, f"worker {name} ended: {await said(worker)}"
            if condition(report):
                return report
            assert loop.time() < until, f"not seen in time: {what}; {await self.describe()}"
            await asyncio.sleep(_POLL_S)

    async def settled(self, condition: Callable[[PoolStatus], bool], what: str) -> None:
        """Wait until the pool is as it should be."""
        loop = asyncio.get_running_loop()
        until = loop.time() + DEADLINE_S
        while not condition(await self.store.status()):
            assert loop.time() < until, f"not reached in time: {what}; {await self.describe()}"
            await asyncio.sleep(_POLL_S)

    async def events(self) -> Counter[str]:
        """Return how often each kind of event is in the pool's stream, which is trimmed."""
        kinds: Counter[str] = Counter()
        after = "-"
        while page := await read_events(self.connection, POOL, after=after):
            kinds.update(event.type for event in page)
            after = page[-1].id
        return kinds

    async def describe(self) -> str:
        """Say how things stand, for a failure's message."""
        status, report = await self.store.status(), await self.report()
        states = {state.value: status.count(state) for state in State if status.count(state)}
        return f"{states}, {len(status.queue)} waiting, managed by {status.manager or 'nobody'}, {report.counts}"

    # What can be done to it

    async def start_worker(self, name: str) -> None:
        """Start a client process, as a new one or in the place of one that was killed."""
        arguments = ("worker", self.url, POOL, self.socket, name, self.cast.tasks, self.cast.pace_s, self.cast.seed)
        worker = self.workers[name] = await start_role(*map(str, arguments))
        await _ready(worker)

    async def catch_holder(self) -> str:
        """Stop (SIGSTOP) a worker that uses a container right now; returns its name."""
        while True:
            found = await self.seen(lambda report: bool(_holders(report)), "a worker in a container")
            name = _holders(found)[0]
            self.workers[name].send_signal(signal.SIGSTOP)
            await self.report()  # by now the recorder has read what the worker had said before
            if name in _holders(await self.report()):
                return name
            self.workers[name].send_signal(signal.SIGCONT)

    async def kill_worker(self, name: str) -> None:
        """End a worker with `kill -9`; what it said on standard error so far must be nothing."""
        worker = self.workers.pop(name)
        worker.kill()
        assert await said(worker) == ""

    def kill_redis(self) -> None:
        """End the server with `kill -9`."""
        os.kill(self.redis_pid, signal.SIGKILL)

    def restart_redis(self) -> None:
        """Start the server again, on what its log on disk has."""
        again = ensure_server(self.directory)
        assert again.started
        self.redis_pid = again.pid

    async def end_workers(self) -> None:
        """Tell all workers to end; each must end well, without a word on standard error."""
        for worker in self.workers.values():
            assert worker.stdin is not None
            worker.stdin.close()
        for name, worker in self.workers.items():
            text = await said(worker)
            assert (worker.returncode, text) == (0, ""), f"worker {name}: {text}"
        self.workers.clear()


def _holders(report: Report) -> list[str]:
    """Return the workers that are in a container which nobody else entered since; the director's own are none."""
    return [who.split(".")[0] for _, who, overtaken in report.inside if not overtaken and "." in who]


async def start_role(*arguments: str) -> Process:
    """Start one of the other processes, which ends with our pipe to it."""
    command = (sys.executable, "-m", "tests.concurrency.role", *arguments)
    return await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=PIPE, stdout=PIPE, stderr=PIPE)


async def _ready(process: Process) -> None:
    """Wait until a process says that it is ready."""
    assert process.stdout is not None
    if not await asyncio.wait_for(process.stdout.readline(), DEADLINE_S):
        raise AssertionError(f"a process ended before it was ready: {await said(process)}")


async def said(process: Process) -> str:
    """Wait for the end of a process and return what it said on standard error."""
    _, text = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    return text.decode()[-_WORKER_SAYS:]


async def _finish(process: Process) -> None:
    """End a process of ours, if it has not ended itself."""
    if process.returncode is None:
        process.kill()
    await process.communicate()


@asynccontextmanager
async def _managed(cast: Cast, connection: Connection) -> AsyncIterator[None]:
    """Run the real manager, reaper and all, on containers that exist in memory only."""
    config = pool_config(
        "crowd",
        POOL,
        size=cast.containers,
        aging_s=0.5,
        reset={"on_release": cast.on_release},
        health={"tcp": None, "interval_s": 1.0},
        limits={"ttl_s": cast.ttl_s, "claim_ttl_s": 0.5, "max_queued": 10_000},
    )
    ending = Ending()
    manager = PoolManager(config, POOL, MemoryRuntime(shell_handler=obedient_shell), connection)
    running = asyncio.create_task(manager.run(ending))
    try:
        ready = asyncio.create_task(manager.ready.wait())
        await asyncio.wait([ready, running], timeout=DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
        assert ready.done(), "the manager did not start its containers"
        yield
    finally:
        ready.cancel()
        ending.request()
        await running


@asynccontextmanager
async def set_up(cast: Cast) -> AsyncIterator[Scene]:
    """Set the stage for a cast, with no worker yet; take everything down again."""
    directory = Path(tempfile.mkdtemp(prefix="cp"))
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        stack.callback(stop_server, directory)
        server = ensure_server(directory)  # not in a thread, which would go on starting it after a cancellation
        connection = Connection(server.url, patience_s=30)
        stack.push_async_callback(connection.close)
        await stack.enter_async_context(_managed(cast, connection))
        client = await stack.enter_async_context(AsyncClient(server.url, owner="director", patience_s=30))
        scene = Scene(cast, directory, server.url, server.pid, connection, client)
        shelf = await start_role("recorder", str(scene.socket))
        stack.push_async_callback(_finish, shelf)
        await _ready(shelf)
        stack.push_async_callback(_clear, scene)
        yield scene


async def _clear(scene: Scene) -> None:
    """End what is left of the workers after a failure."""
    for worker in scene.workers.values():
        await _finish(worker)
