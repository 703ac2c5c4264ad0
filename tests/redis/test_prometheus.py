"""A real Prometheus with the committed configuration sees what happens to a live pool: alerts fire, and clear."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pool.errors import PortTaken
from pool.models import ResetLevel
from tests.support import eventually
from tests.support_api import Api, serving
from tests.support_manager import MakeBench, make_bench, running
from tests.support_prometheus import RUNBOOK, Prometheus, prometheus
from tests.support_redis import one_server

__all__ = ["make_bench"]

pytestmark = pytest.mark.long

#: Scrapes and looks at the rules come by the second, on a machine that may be busy with other tests.
PATIENCE_S = 60


def address(api: Api) -> str:
    return api.server.url.removeprefix("http://")


async def fires(server: Prometheus, name: str, **labels: str) -> bool:
    return name in await server.firing(**labels)


async def clear(server: Prometheus, name: str, **labels: str) -> bool:
    return name not in await server.firing(**labels)


async def test_a_pool_that_is_full_raises_an_alert_until_something_is_given_back(
    redis_url: str, make_bench: MakeBench, tmp_path: Path
) -> None:
    async with (
        running(make_bench) as bench,
        serving(redis_url, config=bench.config) as api,
        serving(redis_url, config=bench.config) as other,
        prometheus(tmp_path) as server,
    ):
        pool = bench.pool
        server.scrape(address(api), address(other))

        async def known() -> bool:
            return await server.values(f'pool:pool_places:max{{pool="{pool}"}}') == [2]

        await eventually(known, deadline_s=PATIENCE_S)
        assert await server.firing(pool=pool) == {}

        held = [await bench.client.acquire(pool) for _ in range(2)]
        third = asyncio.create_task(bench.client.acquire(pool, wait_s=120))
        await eventually(lambda: fires(server, "PoolExhausted", pool=pool), deadline_s=PATIENCE_S)
        alerts = await server.firing(pool=pool)
        await held[0].release()
        held[0] = await third
        await eventually(lambda: clear(server, "PoolExhausted", pool=pool), deadline_s=PATIENCE_S)
        for lease in held:
            await lease.release()

    alert = alerts.pop("PoolExhausted")
    assert alerts == {}
    assert alert["labels"] == {
        "alertname": "PoolExhausted", "job": "containerpool", "pool": pool, "severity": "warning",
    }  # fmt: skip
    assert float(alert["value"]) == 1
    assert pool in alert["annotations"]["summary"]
    assert alert["annotations"]["runbook_url"] == RUNBOOK.replace("ALERT", "PoolExhausted")


async def test_a_container_that_gives_up_is_told_of_and_not_one_put_aside_nor_in_a_drained_pool(
    redis_url: str, make_bench: MakeBench, tmp_path: Path
) -> None:
    async with (
        running(make_bench, reset={"quarantine_after": 1}) as bench,
        serving(redis_url, config=bench.config) as api,
        prometheus(tmp_path) as server,
    ):
        pool, quarantined = bench.pool, f'pool_containers{{pool="{bench.pool}", state="quarantined"}}'
        server.scrape(address(api))
        bench.runtime.fail_next("create", PortTaken("port 1 is taken"))
        await bench.client.reset(pool, f"{pool}-1", level=ResetLevel.RECREATE)
        await bench.client.quarantine(pool, f"{pool}-2", reason="a look at it")

        await eventually(lambda: _is(server, quarantined, 2), deadline_s=PATIENCE_S)
        await eventually(lambda: fires(server, "PoolOutOfService", pool=pool), deadline_s=PATIENCE_S)
        await eventually(lambda: fires(server, "PoolContainerQuarantined", pool=pool), deadline_s=PATIENCE_S)
        aside = await server.firing(container=f"{pool}-2")
        alerts = await server.firing(pool=pool)
        await bench.client.drain(pool)
        await eventually(lambda: _is(server, f'count(ALERTS{{pool="{pool}"}}) or vector(0)', 0), deadline_s=PATIENCE_S)

    assert aside == {}
    assert set(alerts) == {"PoolOutOfService", "PoolContainerQuarantined"}
    assert alerts["PoolContainerQuarantined"]["labels"]["container"] == f"{pool}-1"
    assert "resets failed (1 in a row)" in alerts["PoolContainerQuarantined"]["annotations"]["description"]


async def test_redis_and_the_server_itself_are_missed_while_they_are_away_and_no_longer(tmp_path: Path) -> None:
    async with one_server() as redis, prometheus(tmp_path, interval_s=3) as server:
        async with serving(f"redis://{redis.address}") as api:
            server.scrape(address(api))
            await eventually(lambda: _is(server, "pool_redis_up", 1), deadline_s=PATIENCE_S)

            await redis.kill()
            await eventually(lambda: fires(server, "PoolRedisAway"), deadline_s=PATIENCE_S)
            while_away = await server.firing()
            await redis.start()
            await eventually(lambda: clear(server, "PoolRedisAway"), deadline_s=PATIENCE_S)

        await eventually(lambda: fires(server, "PoolServerDown"), deadline_s=PATIENCE_S)

    assert float(while_away["PoolRedisAway"]["value"]) == 1
    assert while_away["PoolRedisAway"]["labels"]["severity"] == "critical"


async def _is(server: Prometheus, query: str, value: float) -> bool:
    return await server.values(query) == [value]
