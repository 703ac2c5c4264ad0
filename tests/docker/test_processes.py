"""Managers as real processes on a real engine: killed, doubled, stopped, misconfigured."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from docker import APIClient

from pool.client import AsyncClient
from pool.embedded import find_server, stop_server
from pool.errors import StoreUnavailable, UnknownPool
from pool.models import State
from pool.ports import LABEL_DEPLOYMENT
from tests.support import eventually

pytestmark = pytest.mark.long

DEMO = Path(__file__).parents[2] / "config" / "demo.yaml"
POOL = "browsers"
#: Of a manager's log, which most tests do not read: a full pipe would stop it.
_LOG_BYTES = 2**24


@dataclass
class Site:
    """A state directory, a configuration file, and the manager processes started on them."""

    root: Path
    deployment: str
    api: APIClient
    processes: list[Process] = field(default_factory=list)

    @property
    def url(self) -> str:
        server = find_server(self.root)
        assert server is not None
        return server.url

    def configure(self, change: Callable[[str], str] = lambda text: text) -> Path:
        path = self.root / "pool.yaml"
        path.write_text(change(DEMO.read_text().replace("deployment: demo", f"deployment: {self.deployment}")))
        return path

    async def serve(self, *options: str, config: Path | None = None) -> Process:
        command = ["-m", "pool.cli", "serve", str(config or self.configure()), "--log-format", "json", *options]
        environment = os.environ | {"POOL_STATE_DIR": str(self.root)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, env=environment, stdout=PIPE, stderr=PIPE, limit=_LOG_BYTES
        )
        self.processes.append(process)
        return process

    async def fails(self, change: Callable[[str], str]) -> str:
        """Serve a configuration that cannot be served; return what it says."""
        process = await self.serve(config=self.configure(change))
        out, err = await asyncio.wait_for(process.communicate(), 60)
        text = (out + err).decode()
        assert process.returncode == 2, text
        assert "Traceback" not in text
        return text

    async def client(self) -> AsyncClient:
        async def up() -> bool:
            return find_server(self.root) is not None

        await eventually(up, deadline_s=20)
        client = AsyncClient(self.url, owner="tester")
        await client.connect()
        return client

    def containers(self) -> list[dict[str, Any]]:
        mine = {"label": [f"{LABEL_DEPLOYMENT}={self.deployment}"]}
        return list(self.api.containers(all=True, filters=mine))


@pytest.fixture
async def site(deployment: str, docker_api: APIClient, sample_image: str) -> AsyncIterator[Site]:
    root = Path(tempfile.mkdtemp(prefix="cp"))
    site = Site(root, deployment, docker_api)
    yield site
    for process in site.processes:
        if process.returncode is None:
            process.kill()
        await process.communicate()
    stop_server(root)
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def foreign(docker_api: APIClient, sample_image: str) -> Iterator[str]:
    """A container that is not the pool's, under a name that a pool might want."""
    name = f"foreign-{os.getpid()}-{time.monotonic_ns()}"
    made = docker_api.create_container(sample_image, name=name)
    yield name
    docker_api.remove_container(made["Id"], force=True)


def whole(client: AsyncClient) -> Callable[[], Awaitable[bool]]:
    async def both_available() -> bool:
        try:
            return (await client.status(POOL)).count(State.AVAILABLE) == 2
        except (UnknownPool, StoreUnavailable):
            return False

    return both_available


async def log_line(process: Process, event: str) -> dict[str, Any]:
    """Wait until a manager logs an event."""
    assert process.stderr is not None
    while line := await asyncio.wait_for(process.stderr.readline(), 30):
        entry: dict[str, Any] = json.loads(line)
        if entry["event"] == event:
            return entry
    raise AssertionError(f"the manager ended without logging {event}")


async def test_a_manager_killed_amid_leases_and_resets_loses_nothing(site: Site) -> None:
    first = await site.serve()
    async with await site.client() as client:
        await eventually(whole(client), deadline_s=30)
        kept = await client.acquire(POOL, owner="kept", timeout_s=120)
        before = {container["Id"] for container in site.containers()}
        for _ in range(5):
            process = site.processes[-1]
            used = await client.acquire(POOL, owner="used", wait_s=30)
            await used.release("failed")  # a restart, which takes long enough to be cut off
            process.kill()
            await process.wait()
            assert not kept.lost
            await site.serve()

        async def one_left() -> bool:
            status = await client.status(POOL)
            return status.count(State.AVAILABLE) == 1 and status.count(State.ALLOCATED) == 1

        await eventually(one_left, deadline_s=30)
        assert not kept.lost
        await kept.release()
        await eventually(whole(client), deadline_s=30)
        after = {container["Id"] for container in site.containers()}
        assert len(after) == 2
        assert len(before & after) >= 1, "the container of the kept lease was never touched"
    assert first.returncode == -signal.SIGKILL


async def test_a_second_manager_stands_by_says_for_whom_and_takes_over_within_five_seconds(site: Site) -> None:
    first = await site.serve()
    async with await site.client() as client:
        await eventually(whole(client), deadline_s=30)
        second = await site.serve()
        assert f"pid {first.pid}" in (await log_line(second, "manager.standby"))["why"]

        first.kill()
        killed_at = time.monotonic()
        await first.wait()

        await log_line(second, "manager.active")
        assert time.monotonic() - killed_at < 5
        lease = await client.acquire(POOL)
        await lease.release()
        await eventually(whole(client), deadline_s=30)


async def test_a_manager_that_is_told_to_stop_leaves_its_containers_and_the_next_adopts_them(site: Site) -> None:
    first = await site.serve()
    async with await site.client() as client:
        await eventually(whole(client), deadline_s=30)
        before = {container["Id"]: container["Status"] for container in site.containers()}
        lease = await client.acquire(POOL)

        first.terminate()
        assert await asyncio.wait_for(first.wait(), 20) == 0
        assert {container["Id"] for container in site.containers()} == set(before)

        second = await site.serve("--remove")
        await log_line(second, "pool.ready")
        assert {container["Id"] for container in site.containers()} == set(before)
        assert not lease.lost
        await lease.release()
        await eventually(whole(client), deadline_s=30)

    second.terminate()
    assert await asyncio.wait_for(second.wait(), 20) == 0
    assert site.containers() == []
    assert site.api.networks(filters={"label": [f"{LABEL_DEPLOYMENT}={site.deployment}"]}) == []
    assert find_server(site.root) is None


async def test_the_private_redis_killed_comes_back_with_its_leases(site: Site) -> None:
    await site.serve()
    async with await site.client() as client:
        await eventually(whole(client), deadline_s=30)
        lease = await client.acquire(POOL, ttl_s=10)
        server = find_server(site.root)
        assert server is not None

        os.kill(server.pid, signal.SIGKILL)

        async def back() -> bool:
            again = find_server(site.root)
            return again is not None and again.pid != server.pid

        await eventually(back)
        assert (await client.status(POOL)).count(State.ALLOCATED) == 1
        lease.check()
        await lease.release()
        await eventually(whole(client), deadline_s=30)


async def test_a_port_that_is_taken_is_named_and_nothing_running_is_disturbed(site: Site) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]

        said = await site.fails(lambda text: text.replace("host: 0", f"host: {port}").replace("size: 2", "size: 1"))

    assert str(port) in said
    assert site.containers() == []


async def test_a_name_of_a_foreign_container_is_named_and_the_container_untouched(site: Site, foreign: str) -> None:
    before = site.api.inspect_container(foreign)

    said = await site.fails(lambda text: text.replace("size: 2", f"size: 1\n    name: {foreign}"))

    assert foreign in said
    assert site.api.inspect_container(foreign) == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("containerpool-sample:latest", "containerpool-nowhere:none"), "containerpool-nowhere:none"),
        (("pools:", "docker: {url: 'unix:///nowhere/docker.sock'}\npools:"), "/nowhere/docker.sock"),
        (("pools:", "redis: {url: 'redis://127.0.0.1:1'}\npools:"), "redis://127.0.0.1:1"),
        (("size: 2", "size: 0"), "pools.browsers.size"),
        (("size: 2", "sise: 2"), "did you mean 'size'"),
        (("interval_s: 1", "interval_s: -1"), "pools.browsers.health.interval_s"),
    ],
)
async def test_what_cannot_be_served_is_said_in_one_line_with_exit_code_two(
    site: Site, change: tuple[str, str], named: str
) -> None:
    said = await site.fails(lambda text: text.replace(*change))

    assert named in said
    assert site.containers() == []


#: A greedy client: asks again at once, and notes when it held which container, by the machine's one monotonic clock.
GREEDY = """
import json, sys, time, pool
held = []
with pool.connect(sys.argv[1], owner=sys.argv[3]) as client:
    print("ready", flush=True)
    sys.stdin.readline()
    until = time.monotonic() + float(sys.argv[4])
    while time.monotonic() < until:
        with client.acquire(sys.argv[2], wait_s=60) as lease:
            begun = time.monotonic()
            time.sleep(0.002)
            held.append((lease.container.id, begun, time.monotonic()))
print(json.dumps(held), flush=True)
"""


async def test_eight_greedy_clients_share_two_containers_fairly_and_never_hold_one_twice(
    site: Site, record_property: Callable[[str, object], None]
) -> None:
    await site.serve()
    async with await site.client() as client:
        await eventually(whole(client), deadline_s=30)
        greedy = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", GREEDY, site.url, POOL, f"greedy-{n}", "10", stdin=PIPE, stdout=PIPE
            )
            for n in range(8)
        ]
        for process in greedy:
            assert process.stdout is not None
            assert (await process.stdout.readline()).strip() == b"ready"
        outputs = await asyncio.gather(*(process.communicate(b"go\n") for process in greedy))
        await eventually(whole(client), deadline_s=30)

    held = [json.loads(out) for out, _ in outputs]
    counts = sorted(len(leases) for leases in held)
    record_property("acquisitions", counts)
    print(f"acquisitions of 8 greedy clients in 10 s: {counts}, fewest/most {counts[0] / counts[-1]:.3f}")
    for container in ("browsers-1", "browsers-2"):
        intervals = sorted((begun, ended) for leases in held for where, begun, ended in leases if where == container)
        assert all(ended <= begun for (_, ended), (begun, _) in pairwise(intervals))
    assert counts[-1] - counts[0] <= max(2, counts[-1] / 10), (
        "a slow machine has few of them, so one more or less is much"
    )
