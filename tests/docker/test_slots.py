"""Held slots on the real engine: fresh containers behind the same port, and holders that break like anything else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from docker import APIClient

from pool.config import NETWORK_FILES
from pool.errors import LeaseLost
from pool.manager import Ending, PoolManager
from pool.models import ContainerRecord, ResetLevel, State
from pool.ports import LABEL_DEPLOYMENT, LABEL_HOLDS
from pool.runtimes import DockerRuntime
from pool.store import Connection, PoolStore
from tests.docker.managed import POOL, Bench, Stopwatch, ask, demo_config, managed
from tests.support import eventually


@pytest.fixture
async def held(
    redis_url: str, deployment: str, docker_api: APIClient, docker_runtime: DockerRuntime, sample_image: str
) -> AsyncIterator[Bench]:
    async with managed(redis_url, deployment, docker_api, docker_runtime, slot="held") as bench:
        yield bench


@pytest.fixture
def stopwatch(record_property: Callable[[str, object], None]) -> Stopwatch:
    return Stopwatch(record_property)


def holders(api: APIClient, deployment: str, container_id: str) -> list[str]:
    """The ids of a slot's holders, as the engine itself lists them."""
    labels = [f"{LABEL_DEPLOYMENT}={deployment}", f"{LABEL_HOLDS}={container_id}"]
    return [found["Id"] for found in api.containers(all=True, filters={"label": labels})]


def holder(bench: Bench, container_id: str = f"{POOL}-1") -> str:
    (only,) = holders(bench.api, bench.config.deployment, container_id)
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
    held: Bench, stopwatch: Stopwatch, level: ResetLevel
) -> None:
    before, held_by = await held.record(), holder(held)
    inspected = held.api.inspect_container(before.info.name)

    stopwatch.start()
    after = await reset(held, level)
    stopwatch.lap(f"{level.label}_held")

    now = held.api.inspect_container(after.info.name)
    last = (await held.moves())[-1]
    assert (last["to"], last["reset_level"], last["verified"]) == ("available", level.label, "yes")
    assert (now["Id"] == inspected["Id"]) == (level is ResetLevel.HARD)
    assert now["HostConfig"]["NetworkMode"] == f"container:{held_by}"
    assert holder(held) == held_by
    assert after.info.url == before.info.url
    async with await held.client.acquire(POOL) as lease:
        assert await ask(lease.url, "GET", "/leftovers") == ""


async def test_a_soft_reset_of_a_held_container_sees_nothing_of_the_holder(held: Bench) -> None:
    lease = await held.client.acquire(POOL)
    await ask(lease.url, "POST", "/cookie?name=secret")
    await lease.release()
    await eventually(held.whole)

    last = (await held.moves(lease.container.id))[-1]
    assert (last["reset_level"], last["verified"]) == ("soft", "yes")
    top = held.api.top(await held.name(lease.container.id), "-eo pid,args")["Processes"]
    assert not any("STOP" in command for _, command in top)


async def test_what_the_containers_of_a_slot_share_cannot_be_written(held: Bench) -> None:
    name = await held.name()
    for path in NETWORK_FILES:
        made = held.api.exec_create(name, ["/bin/sh", "-c", f"echo 192.0.2.1 evil >> {path}"], user="root")
        assert b"Read-only" in held.api.exec_start(made["Id"])

    config = held.api.inspect_container(holder(held))

    assert config["HostConfig"]["ReadonlyRootfs"] is True
    assert config["HostConfig"]["CapDrop"] == ["ALL"]
    assert config["HostConfig"]["CapAdd"] in (None, [])
    assert config["Config"]["User"] == "65534:65534"
    inside = held.api.exec_create(name, ["/bin/hostname"])
    assert held.api.exec_start(inside["Id"]).decode().strip() == f"{POOL}-1"


@pytest.mark.parametrize("how", ["kill", "stop", "remove", "restart", "disconnect"])
async def test_a_slot_whose_holder_breaks_is_healed(held: Bench, stopwatch: Stopwatch, how: str) -> None:
    before = await held.record()
    doing = asyncio.create_task(asyncio.to_thread(break_, held.api, holder(held), how))

    async def out_of_rotation() -> bool:
        return any(move["to"] == "unhealthy" for move in await held.moves())

    stopwatch.start()
    await eventually(out_of_rotation, deadline_s=30)
    stopwatch.lap("out_of_rotation")
    await doing
    await held.healed(before)
    stopwatch.lap("healed")

    assert await held.faults() == ["hang" if how == "disconnect" else "crash"]
    joined = held.api.inspect_container(await held.name())["HostConfig"]["NetworkMode"]
    assert joined == f"container:{holder(held)}"
    async with await held.client.acquire(POOL) as lease:
        assert await ask(lease.url, "GET", "/leftovers") == ""


async def test_whoever_leases_a_slot_whose_holder_is_killed_is_told(held: Bench, stopwatch: Stopwatch) -> None:
    told = asyncio.Event()
    lease = await held.client.acquire(POOL, on_lost=lambda _: told.set())

    stopwatch.start()
    held.api.kill(holder(held, lease.container.id))
    await asyncio.wait_for(told.wait(), 15)
    stopwatch.lap("told")

    with pytest.raises(LeaseLost):
        lease.check()
    await eventually(held.whole, deadline_s=30)


async def test_the_next_manager_adopts_holders_as_they_are_and_removes_them_in_the_end(
    redis_url: str, deployment: str, docker_api: APIClient, docker_runtime: DockerRuntime, sample_image: str
) -> None:
    config = demo_config(deployment, {"slot": "held"})
    connection = Connection(redis_url)
    store = PoolStore(connection, POOL)
    seen = []
    try:
        for remove in (False, True):
            ending = Ending()
            manager = PoolManager(config, POOL, docker_runtime, connection)
            running = asyncio.create_task(manager.run(ending))
            await asyncio.wait_for(manager.ready.wait(), 60)
            revisions = {record.id: record.revision for record in (await store.status()).containers}
            refs = [ref for slot in revisions for ref in holders(docker_api, deployment, slot)]
            seen.append((sorted(refs), revisions, (await store.status()).count(State.AVAILABLE)))
            ending.request(remove=remove)
            await running
    finally:
        await docker_runtime.remove_network(deployment)
        await connection.close()

    assert seen[0] == seen[1]
    assert [len(seen[0][0]), seen[0][2]] == [2, 2]
    assert docker_api.containers(all=True, filters={"label": [f"{LABEL_DEPLOYMENT}={deployment}"]}) == []
