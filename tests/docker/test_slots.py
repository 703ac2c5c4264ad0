"""Held slots on the real engine: fresh containers behind the same port, and holders that break like anything else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from docker import APIClient

from pool.config import NETWORK_FILES, DockerOptions
from pool.errors import LeaseLost
from pool.manager import Ending, PoolManager
from pool.models import ContainerRecord, ResetLevel, State
from pool.ports import LABEL_DEPLOYMENT, LABEL_HOLDS
from pool.runtimes import DockerRuntime
from pool.store import Connection, PoolStore
from tests.docker.managed import Bench, Manage, Stopwatch, ask, demo_config, finds_nothing
from tests.support import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(manage: Manage) -> AsyncIterator[Bench]:
    async with manage(slot="held") as bench:
        yield bench


def holders(api: APIClient, deployment: str, container_id: str) -> list[str]:
    """The ids of a slot's holders, as the engine itself lists them."""
    labels = [f"{LABEL_DEPLOYMENT}={deployment}", f"{LABEL_HOLDS}={container_id}"]
    return [found["Id"] for found in api.containers(all=True, filters={"label": labels})]


def holder(bench: Bench, container_id: str = "") -> str:
    (only,) = holders(bench.api, bench.pool, container_id or bench.first)
    return only


async def reset(bench: Bench, level: ResetLevel) -> ContainerRecord:
    before = await bench.record()
    wish: dict[str, str | int] = {"reason": "manual", "level": int(level), "note": ""}
    assert await bench.store.transition(before, State.RESETTING, store=wish)
    await bench.healed(before)
    return await bench.record()


def break_(api: APIClient, ref: str, how: str) -> None:
    match how:
        case "kill":
            api.kill(ref)
        case "stop":
            api.stop(ref, timeout=5)
        case "restart":
            api.restart(ref, timeout=5)
        case "remove":
            api.remove_container(ref, force=True)
        case "disconnect":
            for network in api.inspect_container(ref)["NetworkSettings"]["Networks"]:
                api.disconnect_container_from_network(ref, network)


@pytest.mark.parametrize("level", [ResetLevel.HARD, ResetLevel.RECREATE])
async def test_a_container_comes_back_behind_the_same_port_and_verified(
    bench: Bench, stopwatch: Stopwatch, level: ResetLevel
) -> None:
    before, held_by = await bench.record(), holder(bench)
    inspected = bench.api.inspect_container(before.info.name)

    stopwatch.start()
    after = await reset(bench, level)
    stopwatch.lap(f"{level.label}_held")

    now = bench.api.inspect_container(after.info.name)
    last = (await bench.moves())[-1]
    assert (last["to"], last["reset_level"], last["verified"]) == ("available", level.label, "yes")
    assert (now["Id"] == inspected["Id"]) == (level is ResetLevel.HARD)
    assert now["HostConfig"]["NetworkMode"] == f"container:{held_by}"
    assert holder(bench) == held_by
    assert after.info.url == before.info.url
    async with await bench.client.acquire(bench.pool) as lease:
        await finds_nothing(lease.url)


async def test_a_soft_reset_of_a_held_container_sees_nothing_of_the_holder(bench: Bench) -> None:
    lease = await bench.client.acquire(bench.pool)
    await ask(lease.url, "POST", "/cookie?name=secret")
    await lease.release()
    await eventually(bench.whole)

    last = (await bench.moves(lease.container.id))[-1]
    assert (last["reset_level"], last["verified"]) == ("soft", "yes")
    top = bench.api.top(await bench.name(lease.container.id), "-eo pid,args")["Processes"]
    assert not any("STOP" in command for _, command in top)


async def test_what_the_containers_of_a_slot_share_cannot_be_written(bench: Bench) -> None:
    name = await bench.name()
    for path in NETWORK_FILES:
        made = bench.api.exec_create(name, ["/bin/sh", "-c", f"echo 192.0.2.1 evil >> {path}"], user="root")
        assert b"Read-only" in bench.api.exec_start(made["Id"])

    config = bench.api.inspect_container(holder(bench))

    assert config["HostConfig"]["ReadonlyRootfs"] is True
    assert config["HostConfig"]["CapDrop"] == ["ALL"]
    assert config["HostConfig"]["CapAdd"] in (None, [])
    assert config["Config"]["User"] == "65534:65534"
    inside = bench.api.exec_create(name, ["/bin/hostname"])
    assert bench.api.exec_start(inside["Id"]).decode().strip() == bench.first


@pytest.mark.parametrize("how", ["kill", "stop", "remove", "restart", "disconnect"])
async def test_a_slot_whose_holder_breaks_is_healed(bench: Bench, stopwatch: Stopwatch, how: str) -> None:
    before = await bench.record()
    doing = asyncio.create_task(asyncio.to_thread(break_, bench.api, holder(bench), how))

    async def out_of_rotation() -> bool:
        return any(move["to"] == "unhealthy" for move in await bench.moves())

    stopwatch.start()
    await eventually(out_of_rotation, deadline_s=30)
    stopwatch.lap("out_of_rotation")
    await doing
    await bench.healed(before)
    stopwatch.lap("healed")

    assert await bench.faults() == ["hang" if how == "disconnect" else "crash"]
    joined = bench.api.inspect_container(await bench.name())["HostConfig"]["NetworkMode"]
    assert joined == f"container:{holder(bench)}"
    async with await bench.client.acquire(bench.pool) as lease:
        await finds_nothing(lease.url)


async def test_whoever_leases_a_slot_whose_holder_is_killed_is_told(bench: Bench, stopwatch: Stopwatch) -> None:
    told = asyncio.Event()
    lease = await bench.client.acquire(bench.pool, on_lost=lambda _: told.set())

    stopwatch.start()
    bench.api.kill(holder(bench, lease.container.id))
    await asyncio.wait_for(told.wait(), 15)
    stopwatch.lap("told")

    with pytest.raises(LeaseLost):
        lease.check()
    await eventually(bench.whole, deadline_s=30)


async def test_the_next_manager_adopts_holders_as_they_are_and_removes_them_in_the_end(
    redis_url: str, deployment: str, docker_api: APIClient, sample_image: str
) -> None:
    config = demo_config(deployment, {"slot": "held"})
    runtime = DockerRuntime(DockerOptions())
    connection = Connection(redis_url)
    store = PoolStore(connection, deployment)
    seen = []
    try:
        for remove in (False, True):
            ending = Ending()
            manager = PoolManager(config, deployment, runtime, connection)
            running = asyncio.create_task(manager.run(ending))
            await asyncio.wait_for(manager.ready.wait(), 60)
            revisions = {record.id: record.revision for record in (await store.status()).containers}
            refs = [ref for slot in revisions for ref in holders(docker_api, deployment, slot)]
            seen.append((sorted(refs), revisions, (await store.status()).count(State.AVAILABLE)))
            ending.request(remove=remove)
            await running
    finally:
        await runtime.remove_network(deployment)
        await runtime.close()
        await connection.close()

    assert seen[0] == seen[1]
    assert [len(seen[0][0]), seen[0][2]] == [2, 2]
    assert docker_api.containers(all=True, filters={"label": [f"{LABEL_DEPLOYMENT}={deployment}"]}) == []
