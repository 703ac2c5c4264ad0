"""A test's worker, its browser or its server is killed in the middle: the suite ends, and nobody else notices."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from docker import APIClient
from docker.errors import APIError

from pool.models import ContainerRecord, State
from tests.e2e.browsers import Served, outcomes, shop
from tests.support import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

#: Ends somebody who has to do with a lease; tells whether there was somebody to end.
Kill = Callable[[APIClient, int, ContainerRecord], bool]
CUSTOMERS = ("Ada", "Grace")


def kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def kill_all(pids: list[int]) -> bool:
    """Kill all of them; returns whether there was one."""
    killed = [kill(pid) for pid in pids]
    return any(killed)


def worker(api: APIClient, suite: int, record: ContainerRecord) -> bool:
    """The process whose test has the container. Workers were started one after the other."""
    children = Path(f"/proc/{suite}/task/{suite}/children").read_text().split()
    number = int(str(record.metadata["worker"]).removeprefix("gw"))
    return kill(sorted(map(int, children))[number])


def in_container(api: APIClient, name: str, command: str) -> list[int]:
    """Return the processes in a container whose name begins so, as the machine counts them."""
    try:
        listed = api.top(name, "-eo pid,comm")["Processes"]
    except APIError:  # it does not run
        return []
    return [int(pid) for pid, comm in listed if comm.startswith(command)]


def browser(api: APIClient, suite: int, record: ContainerRecord) -> bool:
    return kill_all(in_container(api, record.info.name, "chrom"))


def server(api: APIClient, suite: int, record: ContainerRecord) -> bool:
    """The MCP server; its container ends with it."""
    return kill_all(in_container(api, record.info.name, "node"))


@pytest.mark.parametrize("victim", [worker, browser, server])
async def test_a_kill_in_the_middle_of_a_test_hurts_that_one_test_and_nothing_leaks_into_the_others(
    browsers: Served, docker_api: APIClient, tmp_path: Path, victim: Kill
) -> None:
    await eventually(browsers.whole, deadline_s=60)
    before = {record.id: record for record in (await browsers.status()).containers}
    command = shop("-n", "4", "-k", " or ".join(CUSTOMERS), report=tmp_path / "junit.xml")
    async with browsers.running(*command) as suite:
        used = sum(record.uses for record in before.values())
        await eventually(halfway(browsers, docker_api, suite.pid, victim, used + 2), deadline_s=120)
        out, _ = await suite.communicate()

    await eventually(browsers.whole, deadline_s=90)
    ended = outcomes(tmp_path / "junit.xml")
    assert suite.returncode in (0, 1), out.decode()
    assert len(ended) == 4 * len(CUSTOMERS), out.decode()
    hurt = {name: said for name, said in ended.items() if said}
    assert len(hurt) <= 1, hurt
    assert "left behind" not in "".join(hurt.values())
    after = {record.id: record for record in (await browsers.status()).containers}
    assert {record.state for record in after.values()} == {State.AVAILABLE}
    assert after.keys() == before.keys()


def halfway(browsers: Served, api: APIClient, suite: int, victim: Kill, used: int) -> Callable[[], Awaitable[bool]]:
    """Whether the victim is killed, which happens as soon as some tests are over and a browser is at work."""

    async def killed() -> bool:
        status = await browsers.status()
        held = [record for record in status.containers if record.state is State.ALLOCATED and record.owner != "watcher"]
        for record in held if sum(record.uses for record in status.containers) > used else ():
            if in_container(api, record.info.name, "chrom") and victim(api, suite, record):
                return True
        return False

    return killed
