"""The image's variants: other browsers, driven by the same server, cleaned by the same recipe."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from docker import APIClient
from mcp import Client

from pool.models import Event
from pool.store import Connection, read_events
from tests.e2e.browsers import POOL, Served, pool_options, served
from tests.e2e.test_dirt import opened, status_of_a_call
from tests.support import eventually

pytestmark = pytest.mark.timeout(240)

#: Variant → what its pool says otherwise; docs/playwright.md tells the same.
VARIANTS: dict[str, dict[str, Any]] = {
    "chromium-full": {"container": {}, "recipe": {}},
    "firefox": {"container": {"memory": "1g"}, "recipe": {"medium_kill": ["firefox*"]}},
}
_PAGE = "data:text/html,<title>hello</title>"


@pytest.mark.parametrize("variant", VARIANTS)
async def test_a_variant_is_driven_and_its_soft_resets_end_what_clients_left(
    docker_api: APIClient, variant: str
) -> None:
    image = f"containerpool-playwright-mcp:{variant}"
    container = {"image": image} | VARIANTS[variant]["container"]
    recipe = pool_options()["reset"]["recipe"] | VARIANTS[variant]["recipe"]
    async with (
        served(docker_api, size=1, container=container, reset={"recipe": recipe}) as browsers,
        aiohttp.ClientSession() as user,
    ):
        for _ in range(2):
            async with await browsers.client.acquire(POOL, wait_s=60) as lease:
                async with Client(f"{lease.url}/mcp") as session:
                    assert "Page Title: hello" in str(await session.call_tool("browser_navigate", {"url": _PAGE}))
                    agent = await session.call_tool("browser_evaluate", {"function": "() => navigator.userAgent"})
                    assert ("Firefox" in str(agent)) == (variant == "firefox")
                    picture = await session.call_tool("browser_take_screenshot", {})
                    assert any(part.type == "image" for part in picture.content)
                left = await opened(user, lease.url)
                assert await status_of_a_call(user, lease.url, left) == 200

            async with await browsers.client.acquire(POOL, wait_s=60) as lease:
                assert await status_of_a_call(user, lease.url, left) == 404
        await eventually(browsers.whole, deadline_s=60)

        resets = [event.fields for event in await events(browsers) if event.fields.get("from") == "cleaning"]
    assert [(each["to"], each["reset_level"], each["verified"]) for each in resets] == [
        ("available", "soft", "yes")
    ] * 4


async def events(browsers: Served) -> list[Event]:
    connection = Connection(browsers.url)
    try:
        return await read_events(connection, POOL)
    finally:
        await connection.close()
