"""A server that logs all it can, and a client that uses it in every way that involves a secret.

It is a process of its own, since logging is a process's own: `python -m tests.talkative REDIS_URL FORMAT`. Its log goes
to stderr; stdout has the secrets that must not be in it, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from pool.telemetry import configure_logging
from tests.support_access import Site, open_site

FORGED = "2026-01-01T00:00:00Z [info     ] lease.granted owner=forged"


async def use(site: Site) -> list[str]:
    """Ask, hold, fail and guess; return the secrets that were involved."""
    boss, ci = await site.token("boss", role="operator"), await site.token("ci", owner="ci")
    _, lease = await site.lease(ci)
    _, other = await site.lease(ci, metadata={"note": "fine"})
    token, ref = lease["token"], str(site.ref(lease["token"]))
    cookie, guess, secret = "sid=C" + "c" * 30, "cpt_0123456789ab_" + "G" * 43, ref.rpartition("/")[2]

    async def raw(text: str) -> None:
        host, port = site.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(text.encode())
        await writer.drain()
        await asyncio.wait_for(reader.read(100), 5)
        writer.close()

    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: site.ask("GET", f"/v1/leases/{lease['id']}", token=token),
        lambda: site.ask("POST", f"/v1/leases/{lease['id']}/heartbeat", token=token),
        lambda: site.ask("POST", f"/v1/leases/{other['id']}/heartbeat", token=token),
        lambda: site.ask("POST", "/v1/heartbeats", token=ci, json={"tokens": [token, "cpl_" + "x" * 40]}),
        lambda: site.ask("POST", f"/v1/leases/{lease['id']}/extend", token=token, json={"seconds": 1, "reason": token}),
        lambda: site.ask("GET", f"/c/{token}/mcp?x={token}", headers={"Cookie": cookie}),
        lambda: site.ask("GET", f"/c/{token.replace('_', '%5F')}/mcp"),
        lambda: site.ask("GET", f"/c/{token}/_port/1/x", headers={"Referer": f"{site.url}/c/{token}/"}),
        lambda: site.ask("GET", f"/nothing/{token}/{ref}"),
        lambda: site.ask("GET", f"/v1/pools/{token}", token=boss),
        lambda: site.ask("GET", "/v1/pools", token=guess),
        lambda: site.ask("GET", f"/v1/pools?token={boss}", headers={"Cookie": f"token={boss}"}),
        lambda: site.lease(ci, owner=token, metadata={"token": token}),
        lambda: site.lease(boss, request_id=token[:60], owner=token),
        lambda: site.ask("POST", "/v1/containers/b/quarantine", token=boss, json={"reason": f"leaked {boss}"}),
        lambda: site.ask("GET", "/healthz", headers={"X-Request-Id": boss}),
        lambda: site.ask("GET", "/healthz", headers={"Host": f"{boss}.evil"}),
        lambda: raw(f"GET /{token} HTTP/1.1\r\nHost: localhost\r\nAuthorization Bearer {boss}\r\n\r\n"),
        lambda: raw(f"GET /healthz HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer\x00{boss}\r\n\r\n"),
        lambda: raw(f"GET /healthz\r\n{FORGED}\x1b[2J HTTP/9.9\r\n\r\n"),
        lambda: site.ask("GET", f"/nothing/%0a{FORGED.replace(' ', '%20')}%1b%5b2J%E2%80%A8x"),
        lambda: site.lease(boss, owner=f"x\n{FORGED}\x1b[2J"),
        lambda: site.ask("DELETE", f"/v1/leases/{lease['id']}", token=token),
        lambda: site.ask("DELETE", f"/v1/leases/{lease['id']}", token=token),
    ]
    for call in calls:
        try:
            await call()
        except (aiohttp.ClientError, TimeoutError):
            logging.getLogger("test").exception("the client failed")
    logging.getLogger("test").error("what is known: %s, %s, %s", token, ref, {"Authorization": boss, "Cookie": cookie})
    return [boss, ci, guess, token, other["token"], secret, cookie]


async def main(redis_url: str, fmt: str) -> None:
    configure_logging("json" if fmt == "json" else "text", verbose=True)
    logging.getLogger().setLevel(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    async with open_site(redis_url, "a", "b", http={"auth_failures_per_minute": 100_000}) as site:
        secrets = await use(site)
        found = await dumped(site)
    print(json.dumps({"secrets": secrets, "redis": found}))


async def dumped(site: Site) -> str:
    """All streams in Redis, where events and audits are."""
    async with site.connection.plain() as redis:
        keys = [key async for key in redis.scan_iter("cp:*", _type="stream")]
        return "".join([str(await redis.xrange(key)) for key in keys])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
