"""The gateway to real containers, which publish no port: only through it are they reached, and only while leased."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import aiohttp
import pytest
import pytest_asyncio
from docker import APIClient
from mcp import Client
from mcp.types import TextContent

from pool.api import ApiServer
from pool.client import AsyncClient
from pool.errors import GatewayUnknown
from pool.models import ContainerRecord, LeaseRef, ResetLevel, State
from pool.store import Connection
from tests.docker.conftest import SAMPLE_IMAGE
from tests.docker.managed import Bench, Manage
from tests.support import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["plain", "held"])
async def shared(request: pytest.FixtureRequest, manage: Manage) -> AsyncIterator[Bench]:
    async with manage(access="gateway", slot=request.param) as bench:
        yield bench


@pytest_asyncio.fixture(loop_scope="module")
async def bench(shared: Bench) -> AsyncIterator[Bench]:
    async with shared.turn() as bench:
        yield bench


@pytest_asyncio.fixture(loop_scope="module")
async def base(shared: Bench) -> AsyncIterator[str]:
    """Where the gateway is."""
    connection = Connection(shared.redis_url)
    server = ApiServer(shared.config, connection, shared.runtime)
    await server.start()
    yield server.url
    await server.close()
    await connection.close()


@pytest_asyncio.fixture(loop_scope="module")
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


def address_of(api: APIClient, name: str) -> str:
    """The address of a container, or of what it joins, as the engine itself says it."""
    raw = api.inspect_container(name)
    mode = raw["HostConfig"]["NetworkMode"]
    if mode.startswith("container:"):
        raw = api.inspect_container(mode.removeprefix("container:"))
    (network,) = raw["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])


async def reset(bench: Bench, level: ResetLevel) -> ContainerRecord:
    before = await bench.record()
    wish: dict[str, str | int] = {"reason": "manual", "level": int(level), "note": ""}
    assert await bench.store.transition(before, State.RESETTING, store=wish)
    await bench.healed(before)
    return await bench.record()


async def test_nothing_is_published_and_a_lease_reaches_its_container(
    bench: Bench, base: str, session: aiohttp.ClientSession
) -> None:
    async with await bench.client.acquire(bench.pool) as lease:
        url = LeaseRef.parse(lease.data.ref).url(base)
        with pytest.raises(GatewayUnknown, match="nobody said where"):
            _ = lease.url

        async with session.get(f"{url}/") as answer:
            assert (answer.status, await answer.text()) == (400, "Invalid request")
        async with session.post(f"{url}/file?path=/tmp/x", data=b"kept") as answer:
            assert answer.status == 200
        async with session.get(f"{url}/file?path=/tmp/x") as answer:
            assert await answer.read() == b"kept"
        async with session.get(f"{url}/_port/22/") as answer:
            assert answer.status == 404

    for ref in bench.api.containers(all=True, filters={"label": [f"containerpool.pool={bench.pool}"]}):
        assert not any("PublicPort" in port for port in ref["Ports"])
        assert not bench.api.inspect_container(ref["Id"])["HostConfig"]["PortBindings"]

    async def gone() -> bool:
        async with session.get(f"{url}/") as answer:
            return answer.status == 410

    await eventually(gone)


@pytest.mark.parametrize("level", [ResetLevel.HARD, ResetLevel.RECREATE])
async def test_the_gateway_follows_a_container_to_its_new_address(
    bench: Bench, base: str, session: aiohttp.ClientSession, level: ResetLevel
) -> None:
    before = address_of(bench.api, await bench.name())

    after = await reset(bench, level)

    print(f"{level.label}: {before} -> {after.info.host}")
    assert after.info.host == address_of(bench.api, after.info.name)
    assert (after.info.ports, after.info.url) == ({3000: 3000}, "")
    leases = [await bench.client.acquire(bench.pool) for _ in range(2)]
    for lease in leases:
        async with session.get(LeaseRef.parse(lease.data.ref).url(base) + "/") as answer:
            assert answer.status == 400
        await lease.release()


@contextmanager
def occupant(api: APIClient, name: str) -> Iterator[Callable[[], None]]:
    """Cut a container off from its network, and let another one take its address."""
    raw = api.inspect_container(name)
    if (mode := raw["HostConfig"]["NetworkMode"]).startswith("container:"):
        raw = api.inspect_container(mode.removeprefix("container:"))
    (network,) = raw["NetworkSettings"]["Networks"]
    config = api.create_host_config(network_mode=network)
    other = api.create_container(
        SAMPLE_IMAGE, entrypoint=["/bin/sleep", "600"], name=f"{name}-occupant", host_config=config
    )

    def take() -> None:
        api.disconnect_container_from_network(raw["Id"], network, force=True)
        api.start(other["Id"])

    try:
        yield take
    finally:
        api.remove_container(other["Id"], force=True)


async def test_a_container_that_lost_its_address_to_another_one_is_reached_at_its_new_one(
    bench: Bench, base: str, session: aiohttp.ClientSession
) -> None:
    before = await bench.record()

    with occupant(bench.api, before.info.name) as take:
        await asyncio.to_thread(take)
        await bench.healed(before)
        after = await bench.record()

        print(f"{before.info.host} -> {after.info.host}")
        assert after.info.host not in ("", before.info.host)
        assert after.info.host == address_of(bench.api, after.info.name)
        leases = [await bench.client.acquire(bench.pool) for _ in range(2)]
        for lease in leases:
            async with session.get(LeaseRef.parse(lease.data.ref).url(base) + "/") as answer:
                assert (answer.status, await answer.text()) == (400, "Invalid request")
            await lease.release()


async def test_containers_behind_the_gateway_do_not_reach_each_other(bench: Bench) -> None:
    first, second = [record.info for record in (await bench.store.status()).containers]
    command = ["/bin/sh", "-c", f"echo | nc -w 2 {second.host} 3000 && echo reached"]

    made = bench.api.exec_create(first.name, command)
    printed = await asyncio.to_thread(bench.api.exec_start, made["Id"])

    assert b"reached" not in printed


async def test_the_official_mcp_client_works_with_the_sample_image(bench: Bench, base: str) -> None:
    async with await bench.client.acquire(bench.pool) as lease:
        async with Client(f"{LeaseRef.parse(lease.data.ref).url(base)}/mcp") as client:
            (tool,) = (await client.list_tools()).tools
            answer = await client.call_tool(tool.name, {"text": "through the gateway"})
            top = bench.api.top(lease.container.name, "-eo pid,args")["Processes"]
            assert any("chromium" in command for _, command in top), "the session is open"

        assert [part.text for part in answer.content if isinstance(part, TextContent)] == ["through the gateway"]
        top = bench.api.top(lease.container.name, "-eo pid,args")["Processes"]
        assert not any("chromium" in command for _, command in top), "the client's DELETE arrived"


async def test_a_stream_from_a_container_ends_with_the_lease(
    bench: Bench, base: str, session: aiohttp.ClientSession, record_property: Callable[[str, object], None]
) -> None:
    lease = await bench.client.acquire(bench.pool)
    url = LeaseRef.parse(lease.data.ref).url(base)
    async with session.post(f"{url}/log?line=x") as answer:
        assert answer.status == 200

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.01)

    async def upload() -> object:
        try:
            async with session.post(
                f"{url}/file?path=/tmp/y", data=endless(), headers={"Content-Length": "9"}
            ) as answer:
                return answer.status
        except aiohttp.ClientError as error:
            return type(error)

    # The sample server reads what it was promised; it never gets all of it.
    task = asyncio.create_task(upload())
    async with session.get(f"{url}/") as answer:
        assert answer.status == 400
    began = time.monotonic()
    await lease.release()
    how = await asyncio.wait_for(task, 10)
    record_property("cut_off_ms", round((time.monotonic() - began) * 1000, 1))
    print(f"cut off {(time.monotonic() - began) * 1000:.1f} ms after the release was sent: {how}")


async def test_a_client_of_the_api_is_given_the_gateways_url(
    bench: Bench, base: str, session: aiohttp.ClientSession
) -> None:
    async with AsyncClient(base, owner="tester") as client, await client.acquire(bench.pool) as lease:
        assert lease.url == lease.gateway_url
        assert lease.url.startswith(f"{base}/c/cpl_")
        async with session.get(f"{lease.url}/") as answer:
            assert (answer.status, await answer.text()) == (400, "Invalid request")


async def test_where_both_ways_are_open_both_lead_to_the_container(
    manage: Manage, base: str, session: aiohttp.ClientSession
) -> None:
    async with manage(access="both", size=1) as bench, await bench.client.acquire(bench.pool) as lease:
        for url in (lease.url, LeaseRef.parse(lease.data.ref).url(base)):
            async with session.get(f"{url}/") as answer:
                assert (answer.status, await answer.text()) == (400, "Invalid request")
