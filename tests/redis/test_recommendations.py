"""What a pool's past says, wherever it is asked for: the same from the API, in the terminal and to the doctor."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from pool.analytics import read_history
from pool.analytics.counting import count_event
from pool.analytics.folding import pack
from pool.api.schemas import Analytics
from pool.config import PoolOptions
from pool.models import Event
from pool.recommendations import recommend
from pool.setups import Setup
from pool.store import HOUR_S, PoolSettings, PoolStore, add_fields, hour_of
from tests.clients import api_server
from tests.poolctl import Poolctl
from tests.redis.test_analytics import add
from tests.support import open_pool
from tests.support_access import redis_of_module
from tests.support_api import serving

__all__ = ["redis_of_module"]

_TITLE = "50% of the leases did not pass: 120 of 240"


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[PoolStore]:
    """A pool in whose last hours every other lease failed for another reason than its test."""
    async with open_pool(redis_url, "a-1", "a-2", size=2) as store:
        now = hour_of((await store.status()).at)
        for hour in range(now - 12, now):
            await _add_hour(store, hour)
        yield store


async def _add_hour(store: PoolStore, hour: int) -> None:
    fields: dict[str, float] = {"watched": HOUR_S, "places": 2 * HOUR_S, "state|allocated": 400}
    fields |= {"state|available": 2 * HOUR_S - 400}
    for n in range(20):
        granted = {"priority": 2, "waited_us": 0, "new": 1, "owner": "alice"}
        ended = {"owner": "alice", "container": "a-1", "outcome": ("passed", "error")[n % 2], "held_us": 20_000_000}
        for kind, facts in (("lease.granted", granted), ("lease.released", ended)):
            add_fields(fields, count_event(Event("1-0", 0, kind, {name: str(each) for name, each in facts.items()})))
    await add(store, hour, ())
    async with store.connection.plain() as redis:
        await redis.hset(f"cp:{{{store.pool}}}:hours", str(hour), pack(fields, owners=50))


async def test_the_api_gives_what_follows_from_the_hours(redis_url: str, store: PoolStore) -> None:
    async with serving(redis_url) as api:
        reply = await api.call("GET", f"/v1/analytics?pool={store.pool}&since=24h")
    [past] = Analytics.model_validate(reply.body).pools
    at = (await store.status()).at
    history = await read_history(store.connection, store.pool, since=at - 24 * HOUR_S, until=at)

    expected = recommend(history.hours, await store.setup())

    assert [advice.code for advice in expected] == ["failure_rate_high", "time_wasted"]
    assert [advice.model_dump() for advice in past.recommendations] == [advice.to_json() for advice in expected]


async def test_the_terminal_shows_them_and_on_demand_why(poolctl: Poolctl, redis_url: str, store: PoolStore) -> None:
    poolctl.environment |= {"COLUMNS": "80", "NO_COLOR": "1"}

    overview = await poolctl("analytics", store.pool)
    alone = await poolctl("analytics", store.pool, "--by", "advice")

    assert f"critical: {_TITLE}" in overview.out
    assert "`poolctl evidence list`" in " ".join(overview.out.split())
    assert "failure_rate_high: failed 120, leases 240, failure_rate 0.5" in " ".join(alone.out.split())
    assert "saves up to 40 min of containers' time" in alone.out
    assert max(len(line) for line in alone.out.splitlines()) <= 80
    async with api_server(redis_url) as server:
        over_http = await poolctl("analytics", store.pool, "--by", "advice", "--url", server.url)
    assert over_http.out.splitlines()[1:] == alone.out.splitlines()[1:]


async def test_a_pool_that_gives_no_cause_is_said_to_give_none(poolctl: Poolctl, redis_url: str) -> None:
    async with open_pool(redis_url, "b-1") as quiet:
        shown = await poolctl("analytics", quiet.pool, "--by", "advice")

    assert "nothing to do, or too little is known" in shown.out


async def test_the_doctor_warns_of_the_critical_ones(poolctl: Poolctl, store: PoolStore) -> None:
    findings = {check["check"]: check for check in json.loads((await poolctl("doctor", "--json")).out)["checks"]}

    found = findings[f"pool.{store.pool}.failure_rate_high"]

    assert found["verdict"] == "warn"
    assert found["seen"].startswith(_TITLE)
    assert f"pool.{store.pool}.time_wasted" not in findings


async def test_the_set_up_is_what_the_pool_was_opened_with(store: PoolStore) -> None:
    options = PoolOptions.model_validate({"size": 3, "spares": 1, "container": {"image": "i"}, "health": {"tcp": None}})

    await store.open(PoolSettings.of(options), "later")

    assert await store.setup() == Setup.of(options)


async def test_of_a_pool_that_an_older_manager_opened_the_set_up_is_unknown(store: PoolStore) -> None:
    async with store.connection.plain() as redis:
        await redis.hdel(f"cp:{{{store.pool}}}:meta", "setup")

    assert await store.setup() == Setup()
