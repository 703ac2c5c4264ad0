"""A real Prometheus answers every query of the dashboard, about a live pool with two servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import eventually
from tests.support_api import serving
from tests.support_grafana import QUERIES, plain
from tests.support_manager import MakeBench, make_bench, running
from tests.support_prometheus import prometheus

__all__ = ["make_bench"]

pytestmark = pytest.mark.long


async def test_every_panel_has_an_answer_and_two_servers_do_not_double_it(
    redis_url: str, make_bench: MakeBench, tmp_path: Path
) -> None:
    async with (
        running(make_bench) as bench,
        serving(redis_url, config=bench.config) as api,
        serving(redis_url, config=bench.config) as other,
        prometheus(tmp_path) as server,
    ):
        server.scrape(*(each.server.url.removeprefix("http://") for each in (api, other)))
        async with await bench.client.acquire(bench.pool):
            pass
        await eventually(bench.all_available)

        async def counted() -> bool:
            query = f'pool_leases_total{{pool="{bench.pool}",outcome="passed"}}'
            return await server.values(query) == [1, 1] and await server.values("min(pool_redis_up)") == [1]

        async def settled() -> bool:
            return await ask("Available A") == [2]

        async def ask(panel: str) -> list[float]:
            return await server.values(plain(QUERIES[panel], bench.pool))

        await eventually(counted, deadline_s=60)
        await eventually(settled, deadline_s=60)
        answers = {panel: await ask(panel) for panel in QUERIES}  # one that it cannot evaluate is refused

    assert answers["Manager A"] == answers["Redis A"] == [1]
    assert answers["Waiting A"] == answers["Quarantined A"] == [0]
    assert sum(answers["Containers by state A"]) == 2
    assert answers["State A"] == [0, 0]  # both available
    assert len(answers["Memory of the servers A"]) == 2
    assert answers["Use A"] == [0]
