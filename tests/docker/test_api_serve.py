"""The HTTP server of a real manager, from its start to its end."""

from __future__ import annotations

import asyncio
import json
import signal
from asyncio.subprocess import Process

import aiohttp

from tests.docker.test_processes import Site, site
from tests.support import eventually

__all__ = ["site"]


async def _url(process: Process) -> str:
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while line := await process.stderr.readline():
            entry = json.loads(line)
            if entry["event"] == "http.listening":
                return str(entry["url"])
    raise AssertionError("the server does not listen")


async def test_a_manager_serves_its_pools_over_http_and_answers_who_waits_when_it_ends(site: Site) -> None:
    process = await site.serve(config=site.configure(lambda text: f"{text}\nhttp: {{port: 0}}\n"))
    url = await _url(process)
    async with aiohttp.ClientSession(url) as session:

        async def ready() -> bool:
            async with session.get("/readyz") as reply:
                return reply.status == 200

        await eventually(ready, deadline_s=60)
        async with session.post("/v1/leases", json={"wait_s": 30, "owner": "me"}) as reply:
            lease = await reply.json()
            assert reply.status == 201, lease
        async with session.get(lease["url"]) as page:
            assert page.status == 400  # what the sample's server says without a session
        container = lease["container"]["id"]
        async with session.get(f"/v1/containers/{container}/stats") as reply:
            assert (await reply.json())["memory_bytes"] > 0
        async with session.get(f"/v1/containers/{container}/logs") as reply:
            assert reply.status == 200
        async with session.post("/v1/leases", json={"wait_s": 30, "owner": "me"}) as reply:
            assert reply.status == 201
        waiting = asyncio.create_task(session.post("/v1/leases", json={"wait_s": 60, "owner": "me", "request_id": "w"}))

        async def queued() -> bool:
            async with session.get("/v1/pools/browsers/queue") as reply:
                return [entry["request_id"] for entry in (await reply.json())["queue"]] == ["w"]

        await eventually(queued)
        process.send_signal(signal.SIGTERM)
        async with await waiting as reply:
            told = await reply.json()
    await asyncio.wait_for(process.communicate(), 60)

    assert (reply.status, told["code"]) == (503, "shutting_down")
    assert process.returncode == 0
