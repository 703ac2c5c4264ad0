"""Whatever a tenant leaves behind is gone for the next one, or the reset goes on until it is. On the real engine."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
import pytest_asyncio
from docker import APIClient

from pool.models import ResetLevel
from pool.ports import ShellSession
from pool.runtimes import DockerRuntime
from tests.docker.dirt import CONTAINER, HARD, IMAGE, RECIPE, SOFT, TABLE, Dirt
from tests.docker.images import built
from tests.docker.managed import Bench, Manage, ask
from tests.support import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Site:
    """The one pool, of one container, that all the dirt is brought to.

    Attributes:
        leftovers: What the workload itself finds in a new container.
        shells: Those that a tenant has left open.
    """

    def __init__(self, bench: Bench, runtime: DockerRuntime, leftovers: str) -> None:
        self.bench = bench
        self.runtime = runtime
        self.leftovers = leftovers
        self.shells: list[ShellSession] = []

    async def ref(self) -> str:
        ref: str = self.bench.api.inspect_container(await self.bench.name())["Id"]
        return ref

    async def succeeds(self, script: str, user: str = "app") -> bool:
        """Run a script in the container as a tenant would."""
        done = await self.runtime.exec(await self.ref(), ["/bin/sh", "-c", script], user=user, deadline_s=20)
        return done.exit_code == 0

    async def shows(self, dirt: Dirt) -> bool:
        """Whether the dirt is in the container."""
        if not dirt.runs:
            return await self.succeeds(dirt.shows)
        return any(process.command.startswith(dirt.runs) for process in await self.runtime.processes(await self.ref()))

    async def given_back(self) -> str:
        """Wait until the container may be lent again; returns the level that got it clean."""
        await eventually(self.bench.whole, deadline_s=60)
        last = (await self.bench.moves())[-1]
        assert (last["to"], last["verified"]) == ("available", "yes")
        return last["reset_level"]


@pytest.fixture(scope="module")
def image(docker_api: APIClient) -> Iterator[str]:
    with built(docker_api, IMAGE) as image:
        yield image


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(manage: Manage, image: str) -> AsyncIterator[Site]:
    changes = {
        "size": 1,
        "container": CONTAINER | {"image": image},
        "health": {"interval_s": 60},  # what a reset leaves behind is its own to find
        "reset": {"recipe": RECIPE, "soft_timeout_s": 5},
        "evidence": {"causes": []},
    }
    async with manage(**changes) as bench:
        yield Site(bench, bench.runtime, await ask((await bench.record()).info.url, "GET", "/leftovers"))


async def forgotten(site: Site) -> None:
    """The tenant's own shell, still open."""
    site.shells.append(await site.runtime.open_shell(await site.ref(), user="app"))


async def killed(site: Site) -> None:
    """The shell of the resets, dead."""
    for process in await site.runtime.processes(await site.ref()):
        if process.command == "/bin/sh":
            os.kill(process.pid, signal.SIGKILL)


async def shared(site: Site) -> None:
    """A segment of shared memory, which is no file and outlives its processes. No program of the image makes one."""
    first = site.bench.api.inspect_container(await site.bench.name())["State"]["Pid"]
    make = "import ctypes, os; os.setuid(1000); print(ctypes.CDLL(None).shmget(4711, 4096, 0o1666))"
    making = await asyncio.create_subprocess_exec(
        "nsenter", f"--target={first}", "--ipc", sys.executable, "-c", make, stdout=asyncio.subprocess.PIPE
    )
    assert int((await making.communicate())[0]) >= 0


@pytest.mark.parametrize(
    ("plant", "trace", "cured_by"),
    [
        (forgotten, "[ -e /tmp/file ]", SOFT),
        (killed, "[ -e /tmp/file ]", SOFT),
        (shared, "grep -q 4711 /proc/sysvipc/shm", HARD),
    ],
)
async def test_what_a_tenant_left_that_is_no_file_and_no_process_of_its_own_is_gone_too(
    site: Site, plant: Callable[[Site], Awaitable[None]], trace: str, cured_by: ResetLevel
) -> None:
    async with await site.bench.client.acquire(site.bench.pool):
        assert not await site.succeeds(trace)
        await site.succeeds("touch /tmp/file")
        await plant(site)
        assert await site.succeeds(trace)

    assert await site.given_back() == cured_by.label
    for shell in site.shells:
        await shell.close()
    site.shells.clear()

    async with await site.bench.client.acquire(site.bench.pool):
        assert not await site.succeeds(trace)
        shells = [process for process in await site.runtime.processes(await site.ref()) if process.command == "/bin/sh"]
        assert len(shells) == 1, "that of the resets"
    await site.given_back()


@pytest.mark.parametrize("kind", TABLE)
async def test_what_a_tenant_left_is_gone_for_the_next_by_the_level_that_the_table_says(site: Site, kind: str) -> None:
    dirt: Dirt = TABLE[kind]
    async with await site.bench.client.acquire(site.bench.pool):
        assert not await site.shows(dirt), "it was clean before"
        assert await site.succeeds(dirt.plant, dirt.user)
        await eventually(lambda: site.shows(dirt))

    cured_by = await site.given_back()

    async with await site.bench.client.acquire(site.bench.pool) as after:
        assert not await site.shows(dirt)
        assert await ask(after.url, "GET", "/leftovers") == site.leftovers
    assert await site.given_back() == SOFT.label
    assert cured_by in [level.label for level in (dirt.cured_by, dirt.or_by) if level]
