"""A managed pool of one sample container for a benchmark, and what the engine does for those who have no pool."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pool.client import AsyncClient, AsyncLease
from pool.config import Config, Slot
from pool.errors import ImageMissing, PoolError
from pool.health import Prober
from pool.manager import Ending, PoolManager
from pool.models import ContainerInfo, ContainerRecord, Event, Outcome, ResetLevel, State
from pool.ports import ContainerSpec, EngineContainer, Runtime
from pool.store import Connection, PoolStore, read_events

IMAGE = "containerpool-sample:latest"
POOL = "sample"
CONTAINER = f"{POOL}-1"

#: What a tenant leaves behind: a browser, a cookie, files, a line in a log.
_USE = """\
setsid /srv/chromium left </dev/null >/dev/null 2>&1 &
cd /home/app; echo mine | tee -a profile/cookies cache/picture logs/server.log /tmp/file /var/tmp/.hidden /dev/shm/file
"""

#: Longer than any single step may take, in seconds.
_STEP_S = 60.0


def sample_config(deployment: str, *, size: int = 1) -> Config:
    """Return a pool of sample containers that resets by the outcome of a lease: medium after an error."""
    container: dict[str, Any] = {
        "image": IMAGE,
        "user": "root",
        "entrypoint": ["/bin/su", "app", "-c", "exec /srv/server"],
        "ports": [{"container": 3000, "host": 0}],
        "memory": "64m",
        "pids_limit": 64,
        "cap_add": ["KILL", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID"],
    }
    recipe: dict[str, Any] = {
        "keep_processes": ["server", "nc"],
        "medium_kill": ["chromium"],
        "caches": ["/home/app/cache/*", "/home/app/profile/*"],
        "logs": ["/home/app/logs/*"],
    }
    pool: dict[str, Any] = {
        "size": size,
        "container": container,
        "health": {"interval_s": 3600, "http": {"path": "/", "status": [400]}},
        "reset": {"on_release": "soft", "on_error": "medium", "on_failure": "hard", "recipe": recipe},
        "limits": {"adaptive_timeouts": False},
        "evidence": {"causes": []},
    }
    return Config.model_validate({"deployment": deployment, "pools": {POOL: pool}})


@dataclass
class Site:
    """The managed pool, as the benchmark uses it."""

    store: PoolStore
    client: AsyncClient
    runtime: Runtime
    deployment: str
    seen: str = "-"

    async def news(self) -> list[Event]:
        """Return the pool's events since the last time."""
        events = await read_events(self.store.connection, POOL, after=self.seen)
        self.seen = events[-1].id if events else self.seen
        return events

    async def record(self) -> ContainerRecord:
        """Return the container as the pool knows it.

        Raises:
            PoolError: The pool has lost it.
        """
        record = await self.store.container(CONTAINER)
        if record is None:
            raise PoolError(f"the benchmark's container {CONTAINER} is gone", hint="did somebody remove it?")
        return record

    async def lease(self) -> AsyncLease:
        """Take the container as soon as it may be lent."""
        return await self.client.acquire(POOL, wait_s=_STEP_S)

    async def use(self, ref: str) -> None:
        """Make the container dirty, as its tenant."""
        await self.runtime.exec(ref, ["/bin/sh", "-c", _USE], user="app")

    async def handed_over_ms(self, lease: AsyncLease, outcome: Outcome) -> tuple[float, AsyncLease]:
        """Give the container back while somebody waits for it; return how long that took, and the new lease."""
        waiting = asyncio.create_task(self.lease())
        while not (await self.store.status()).queue:
            continue
        begun = time.perf_counter()
        await lease.release(outcome)
        following = await waiting
        return (time.perf_counter() - begun) * 1e3, following

    async def recreated_ms(self, lease: AsyncLease) -> tuple[float, AsyncLease]:
        """Have the container recreated; return the time until it is lent again, and the lease."""
        await lease.release()
        await self.reached(State.AVAILABLE)
        begun = time.perf_counter()
        await self.client.reset(POOL, CONTAINER, level=ResetLevel.RECREATE)
        following = await self.lease()
        return (time.perf_counter() - begun) * 1e3, following

    async def missed_ms(self) -> float:
        """Let the idle container's server crash, and so the container end; return the time until it is out of rotation.

        By a shell that is open already: the engine takes its time before it kills anybody.
        """
        await self.reached(State.AVAILABLE)
        shell = await self.runtime.open_shell(await self.ref(), user="root")
        begun = time.perf_counter()
        killing = asyncio.create_task(shell.run("kill -9 $(pidof nc)", deadline_s=_STEP_S))
        while (await self.record()).state is State.AVAILABLE:
            continue
        took_ms = (time.perf_counter() - begun) * 1e3
        await asyncio.gather(killing, return_exceptions=True)  # it ends with the container, answered or not
        await shell.close()
        return took_ms

    async def reached(self, state: State) -> None:
        """Wait until the container is in a state."""
        async with asyncio.timeout(_STEP_S):
            while (await self.record()).state is not state:
                continue

    async def ref(self) -> str:
        """Return the engine's id of the container."""
        name = (await self.record()).info.name
        return next(c.ref for c in await self.runtime.list(self.deployment) if c.name == name)


@asynccontextmanager
async def managed(config: Config, connection: Connection, runtime: Runtime, url: str) -> AsyncIterator[Site]:
    """Manage the pool in this process; when the block ends, also by Ctrl-C, nothing of it is left.

    Raises:
        ImageMissing: The sample image has not been built.
        PoolError: The pool cannot be started.
    """
    try:
        await runtime.ensure_image(IMAGE)
    except ImageMissing as error:
        raise ImageMissing(error.message, hint="`deploy/images/build sample` builds it") from error
    ending, manager = Ending(), PoolManager(config, POOL, runtime, connection)
    running = asyncio.create_task(manager.run(ending))
    ready = asyncio.create_task(manager.ready.wait())
    try:
        await asyncio.wait((running, ready), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
        async with AsyncClient(url, owner="bench") as client:
            yield Site(PoolStore(connection, POOL), client, runtime, config.deployment)
    finally:
        ready.cancel()
        ending.request(remove=True)
        await running
        await sweep(runtime, config.deployment)


async def sweep(runtime: Runtime, deployment: str) -> None:
    """Remove all that carries a deployment's label."""
    for container in await runtime.list(deployment):
        await runtime.remove(container.ref)
    await runtime.remove_network(deployment)


class Poolless:
    """What others do in place of a reset: such a container is started anew, or made anew, until it answers.

    Args:
        config: A configuration of two containers.
        runtime: The engine.
    """

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self._config = config
        self._kept, self._thrown_away = config.slots(POOL)
        self._runtime = runtime
        self._prober = Prober(runtime, config.pools[POOL].health)
        self._ref = ""

    async def begin(self) -> None:
        """Make the container that is restarted over and over."""
        self._ref = await self._made(self._kept)

    async def end(self) -> None:
        """Remove all that was made."""
        await sweep(self._runtime, self._config.deployment)

    async def exec_ms(self) -> float:
        """Run one command that does nothing."""
        begun = time.perf_counter()
        await self._runtime.exec(self._ref, ["/bin/true"])
        return (time.perf_counter() - begun) * 1e3

    async def restart_ms(self) -> float:
        """Restart with a grace of a second, wait until it answers."""
        begun = time.perf_counter()
        await self._healthy(self._kept, await self._runtime.restart(self._ref, grace_s=1.0))
        return (time.perf_counter() - begun) * 1e3

    async def fresh_ms(self) -> float:
        """Create, start, wait until it answers, remove."""
        begun = time.perf_counter()
        await self._runtime.remove(await self._made(self._thrown_away))
        return (time.perf_counter() - begun) * 1e3

    async def _made(self, slot: Slot) -> str:
        created = await self._runtime.create(ContainerSpec.of(self._config, slot, generation=1))
        await self._healthy(slot, await self._runtime.start(created.ref))
        return created.ref

    async def _healthy(self, slot: Slot, container: EngineContainer) -> None:
        info = ContainerInfo(slot.id, slot.name, "127.0.0.1", dict(container.ports), "")
        if problem := await self._prober.wait_healthy(container, info, _STEP_S):
            raise PoolError(f"a fresh container does not answer: {problem}")
