"""Eight runners of four priorities want two browsers at once; who is served when?

    poolctl serve config/playwright-mcp.yaml
    python examples/mixed_priorities.py

All of them ask while both browsers are taken. Then they are served by priority, and in order of arrival within one.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass

from mcp import Client
from mcp.types import TextContent

import pool

#: In order of arrival.
PRIORITIES = ("low", "normal", "critical", "normal", "high", "low", "critical", "high")
_PAGE = "data:text/html,<title>{name}</title>"
_WAIT_S = 300


@dataclass(frozen=True)
class Visit:
    """What one runner had.

    Attributes:
        granted_at: On the pool's clock, like all leases' times.
        title: Of the page that its browser showed.
    """

    name: str
    priority: str
    container: str
    granted_at: float
    waited_s: float
    title: str


async def visit(client: pool.AsyncClient, name: str, priority: str) -> Visit:
    """Lease a browser and look at a page."""
    async with (
        await client.acquire("playwright", priority=priority, owner=name, wait_s=_WAIT_S) as lease,
        Client(f"{lease.url}/mcp") as browser,
    ):
        await browser.call_tool("browser_navigate", {"url": _PAGE.format(name=name)})
        result = await browser.call_tool("browser_evaluate", {"function": "() => document.title"})
        (answer,) = result.content
        title = answer.text.splitlines()[1].strip('"') if isinstance(answer, TextContent) else ""  # below "### Result"
        granted_at = lease.data.granted_at
        return Visit(name, priority, lease.container.id, granted_at, lease.data.waited_s, title)


async def queued(client: pool.AsyncClient, number: int) -> None:
    """Return once so many requests wait in the queue."""
    while len((await client.status("playwright")).queue) < number:  # noqa: ASYNC110 - the queue is not in this process
        await asyncio.sleep(0.01)


async def main() -> None:
    """Take all browsers, let the runners line up, give the browsers back, and print who came when."""
    async with pool.connect_async() as client:
        size = len((await client.status("playwright")).containers)
        taken = [await client.acquire("playwright", priority="critical", wait_s=_WAIT_S) for _ in range(size)]
        runners = []
        for number, priority in enumerate(PRIORITIES, 1):
            runners.append(asyncio.create_task(visit(client, f"runner-{number}", priority)))
            await queued(client, number)
        for lease in taken:
            await lease.release()
        visits = sorted(await asyncio.gather(*runners), key=lambda visit: visit.granted_at)
    for place, done in enumerate(visits, 1):
        line = f"{place}. {done.priority:8} {done.title}  {done.container}  after {done.waited_s:.2f} s"
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    asyncio.run(main())
