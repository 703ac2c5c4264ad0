"""Whatever is killed, idle or lent: healed, or quarantined with the reason. On real engines; the times are recorded."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest
import pytest_asyncio
from docker import APIClient
from docker.errors import NotFound

from pool.config import DockerOptions
from pool.errors import LeaseLost
from pool.models import ContainerRecord, ResetLevel, State
from pool.runtimes import DockerRuntime
from tests.docker.conftest import SAMPLE_IMAGE
from tests.docker.engines import PrivateEngine, private_engine
from tests.docker.managed import Bench, Manage, Stopwatch, ask, finds_nothing
from tests.support import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]

Act = Callable[[APIClient, str], object]


def first_process(api: APIClient, name: str) -> int:
    pid: int = api.inspect_container(name)["State"]["Pid"]
    return pid


def with_words(api: APIClient, name: str, words: str) -> list[int]:
    return [int(pid) for pid, args in api.top(name, "-eo pid,args")["Processes"] if words in args]


def kill_all(pids: list[int], how: signal.Signals = signal.SIGKILL) -> None:
    assert pids
    for pid in pids:
        os.kill(pid, how)


def disconnect(api: APIClient, name: str) -> None:
    for network in api.inspect_container(name)["NetworkSettings"]["Networks"]:
        api.disconnect_container_from_network(name, network)


@dataclass(frozen=True, slots=True)
class Kill:
    """Something that is done to a container behind the pool's back.

    Attributes:
        fault: What the pool takes an idle container for.
        level: The reset that heals it.
        lost: Whether a holder loses its lease.
    """

    act: Act
    fault: str = "crash"
    level: ResetLevel = ResetLevel.HARD
    lost: bool = True


MATRIX = {
    "main process killed": Kill(lambda api, name: os.kill(first_process(api, name), signal.SIGKILL)),
    "server killed": Kill(lambda api, name: kill_all(with_words(api, name, "/bin/nc "))),
    "server stopped": Kill(
        lambda api, name: kill_all(with_words(api, name, "/bin/nc "), signal.SIGSTOP), "hang", lost=False
    ),
    "container killed": Kill(lambda api, name: api.kill(name)),
    "container stopped": Kill(lambda api, name: api.stop(name, timeout=1)),
    "container restarted": Kill(lambda api, name: api.restart(name, timeout=0)),
    "container removed": Kill(
        lambda api, name: api.remove_container(name, v=True, force=True), level=ResetLevel.RECREATE
    ),
    "container paused": Kill(lambda api, name: api.pause(name), "paused", lost=False),
    "network disconnected": Kill(disconnect, "hang", ResetLevel.RECREATE, lost=False),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(manage: Manage) -> AsyncIterator[Bench]:
    async with manage(size=1, reset={"soft_timeout_s": 1}) as bench:
        yield bench


@pytest.mark.parametrize("what", MATRIX)
async def test_an_idle_container_is_healed(bench: Bench, stopwatch: Stopwatch, what: str) -> None:
    kill = MATRIX[what]
    before = await bench.record()

    stopwatch.start()
    await asyncio.to_thread(kill.act, bench.api, before.info.name)
    await bench.healed(before)
    stopwatch.lap(what)

    assert await bench.faults() == [kill.fault]
    first, *_, last = await bench.moves()
    assert (first["to"], bool(first["note"])) == ("unhealthy", True)
    assert (last["reset_level"], last["verified"]) == (kill.level.label, "yes")
    await serves(bench)


@pytest.mark.parametrize("what", MATRIX)
async def test_a_lent_container_is_healed_for_the_next_and_its_holder_told_if_it_is_lost(
    bench: Bench, stopwatch: Stopwatch, what: str
) -> None:
    kill = MATRIX[what]
    lease = await bench.client.acquire(bench.pool)
    before = await bench.record()

    stopwatch.start()
    await asyncio.to_thread(kill.act, bench.api, before.info.name)
    if kill.lost:
        await eventually(lambda: lost(lease.check))
        with suppress(LeaseLost):
            await lease.release()
    else:
        await lease.release()
    await eventually(bench.whole, deadline_s=60)
    stopwatch.lap(what)

    assert (await bench.moves())[-1]["verified"] == "yes"
    await serves(bench)


async def lost(check: Callable[[], None]) -> bool:
    try:
        check()
    except LeaseLost:
        return True
    return False


async def serves(bench: Bench) -> None:
    """Whoever leases the container next finds it working and empty."""
    async with await bench.client.acquire(bench.pool) as lease:
        await finds_nothing(lease.url)
        assert await ask(lease.url, "GET", "/") == "Invalid request"


async def test_a_reset_whose_shell_is_killed_goes_on_by_another_one(bench: Bench, stopwatch: Stopwatch) -> None:
    async with await bench.client.acquire(bench.pool):
        pass
    await eventually(bench.whole)
    name = await bench.name()
    (shell,) = [
        int(pid)
        for pid, user, args in bench.api.top(name, "-eo pid,user,args")["Processes"]
        if (user, args) == ("root", "/bin/sh")
    ]

    async with await bench.client.acquire(bench.pool) as lease:
        await ask(lease.url, "POST", "/cookie?name=mine")
        os.kill(shell, signal.SIGKILL)
    stopwatch.start()
    await eventually(bench.whole)
    stopwatch.lap("shell session killed")

    last = (await bench.moves())[-1]
    assert (last["reset_level"], last["verified"]) == ("soft", "yes")
    await serves(bench)


@pytest.fixture
def own_tag(docker_api: APIClient, sample_image: str) -> Iterator[str]:
    """A name of the sample image that only this test uses, and may take away."""
    tag = f"containerpool-test-{uuid.uuid4().hex[:8]}:gone"
    docker_api.tag(sample_image, tag)
    yield tag
    with suppress(NotFound):
        docker_api.remove_image(tag)


async def test_a_container_that_dies_when_its_image_is_gone_too_is_quarantined_with_the_reason(
    manage: Manage, docker_api: APIClient, own_tag: str, stopwatch: Stopwatch
) -> None:
    changes: dict[str, object] = {"size": 1, "container": {"image": own_tag}, "reset": {"quarantine_after": 1}}
    async with manage(**changes) as bench:
        docker_api.remove_image(own_tag)

        stopwatch.start()
        docker_api.remove_container(await bench.name(), v=True, force=True)
        lost = await bench.in_state(State.QUARANTINED)
        stopwatch.lap("image and container removed")

        assert f"image {own_tag} is not on the host and cannot be pulled" in lost.note
        docker_api.tag(SAMPLE_IMAGE, own_tag)
        await bench.client.reset(bench.pool, bench.first, level=ResetLevel.RECREATE)
        await bench.healed(lost)
        await serves(bench)


@pytest.mark.usefixtures("lost_sockets")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("live_restore", [True, False])
@pytest.mark.parametrize("leased", [True, False])
async def test_when_its_engine_is_restarted_a_container_is_healed(
    manage: Manage, sample_image: str, stopwatch: Stopwatch, live_restore: bool, leased: bool
) -> None:
    """With live restore its containers live on while it is away; without, they end with it."""
    changes: dict[str, object] = {
        "size": 1,
        "container": {"network": "none", "ports": []},
        "health": {"tcp": None, "http": None},
    }
    async with private_engine(sample_image, live_restore=live_restore) as engine:
        runtime = DockerRuntime(DockerOptions(url=engine.url, timeout_s=5))
        try:
            async with manage(engine.api, runtime, **changes) as bench:
                lease = await bench.client.acquire(bench.pool) if leased else None
                before = await bench.record()
                stopwatch.start()
                await engine.stop()
                await engine.start()
                if lease is not None:
                    with suppress(LeaseLost):
                        await lease.release()
                await again(bench, before, engine)
                stopwatch.lap("engine restarted")

                async with await bench.client.acquire(bench.pool):
                    assert (await bench.record()).info.generation == before.info.generation
        finally:
            await runtime.close()


async def again(bench: Bench, before: ContainerRecord, engine: PrivateEngine) -> None:
    """Wait until the pool is whole, and its container runs on the engine that is there now."""

    async def runs() -> bool:
        state = await asyncio.to_thread(engine.api.inspect_container, before.info.name)
        return bool(state["State"]["Running"]) and await bench.whole()

    await eventually(runs, deadline_s=60)
