"""The benchmark over HTTP: every figure beside bare Redis, and beside a handler that does nothing, in the same run."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp

from pool.bench.allocation import Floor
from pool.bench.rows import Goal, Row, timed
from pool.bench.stage import fake_pool, on_server, partner
from pool.client import AsyncClient
from pool.models import ContainerInfo, LeaseRef
from pool.reach import GatewayRules
from pool.store import LIVENESS_S, Connection, PoolStore

#: Downloads through the gateway: they take long, so fewer of them tell as much.
_DOWNLOADS = 10
_MUCH_MB = 16

Tell = Callable[[str], object]


def run_http(*, url: str | None = None, rounds: int = 1000, tell: Tell = lambda _: None) -> list[Row]:
    """Measure acquire, heartbeat and release over HTTP, and the gateway. Blocks.

    Args:
        url: The Redis to measure on; a private one, gone afterwards, by default.
        rounds: How often each is measured.
        tell: Called with what is being measured.

    Raises:
        StoreError: The Redis cannot be used, or none could be started.
        PoolError: The server's process failed.
    """

    async def measure(address: str, connection: Connection) -> list[Row]:
        async with partner(address, module="pool.bench.http_partner") as other, aiohttp.ClientSession() as session:
            where = await other.next()
            tell("acquire, heartbeat and release")
            rows = await _leases(address, connection, session, where, rounds)
            tell("the gateway")
            return rows + await _gateway(connection, session, where, rounds)

    return on_server(url, measure)


class _Times:
    """Times by what was done, in milliseconds."""

    def __init__(self) -> None:
        self.taken: dict[str, list[float]] = {}

    async def of(self, name: str, work: Awaitable[Any]) -> Any:
        """Do something, and note how long it took; returns what it returns."""
        begun = time.perf_counter()
        result = await work
        self.taken.setdefault(name, []).append((time.perf_counter() - begun) * 1e3)
        return result

    def forget(self) -> None:
        """Begin anew: what was taken until now was to warm up."""
        self.taken.clear()


async def _call(session: aiohttp.ClientSession, method: str, url: str, token: str = "", **options: Any) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with session.request(method, url, headers=headers, **options) as response:
        response.raise_for_status()
        return await response.json() if response.content_type == "application/json" else await response.read()


async def _leases(
    url: str, connection: Connection, session: aiohttp.ClientSession, where: dict[str, Any], rounds: int
) -> list[Row]:
    api, empty = where["api"], f"http://127.0.0.1:{where['port']}/"
    floor, times = Floor(connection), _Times()
    await floor.load()
    async with fake_pool(connection, 1) as store, AsyncClient(url) as direct, AsyncClient(api) as client:
        warm_up = max(rounds // 20, 1)
        for number in range(rounds + warm_up):
            if number == warm_up:
                times.forget()
            times.taken.setdefault("floor", []).append(await floor.measure_ms())
            await times.of("empty", _call(session, "POST", empty, json={}))
            lease = await times.of("acquire direct", direct.acquire(store.pool))
            await times.of("heartbeat direct", _beat(store, lease.data.proof))
            await lease.release()
            taken = await times.of("acquire", _call(session, "POST", f"{api}/v1/leases", json={"pool": store.pool}))
            path, token = f"{api}/v1/leases/{taken['id']}", taken["token"]
            await times.of("heartbeat", _call(session, "POST", f"{path}/heartbeat", token))
            await times.of("heartbeats", _call(session, "POST", f"{api}/v1/heartbeats", json={"tokens": [token]}))
            await times.of("release", _call(session, "DELETE", path, token))
            lease = await times.of("client", client.acquire(store.pool))
            await lease.release()
    took, bare = times.taken, times.taken["floor"]
    return [
        timed("EVALSHA return 1", bare),
        timed("empty aiohttp handler", took["empty"], bare),
        timed("acquire, redis://", took["acquire direct"], bare),
        timed("acquire, over HTTP", took["acquire"], bare, goal=Goal.at_most(4)),
        timed("acquire, over HTTP ÷ empty handler", took["acquire"], took["empty"]),
        timed("acquire, pool.connect(http://)", took["client"], bare),
        timed("heartbeat, redis://", took["heartbeat direct"], bare),
        timed("heartbeat, over HTTP", took["heartbeat"], bare),
        timed("heartbeats, over HTTP", took["heartbeats"], bare),
        timed("release, over HTTP", took["release"], bare),
    ]


async def _beat(store: PoolStore, ref: LeaseRef) -> None:
    await store.heartbeat("bench", [(ref.request_id, ref.fence, ref.token)], liveness_s=LIVENESS_S)


@asynccontextmanager
async def _leased(connection: Connection, port: int) -> AsyncIterator[PoolStore]:
    """A pool whose one container is a plain server, reached through the gateway."""
    async with fake_pool(connection, 1) as store:
        rules = GatewayRules("http", "target", "target", connections=10, connect_timeout_s=5, sandbox=False)
        [record] = (await store.status()).containers
        info = ContainerInfo(record.id, record.info.name, "127.0.0.1", {port: port}, f"http://127.0.0.1:{port}")
        await store.register(replace(info, gateway=rules), spec="none")
        yield store


async def _gateway(
    connection: Connection, session: aiohttp.ClientSession, where: dict[str, Any], rounds: int
) -> list[Row]:
    times = _Times()
    straight = f"http://127.0.0.1:{where['port']}"
    async with _leased(connection, where["port"]) as store:
        lease = await _call(session, "POST", f"{where['api']}/v1/leases", json={"pool": store.pool, "ttl_s": 3600})
        through = lease["gateway_url"]
        for number in range(rounds + 1):
            if number == 1:
                times.forget()
            await times.of("straight", _call(session, "GET", f"{straight}/"))
            await times.of("through", _call(session, "GET", f"{through}/"))
        for _ in range(min(_DOWNLOADS, rounds)):
            await times.of("much straight", _call(session, "GET", f"{straight}/much"))
            await times.of("much through", _call(session, "GET", f"{through}/much"))
        await _call(session, "DELETE", f"{where['api']}/v1/leases/{lease['id']}", lease["token"])
    took = times.taken
    rate = _MUCH_MB * 1e3 / sorted(took["much through"])[len(took["much through"]) // 2]
    return [
        timed("GET through the gateway ÷ straight", took["through"], took["straight"]),
        timed(f"{_MUCH_MB} MB through it, {rate:,.0f} MB/s, ÷ straight", took["much through"], took["much straight"]),
    ]
