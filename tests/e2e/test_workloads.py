"""Other ways to use the image: through the gateway, and as Playwright's own server."""

from __future__ import annotations

import aiohttp
import pytest
from docker import APIClient

from pool.client import AsyncClient
from pool.config import DockerOptions
from pool.ports import ExecResult
from pool.runtimes import DockerRuntime
from tests.e2e.browsers import POOL, pool_options, served
from tests.e2e.test_dirt import opened, status_of_a_call
from tests.support import eventually

pytestmark = pytest.mark.timeout(180)

_VISIT = """
const { chromium } = require("/opt/mcp/node_modules/playwright-core");
(async () => {
  const browser = await chromium.connect("ws://127.0.0.1:3000/");
  const page = await browser.newPage();
  await page.goto("data:text/html,<title>hello</title>");
  console.log(await page.title());
  if (!process.argv.includes("leave")) await browser.close();
  process.exit(0);
})();
"""


async def test_through_the_gateway_the_server_hears_a_name_that_it_allows_and_old_leases_reach_nothing(
    docker_api: APIClient, image: str
) -> None:
    changes = {"size": 1, "access": "both", "gateway": {"host_header": "localhost:{port}"}}
    async with (
        served(docker_api, **changes) as browsers,
        AsyncClient(browsers.http_url) as client,
        aiohttp.ClientSession() as user,
    ):
        async with await client.acquire(POOL) as lease:
            url = lease.gateway_url
            session = await opened(user, url)
            assert await status_of_a_call(user, url, session) == 200

        assert await status_of_a_call(user, url, session) == 410


async def test_playwrights_own_server_is_a_workload_too_and_its_browsers_end_with_the_lease(
    docker_api: APIClient, image: str
) -> None:
    drop = pool_options()["container"]["entrypoint"][:-1]
    changes = {
        "size": 1,
        "container": {"entrypoint": [*drop, "playwright"], "command": ["run-server", "--host=0.0.0.0", "--port=3000"]},
        "health": {"http": {"path": "/", "status": [200], "timeout_s": 5}},
        "reset": {"recipe": pool_options()["reset"]["recipe"] | {"environment": []}},
    }
    runtime = DockerRuntime(DockerOptions())

    async def visited(name: str, *words: str) -> ExecResult:
        ref = docker_api.inspect_container(name)["Id"]
        command = ["/opt/mcp/node_modules/.bin/node", "-e", _VISIT, *words]
        return await runtime.exec(ref, command, user="app", deadline_s=60)

    try:
        async with served(docker_api, **changes) as browsers:
            for words in ([], ["leave"], []):
                async with await browsers.client.acquire(POOL, wait_s=60) as lease:
                    done = await visited(lease.container.name, *words)
                    assert (done.exit_code, done.output.strip()) == (0, "hello")
            await eventually(browsers.whole, deadline_s=60)
    finally:
        await runtime.close()
