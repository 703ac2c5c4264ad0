"""What a tenant may leave in a real browser's container is gone for the next one, by the level that the tables say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from docker import APIClient
from mcp import Client

from pool.models import ResetLevel, State
from tests.docker.dirt import HARD, SOFT, TABLE, Dirt, file, process
from tests.docker.managed import Bench, managed
from tests.e2e.browsers import free_ports, pool_options
from tests.support import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

ACCEPT = {"Accept": "application/json, text/event-stream"}
_PAGE = "data:text/html,<title>hello</title>"
_NODE = "/opt/mcp/node_modules/.bin/node"
_BROWSER = "chromium-headless-shell --headless --no-sandbox --user-data-dir=/tmp/stray about:blank"

#: Of the sample image's table, what this image has the places and programs for.
FITTING = (
    "a temporary file", "a file in shared memory", "a message queue", "a file of another user",
    "a directory that only another user may enter", "a file and a directory without any permission",
    "links out of the temporary places", "names of odd characters", "two hundred directories, one in the other",
    "a pipe that somebody waits at", "full shared memory", "a process in the background",
    "a process in a session of its own, twice removed", "as many processes as may be",
    "a file that is deleted and still open", "children that nobody waits for", "a stopped process",
)  # fmt: skip

BROWSERS = {
    "a download": Dirt("mkdir -p /tmp/out && echo mine >/tmp/out/prices.csv", "[ -e /tmp/out/prices.csv ]", SOFT),
    "a profile in the home": Dirt(
        "mkdir -p /home/app/.config/chromium/Default && echo mine >/home/app/.config/chromium/Default/Cookies",
        "[ -e /home/app/.config/chromium/Default/Cookies ]",
        SOFT,
    ),
    "a hidden file in the home": file("/home/app/.npmrc", SOFT),
    "a browser that is left": process(f"setsid {_BROWSER} &", "/usr/lib/chromium/"),
    "a process that has the name of the server": process(
        f"setsid {_NODE} -e 'setInterval(() => 0, 1e9)' &", f"{_NODE} -e", HARD
    ),
    "a stopped server": Dirt(
        "for d in /proc/[0-9]*; do read -r name <$d/comm && [ $name = node ] && kill -STOP ${d#/proc/}; done; true",
        "grep -l '^State:.T' /proc/[0-9]*/status",
        HARD,
    ),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(redis_url: str, docker_api: APIClient, image: str) -> AsyncIterator[Bench]:
    """One browser, on a port that it keeps."""
    options = pool_options(
        size=1,
        name="{deployment}-{n}",
        evidence={"causes": []},
        limits={"ttl_s": 10, "claim_ttl_s": 5},
    )
    options["container"]["ports"][0]["host"] = free_ports(1)
    options["container"]["environment"]["PLAYWRIGHT_MCP_ALLOWED_HOSTS"] = "*"
    options["health"] |= {"interval_s": 60, "start_timeout_s": 60}
    async with managed(redis_url, docker_api, **options) as bench:
        yield bench


async def succeeds(bench: Bench, script: str, user: str = "app") -> bool:
    """Run a script in the container as a tenant would."""
    ref = bench.api.inspect_container(await bench.name())["Id"]
    return (await bench.runtime.exec(ref, ["/bin/sh", "-c", script], user=user, deadline_s=20)).exit_code == 0


async def shows(bench: Bench, dirt: Dirt) -> bool:
    if not dirt.runs:
        return await succeeds(bench, dirt.shows)
    ref = bench.api.inspect_container(await bench.name())["Id"]
    return any(one.command.startswith(dirt.runs) for one in await bench.runtime.processes(ref))


@pytest.mark.parametrize("kind", [*FITTING, *BROWSERS])
async def test_what_a_tenant_left_is_gone_by_the_level_that_the_table_says(bench: Bench, kind: str) -> None:
    dirt = (TABLE | BROWSERS)[kind]
    async with await bench.client.acquire(bench.pool) as lease:
        assert not await shows(bench, dirt), "it was clean before"
        assert await succeeds(bench, dirt.plant, dirt.user)
        await eventually(lambda: shows(bench, dirt))
        lease.check()

    await eventually(bench.whole, deadline_s=60)
    last = (await bench.moves())[-1]
    assert (last["to"], last["verified"]) == ("available", "yes")
    assert last["reset_level"] == dirt.cured_by.label, await bench.moves()
    assert not await shows(bench, dirt)


@pytest.mark.parametrize("level", [ResetLevel.SOFT, ResetLevel.MEDIUM, ResetLevel.HARD, ResetLevel.RECREATE])
async def test_every_level_gives_back_a_server_that_drives_a_new_browser(bench: Bench, level: ResetLevel) -> None:
    async with await bench.client.acquire(bench.pool) as lease, Client(f"{lease.url}/mcp") as session:
        await session.call_tool("browser_navigate", {"url": _PAGE})
    await eventually(bench.whole, deadline_s=60)
    before = await bench.record()

    assert await bench.store.transition(
        before, State.RESETTING, store={"reason": "manual", "level": int(level), "note": ""}
    )
    await bench.healed(before)

    last = (await bench.moves())[-1]
    assert (last["reset_level"], last["verified"]) == (level.label, "yes")
    assert (await bench.record()).info.generation == before.info.generation + (level is ResetLevel.RECREATE)
    async with await bench.client.acquire(bench.pool) as lease, Client(f"{lease.url}/mcp") as session:
        assert "Page Title: hello" in str(await session.call_tool("browser_navigate", {"url": _PAGE}))


async def test_a_session_that_a_client_left_open_is_no_way_back_after_a_soft_reset(bench: Bench) -> None:
    async with aiohttp.ClientSession() as user:
        async with await bench.client.acquire(bench.pool) as lease:
            session = await opened(user, lease.url)
            assert await status_of_a_call(user, lease.url, session) == 200

        async with await bench.client.acquire(bench.pool, wait_s=60) as lease:
            assert await status_of_a_call(user, lease.url, session) == 404

    assert (await bench.resets())[0]["reset_level"] == SOFT.label


async def test_whoever_let_the_lease_lapse_has_no_session_any_more(bench: Bench) -> None:
    url = (await bench.client.acquire(bench.pool, timeout_s=3)).url
    async with aiohttp.ClientSession() as user:
        session = await opened(user, url)
        assert await status_of_a_call(user, url, session) == 200
        await bench.healed(await bench.record())

        assert await status_of_a_call(user, url, session) == 404

    assert (await bench.resets())[-1]["reset_level"] == HARD.label


async def opened(user: aiohttp.ClientSession, url: str) -> str:
    """Open a session with the server; returns its id."""
    hello = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "tenant", "version": "1"},
    }
    async with user.post(f"{url}/mcp", json=rpc("initialize", hello), headers=ACCEPT) as answer:
        return answer.headers["Mcp-Session-Id"]


async def status_of_a_call(user: aiohttp.ClientSession, url: str, session: str) -> int:
    """Let the session's browser open a page; returns the HTTP status."""
    call = rpc("tools/call", {"name": "browser_navigate", "arguments": {"url": _PAGE}})
    async with user.post(f"{url}/mcp", json=call, headers=ACCEPT | {"Mcp-Session-Id": session}) as answer:
        await answer.read()
        return answer.status


def rpc(method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
