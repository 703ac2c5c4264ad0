"""A pool's past over HTTP and in the terminal: the same figures, from the same hours."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from pool.analytics import read_history
from pool.analytics.counting import count_event
from pool.analytics.folding import pack
from pool.api.schemas import Analytics
from pool.cli.plots import bar, sparkline, week_map
from pool.models import Event
from pool.store import HOUR_S, HistoryStore, PoolStore, add_fields, hour_of
from tests.clients import api_server
from tests.poolctl import Poolctl
from tests.redis.test_analytics import RULES, add
from tests.support import open_pool
from tests.support_access import open_site, own_redis, redis_of_module
from tests.support_api import serving

__all__ = ["redis_of_module"]

pytestmark = pytest.mark.long

#: Names are whatever users say.
BOB = "bob [red]\x1b[31m"
VIEWS = ("hour", "weekday-hour", "priority", "owner", "container", "duration")


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[PoolStore]:
    """A pool with thirty busy hours before this one; 40 hours ago is before them, however late it gets meanwhile."""
    async with open_pool(redis_url, "a-1", "a-2") as store:
        now = hour_of((await store.status()).at)
        for hour in range(now - 30, now):
            await add_hour(store, hour)
        yield store


async def add_hour(store: PoolStore, hour: int) -> None:
    """An hour of four requests, of one that waited a minute, and of three leases, of which one failed."""
    fields: dict[str, float] = {"watched": HOUR_S, "places": 2 * HOUR_S, "state|allocated": HOUR_S}
    fields |= {"state|available": HOUR_S, "queued": 60, "^queue": 1, "^container|memory|a-1": 300.5}
    events = [_event("lease.granted", priority=0, waited_us=0, new=1, owner="alice") for _ in range(3)]
    events += [_event("request.queued", priority=2, new=1, owner=BOB)]
    events += [_event("lease.granted", priority=2, waited_us=60_000_000, new=0, owner=BOB)]
    for owner, outcome, held_s in (
        ("alice", "passed", 30),
        ("alice", "failed", 200),
        (BOB, "passed", 3),
    ):
        events.append(
            _event("lease.released", owner=owner, container="a-1", outcome=outcome, held_us=held_s * 1_000_000)
        )
    for event in events:
        add_fields(fields, count_event(event))
    await add(store, hour, ())
    async with store.connection.plain() as redis:
        await redis.hset(f"cp:{{{store.pool}}}:hours", str(hour), pack(fields, owners=50))


def _event(kind: str, **facts: object) -> Event:
    return Event("1-0", 0, kind, {name: str(value) for name, value in facts.items()})


# Over HTTP


async def test_the_figures_are_told_as_the_document_describes_them(redis_url: str, store: PoolStore) -> None:
    async with serving(redis_url) as api:
        reply = await api.call("GET", f"/v1/analytics?pool={store.pool}&since=40h")

    assert reply.status == 200, reply.text
    [past] = Analytics.model_validate(reply.body).pools
    assert (past.summary.requests, past.summary.leases, len(past.hours)) == (4 * 30, 3 * 30, 30)
    assert (past.summary.utilisation, past.summary.failure_rate) == (0.5, 0.3333)
    assert past.summary.wait_s.p50 == 0
    assert past.summary.wait_s.max == 60
    assert past.by_priority["critical"].requests == 3 * 30
    assert {row.owner: row.failed for row in past.owners} == {"alice": 30, BOB: 0}
    assert past.failures == {"timeout": 0, "resource": 0, "system": 0, "test": 30}
    assert sum(row.leases for row in past.by_duration) == 3 * 30
    assert past.containers[0].memory_peak_mb == 300.5


async def test_the_hour_in_progress_is_among_them(redis_url: str, store: PoolStore) -> None:
    now = hour_of((await store.status()).at)
    await add(store, now, [_event("lease.released", owner="o", outcome="error", held_us=5)])

    async with serving(redis_url) as api:
        [past] = (await api.call("GET", "/v1/analytics?since=40h")).body["pools"]

    assert past["hours"][-1]["leases"] == 1
    assert past["failures"]["system"] == 1


async def test_owners_are_listed_by_pattern(redis_url: str, store: PoolStore) -> None:
    async with serving(redis_url) as api:
        [past] = (await api.call("GET", "/v1/analytics?owner=al*&since=40h")).body["pools"]

    assert [row["owner"] for row in past["owners"]] == ["alice"]
    assert past["summary"]["leases"] == 3 * 30


@pytest.mark.parametrize("since", ["", "soon", "5w", "-1h", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "1h2"])
async def test_a_time_that_is_none_is_refused_by_name(redis_url: str, store: PoolStore, since: str) -> None:
    async with serving(redis_url) as api:
        reply = await api.call("GET", f"/v1/analytics?since={since}")

    assert (reply.status, reply.body["field"]) == (422, "since")


async def test_an_unknown_pool_is_said_to_be_unknown(redis_url: str) -> None:
    async with serving(redis_url) as api:
        reply = await api.call("GET", "/v1/analytics?pool=nobody")

    assert (reply.status, reply.body["code"]) == (404, "pool_unknown")


async def test_only_operators_read_the_past() -> None:
    async with own_redis() as url, open_site(url, "a-1") as site:
        client, operator = await site.token("client"), await site.token("op", role="operator")

        refused, _ = await site.ask("GET", "/v1/analytics", token=client)
        status, body = await site.ask("GET", "/v1/analytics", token=operator)

    assert refused == 403
    assert (status, [past["pool"] for past in body["pools"]]) == (200, [site.pool])


# In the terminal


async def test_redis_and_a_server_tell_the_same(poolctl: Poolctl, redis_url: str, store: PoolStore) -> None:
    async with api_server(redis_url) as server:
        for words in (("--json",), (), ("--by", "owner"), ("--since", "3h", "--by", "hour")):
            direct = await poolctl("analytics", store.pool, *words)
            over_http = await poolctl("analytics", store.pool, *words, "--url", server.url)

            assert (direct.code, direct.err) == (over_http.code, over_http.err) == (0, "")
            if words == ("--json",):
                [one], [other] = (json.loads(each.out)["pools"] for each in (direct, over_http))
                assert {**one, "until": ""} == {**other, "until": ""}
            else:
                assert over_http.out.splitlines()[1:] == direct.out.splitlines()[1:]


@pytest.mark.parametrize("by", ["", *VIEWS])
async def test_every_view_fits_eighty_columns_and_steers_no_terminal(
    poolctl: Poolctl, store: PoolStore, by: str
) -> None:
    poolctl.environment |= {"COLUMNS": "80", "NO_COLOR": "1"}

    shown = await poolctl("analytics", store.pool, *(["--by", by] if by else []))

    assert (shown.code, shown.err) == (0, "")
    assert max(len(line) for line in shown.out.splitlines()) <= 80
    assert "\x1b" not in shown.out
    assert store.pool in shown.out


async def test_the_overview_tells_what_matters_most(poolctl: Poolctl, store: PoolStore) -> None:
    shown = (await poolctl("analytics", "--since", "40h")).out

    assert "120 requests, 90 leases used, 33.3 % of them failed" in shown
    assert "in use 50 %" in shown
    assert "failures: timeout 0, resource 0, system 0, test 30" in shown


async def test_a_pool_of_which_nothing_is_known_is_shown_too(poolctl: Poolctl, redis_url: str) -> None:
    async with open_pool(redis_url) as empty:
        for by in ("", *VIEWS):
            shown = await poolctl("analytics", empty.pool, *(["--by", by] if by else []))

            assert (shown.code, shown.err) == (0, "")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--by", "colour"), "by: 'colour' is not allowed; use one of hour"),
        (("--since", "soon"), "since: 'soon' is not allowed"),
        (("nobody",), "nobody"),
    ],
)
async def test_a_mistake_is_named(poolctl: Poolctl, redis_url: str, words: tuple[str, ...], complaint: str) -> None:
    refused = await poolctl("analytics", *words)

    assert refused.code == 2
    assert complaint in " ".join(refused.err.split())


async def test_a_time_long_before_the_epoch_is_its_beginning(poolctl: Poolctl, store: PoolStore) -> None:
    shown = await poolctl("analytics", store.pool, "--since", "99999999d", "--json")

    assert shown.code == 0, shown.err
    assert json.loads(shown.out)["pools"][0]["since"] == "1970-01-01T00:00:00.000Z"


# Reading while somebody rolls up


async def test_an_hour_that_is_rolled_up_while_it_is_read_counts_once(
    redis_url: str, store: PoolStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = (await store.status()).at
    hour = hour_of(at) - 40
    await add(store, hour, [_event("lease.released", owner="o", outcome="passed", held_us=5)])
    real = HistoryStore.entries

    async def late(self: HistoryStore, first: int, last: int) -> dict[int, str]:
        if live := await self.live(hour):
            await self.roll(hour, live.turn, pack(live.values, owners=5), RULES)
        return await real(self, first, last)

    monkeypatch.setattr(HistoryStore, "entries", late)

    found = await read_history(store.connection, store.pool, since=hour * HOUR_S, until=hour * HOUR_S + 10)

    assert [span.leases for span in found.hours] == [1]


# Plots


def test_bars_tell_shares() -> None:
    assert [bar(share, 4).plain for share in (0.0, 0.05, 0.5, 1.0, 7.0, None)] == ["", "", "██", "████", "████", ""]


def test_a_line_of_bars_keeps_to_its_room_and_tells_nothing_from_unknown() -> None:
    line = sparkline([0.0, None, *([1.0] * 98)], most=1.0, room=50).plain

    assert len(line) == 50
    assert sparkline([0.0, None, 0.5, 1.0], most=1.0, room=50).plain == "▁·▄█"
    assert sparkline([0.0, 0.0], most=0.0, room=50).plain == "▁▁"


def test_a_week_is_seven_lines_of_twenty_four_hours() -> None:
    lines = week_map("use", [None] * 24 + [0.0] * 24 + [100.0] * 24 + [1.0] * 96, most=100).plain.splitlines()

    assert lines[2] == "Mon  " + "·" * 48
    assert lines[3] == "Tue"
    assert lines[4] == "Wed  " + "█" * 48
    assert lines[5] == "Thu  " + "░" * 48
    assert len(lines) == 10
