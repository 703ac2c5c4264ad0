"""Each fault of the table of strategies, caused on a real engine: healed, or quarantined with the reason."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
import pytest_asyncio
from docker import APIClient
from docker.errors import NotFound

from pool.config import DockerOptions
from pool.models import ResetLevel, State
from pool.observed import Condition
from pool.runtimes import DockerRuntime
from tests.docker.cable import Cable, laid
from tests.docker.conftest import SAMPLE_IMAGE
from tests.docker.managed import Bench, Manage, Stopwatch, ask, finds_nothing
from tests.support import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]

MIB = 1 << 20


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(manage: Manage) -> AsyncIterator[Bench]:
    async with manage(reset={"soft_timeout_s": 1}) as bench:
        yield bench


@pytest.fixture
def own_tag(docker_api: APIClient, sample_image: str) -> Iterator[str]:
    """A name of the sample image that only this test uses, and may take away."""
    tag = f"containerpool-test-{uuid.uuid4().hex[:8]}:gone"
    docker_api.tag(sample_image, tag)
    yield tag
    with suppress(NotFound):
        docker_api.remove_image(tag)


def processes(api: APIClient, name: str, command: str) -> list[int]:
    """The process ids, on this host, of a container's processes whose command line has a word."""
    listed = api.top(name, "-eo pid,args")["Processes"]
    return [int(pid) for pid, args in listed if command in args]


async def serves(bench: Bench) -> None:
    """Whoever leases the containers next finds them working and empty."""
    await eventually(bench.whole, deadline_s=30)
    for _ in range(2):
        async with await bench.client.acquire(bench.pool) as lease:
            await finds_nothing(lease.url)


async def test_a_crash_is_healed_by_a_restart(bench: Bench, stopwatch: Stopwatch) -> None:
    before = await bench.record()
    pid = bench.api.inspect_container(before.info.name)["State"]["Pid"]

    stopwatch.start()
    os.kill(pid, signal.SIGKILL)
    await bench.healed(before)
    stopwatch.lap("crash_healed")

    assert await bench.faults() == ["crash"]
    assert [move["reset_level"] for move in await bench.moves() if "reset_level" in move] == ["hard"]
    await serves(bench)


async def test_a_container_that_crashes_again_and_again_is_quarantined_with_the_reason(
    manage: Manage, docker_api: APIClient, stopwatch: Stopwatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="cp") as directory:
        switch = Path(directory) / "broken"
        switch.write_text("")
        container = {
            "entrypoint": [
                "/bin/sh",
                "-c",
                "read -r broken </switch/broken && exit 3; exec /bin/su app -c 'exec /srv/server'",
            ],
            "mounts": [{"source": directory, "target": "/switch", "read_only": True}],
        }
        async with manage(size=1, container=container, reset={"quarantine_after": 2}) as bench:
            switch.write_text("yes\n")
            stopwatch.start()
            docker_api.kill(await bench.name())
            lost = await bench.in_state(State.QUARANTINED)
            stopwatch.lap("crash_quarantined")

            assert "exited with code 3" in lost.note
            assert lost.failures == 2
            switch.write_text("")
            await bench.client.reset(bench.pool, bench.first, level=ResetLevel.RECREATE)
            await bench.healed(lost)


async def test_an_idle_container_that_runs_out_of_memory_is_healed(bench: Bench, stopwatch: Stopwatch) -> None:
    before = await bench.record()

    stopwatch.start()
    await ask(before.info.url, "POST", "/grow?mb=80")
    await bench.healed(before)
    stopwatch.lap("out_of_memory_healed")

    assert await bench.faults() == ["out_of_memory"]
    await serves(bench)


async def test_a_container_out_of_memory_in_a_lease_is_clean_for_the_next(bench: Bench, stopwatch: Stopwatch) -> None:
    async with await bench.client.acquire(bench.pool) as lease:
        await ask(lease.url, "POST", "/grow?mb=80")

        async def told() -> bool:
            return len(await bench.events("container.out_of_memory")) == 1

        await eventually(told)
        stopwatch.start()
    await eventually(bench.whole, deadline_s=30)
    stopwatch.lap("out_of_memory_in_a_lease_healed")
    await serves(bench)


@pytest.mark.parametrize("how", ["http silent", "server stopped", "everything stopped"])
async def test_a_hang_is_healed_by_a_restart(bench: Bench, stopwatch: Stopwatch, how: str) -> None:
    before = await bench.record()
    name = before.info.name

    stopwatch.start()
    match how:
        case "http silent":
            await ask(before.info.url, "POST", "/hang")
        case "server stopped":
            for pid in processes(bench.api, name, "nc "):
                os.kill(pid, signal.SIGSTOP)
        case "everything stopped":
            for pid in processes(bench.api, name, ""):
                os.kill(pid, signal.SIGSTOP)
    await bench.healed(before)
    stopwatch.lap("hang_healed")

    assert await bench.faults() == ["hang"]
    assert "http" in next(move["note"] for move in await bench.moves() if move["to"] == "unhealthy")
    await serves(bench)


async def test_a_holder_whose_container_hangs_keeps_its_lease_and_the_next_gets_a_whole_one(
    bench: Bench, stopwatch: Stopwatch
) -> None:
    lease = await bench.client.acquire(bench.pool)
    for pid in processes(bench.api, await bench.name(lease.container.id), "nc "):
        os.kill(pid, signal.SIGSTOP)

    async def told() -> bool:
        return [fact["owner"] for fact in await bench.events("container.unresponsive")] == ["tester"]

    await eventually(told)
    lease.check()
    stopwatch.start()
    await lease.release()
    await eventually(bench.whole, deadline_s=60)
    stopwatch.lap("hang_in_a_lease_healed")
    await serves(bench)


async def test_a_memory_leak_is_healed_before_the_memory_is_full(manage: Manage, stopwatch: Stopwatch) -> None:
    thresholds = {"forecast_horizon_s": 20}
    async with manage(thresholds=thresholds) as bench:
        before = await bench.record()
        stopwatch.start()
        for _ in range(40):
            if (await bench.record()).revision > before.revision:
                break
            await ask(before.info.url, "POST", "/grow?mb=1")
            await another_sample(bench)
        await bench.healed(before)
        stopwatch.lap("leak_healed")

        assert await bench.faults() == ["leak"]
        reset = next(move for move in await bench.moves() if move.get("fault") == "leak")
        assert "memory would reach its limit in about" in reset["note"]
        assert (reset["from"], reset["to"]) == ("available", "resetting")
        assert await bench.events("container.out_of_memory") == []
        await serves(bench)


async def another_sample(bench: Bench) -> None:
    """Wait until the container has been sampled again, or has left rotation."""
    before = await bench.record()

    async def sampled() -> bool:
        now = await bench.record()
        return now.revision > before.revision or now.sample != before.sample

    await eventually(sampled)


@pytest.mark.parametrize("where", ["/tmp", "/dev/shm"])
async def test_a_full_disk_is_emptied_before_the_next_lease(manage: Manage, stopwatch: Stopwatch, where: str) -> None:
    container = {"tmpfs": {"/tmp": "size=4m,mode=1777"}, "shm_size": "4m", "memory": "128m"}
    async with manage(container=container, size=1) as bench:
        lease = await bench.client.acquire(bench.pool)
        assert await ask(lease.url, "POST", f"/file?path={where}/full", b"x" * 6 * MIB) == "not written"
        assert await ask(lease.url, "POST", f"/file?path={where}/more", b"x" * 100_000) == "not written"

        stopwatch.start()
        await lease.release()
        await eventually(bench.whole, deadline_s=30)
        stopwatch.lap("disk_full_healed")

        async with await bench.client.acquire(bench.pool) as after:
            await finds_nothing(after.url)
            await ask(after.url, "POST", f"/file?path={where}/mine", b"x" * 2 * MIB)
            assert len(await ask(after.url, "GET", f"/file?path={where}/mine")) == 2 * MIB


@pytest_asyncio.fixture(loop_scope="module")
async def cut_off(manage: Manage) -> AsyncIterator[tuple[Bench, Cable]]:
    """A pool whose engine is reached over a cable that can be cut."""
    with tempfile.TemporaryDirectory(prefix="cp") as directory:
        async with laid(Path(directory) / "engine") as cable:
            runtime = DockerRuntime(DockerOptions(url=cable.url, timeout_s=2))
            try:
                reset = {"soft_timeout_s": 1}
                async with manage(runtime=runtime, reset=reset) as bench:
                    yield bench, cable
                    cable.mend()
            finally:
                await runtime.close()


async def test_a_container_of_a_lost_host_is_quarantined_and_healed_when_the_host_is_back(
    cut_off: tuple[Bench, Cable], stopwatch: Stopwatch
) -> None:
    bench, cable = cut_off
    before = await bench.record()

    stopwatch.start()
    cable.cut()
    await asyncio.to_thread(bench.api.pause, before.info.name)  # nor does the container answer
    lost = await bench.in_state(State.QUARANTINED)
    stopwatch.lap("host_lost_quarantined")

    assert "host lost" in lost.note
    assert "did not finish within 2 s" in lost.note
    assert lost.conditions == {Condition.HOST_LOST}
    stopwatch.start()
    cable.mend()
    await bench.healed(lost)
    stopwatch.lap("host_back_healed")
    assert await bench.faults() == ["host_lost", "host_lost"]
    assert not (await bench.record()).conditions
    await serves(bench)


@pytest.mark.usefixtures("lost_sockets")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning")
async def test_what_happened_while_the_engine_was_away_is_found_as_soon_as_it_is_back(
    manage: Manage, docker_api: APIClient, stopwatch: Stopwatch
) -> None:
    async with AsyncExitStack() as cables:
        path = Path(cables.enter_context(tempfile.TemporaryDirectory(prefix="cp"))) / "engine"
        cable = await cables.enter_async_context(laid(path))
        runtime = DockerRuntime(DockerOptions(url=cable.url, timeout_s=5))
        cables.push_async_callback(runtime.close)
        async with manage(runtime=runtime, health={"interval_s": 3600}) as bench:
            killed, removed = await bench.record(), await bench.record(f"{bench.pool}-2")
            await cable.sever()
            docker_api.kill(killed.info.name)
            docker_api.remove_container(removed.info.name, force=True)

            stopwatch.start()
            await cables.enter_async_context(laid(path))
            await bench.healed(killed)
            await bench.healed(removed)
            stopwatch.lap("found_and_healed")

            assert (await bench.faults(killed.id), await bench.faults(removed.id)) == (["crash"], ["crash"])
            await serves(bench)


async def test_while_its_engine_is_lost_a_container_that_answers_is_lent_and_reset_only_when_the_engine_is_back(
    cut_off: tuple[Bench, Cable], stopwatch: Stopwatch
) -> None:
    bench, cable = cut_off
    cable.cut()

    lease = await bench.client.acquire(bench.pool)
    await ask(lease.url, "POST", "/cookie?name=mine")
    await lease.release()

    async def tried() -> bool:
        """The soft reset has given up; what comes next needs the engine."""
        return (await bench.record(lease.container.id)).state is State.RESETTING

    await eventually(tried, deadline_s=30)
    given_up = await bench.record(lease.container.id)
    other = await bench.client.acquire(bench.pool)
    assert other.container.id != lease.container.id
    await finds_nothing(other.url)
    await _seconds_of_checks(bench, 3)
    assert not bench.manager.done(), "it goes on trying"
    stopwatch.start()
    cable.mend()
    await bench.healed(given_up)
    stopwatch.lap("engine_back_healed")
    await other.release()
    await serves(bench)


async def _seconds_of_checks(bench: Bench, seconds: float) -> None:
    """Let the pool's clock go on: what the manager does meanwhile, it does."""
    began = (await bench.store.status()).at

    async def over() -> bool:
        return (await bench.store.status()).at - began > seconds

    await eventually(over, deadline_s=30)


async def test_a_container_whose_image_is_gone_is_quarantined_with_the_reason_and_healed_when_it_is_back(
    manage: Manage, docker_api: APIClient, own_tag: str, stopwatch: Stopwatch
) -> None:
    async with manage(container={"image": own_tag}, reset={"quarantine_after": 1}) as bench:
        docker_api.remove_image(own_tag)
        stopwatch.start()
        await bench.client.reset(bench.pool, bench.first, level=ResetLevel.RECREATE)
        lost = await bench.in_state(State.QUARANTINED)
        stopwatch.lap("image_gone_quarantined")

        assert f"image {own_tag} is not on the host and cannot be pulled" in lost.note
        assert docker_api.inspect_container(lost.info.name)["State"]["Running"], "left as it is"
        async with await bench.client.acquire(bench.pool) as lease:
            await finds_nothing(lease.url)
        docker_api.tag(SAMPLE_IMAGE, own_tag)
        await bench.client.reset(bench.pool, bench.first, level=ResetLevel.RECREATE)
        await bench.healed(lost)
        await serves(bench)
