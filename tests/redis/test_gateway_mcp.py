"""The official MCP client through the gateway, by streamable HTTP, against a server made with the same package."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn
from mcp import Client, MCPError
from mcp.server.mcpserver import Context, MCPServer

from tests.support_gateway import Bench, gateway_bench


@pytest.fixture
async def bench(redis_url: str) -> AsyncIterator[Bench]:
    async with gateway_bench(redis_url) as bench:
        yield bench


@asynccontextmanager
async def mcp_server() -> AsyncIterator[int]:
    """An MCP server that answers only to its own name, as they do against DNS rebinding; yields its port."""
    server = MCPServer("sample")

    @server.tool()
    def add(a: int, b: int) -> int:
        return a + b

    @server.tool()
    async def count(to: int, ctx: Context) -> str:
        for number in range(to):
            await ctx.report_progress(number + 1, to)
        return "counted"

    @server.tool()
    async def hang() -> str:
        await asyncio.Event().wait()
        return "never"

    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(
            server.streamable_http_app(host="127.0.0.1"), log_level="error", timeout_graceful_shutdown=1
        )
        running = uvicorn.Server(config)
        task = asyncio.create_task(running.serve(sockets=[listening]))
        try:
            yield listening.getsockname()[1]
        finally:
            running.should_exit = True
            await task


async def test_the_official_client_calls_tools_and_hears_progress(
    bench: Bench, record_property: Callable[[str, object], None]
) -> None:
    async with mcp_server() as port:
        await bench.add(port)
        steps: list[float] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            steps.append(progress)

        for name, base in (("direct", f"http://127.0.0.1:{port}"), ("gateway", bench.url(await bench.lease()))):
            async with Client(f"{base}/mcp") as client:
                tools = (await client.list_tools()).tools
                began = time.monotonic()
                for n in range(50):
                    result = await client.call_tool("add", {"a": n, "b": 1})
                record_property(f"{name}_ms", round((time.monotonic() - began) / 50 * 1000, 2))
                print(f"{name}: {(time.monotonic() - began) / 50 * 1000:.2f} ms a call")
                counted = await client.call_tool("count", {"to": 5}, progress_callback=note)

            assert {tool.name for tool in tools} == {"add", "count", "hang"}
            assert result.structured_content == {"result": 50}
            assert counted.structured_content == {"result": "counted"}
    assert steps == [1, 2, 3, 4, 5] * 2


@pytest.mark.parametrize("host_header", ["original", "evil.example"])
async def test_a_server_that_wants_its_own_name_refuses_another(bench: Bench, host_header: str) -> None:
    """Why the Host header is rewritten by default: what the client sent may not be what the server answers to."""
    async with mcp_server() as port:
        await bench.add(port, host_header=host_header)
        url = bench.url(await bench.lease(), "/mcp")

        async with bench.session.post(
            url, json={}, headers={"Accept": "application/json, text/event-stream"}
        ) as answer:
            assert answer.status == (421 if host_header == "evil.example" else 400)


async def test_a_call_in_progress_ends_with_the_lease(bench: Bench) -> None:
    async with mcp_server() as port:
        await bench.add(port)
        lease = await bench.lease()

        async def call() -> object:
            async with Client(bench.url(lease, "/mcp"), read_timeout_seconds=2) as client:
                calling.set()
                return await client.call_tool("hang", {})

        calling = asyncio.Event()
        task = asyncio.create_task(call())
        await asyncio.wait_for(calling.wait(), 10)
        await bench.release(lease)

        with pytest.raises((MCPError, ExceptionGroup)):
            await asyncio.wait_for(task, 20)
