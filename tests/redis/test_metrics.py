"""Metrics of real leases and resets: each event counts once, whoever counts, and a scrape tells what there is."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Mapping, Sequence

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from pool.errors import StoreUnavailable
from pool.metrics import Bookkeeper
from pool.models import LeaseRef, Outcome, State
from pool.observed import Sample
from pool.store import MetricsStore, Observation, PoolStore, find_orphans
from tests.redis.test_gateway_sockets import Talker
from tests.redis.test_leases import container, lease_of
from tests.support import Clock, add_available, eventually, open_pool, pool_config, wish
from tests.support_access import open_site, own_redis
from tests.support_api import Api, serving
from tests.support_gateway import gateway_bench
from tests.support_gateway import serving as container_of
from tests.support_manager import Bench, MakeBench, make_bench, running, when
from tests.support_redis import Server

__all__ = ["make_bench"]

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
#: A sample: its name, and its labels as they are sorted by name.
Key = tuple[str, tuple[tuple[str, str], ...]]


def parsed(text: str) -> dict[Key, float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in read_text(text)
        for sample in metric.samples
    }


def key(name: str, **labels: str) -> Key:
    return name, tuple(sorted(labels.items()))


async def scrape(api: Api, **options: str) -> dict[Key, float]:
    reply = await api.call("GET", "/metrics", **options)
    assert reply.status == 200, reply.text
    return parsed(reply.text)


async def counted(store: PoolStore) -> Mapping[str, int]:
    return (await MetricsStore(store.connection, store.pool).read()).values


# Counting


async def one_of_each_end(store: PoolStore, clock: Clock) -> None:
    """A lease that passes, one that fails, one that expires, a grant that nobody fetches, a wait that ends in vain."""
    await add_available(store, "a")
    for request, outcome in (("r1", Outcome.PASSED), ("r2", Outcome.FAILED)):
        lease = await lease_of(store, request)
        clock.advance(3)
        await store.release(LeaseRef.parse(lease.ref), outcome)
        await add_available(store, "a")
    await lease_of(store, "r3")
    await store.acquire(wish("r4", wait_s=299.0))
    await store.acquire(wish("r5", wait_s=30.0))
    clock.advance(40)
    await store.heartbeat("process", [], liveness_s=1000)
    assert await store.reap() == (1, 0, 1)
    assert await store.transition(await container(store), State.AVAILABLE)
    clock.advance(60)
    assert await store.reap() == (0, 1, 0)


async def test_every_end_of_a_lease_counts_as_what_it_was(store: PoolStore, clock: Clock) -> None:
    await one_of_each_end(store, clock)

    await Bookkeeper(store.connection, store.pool).look()

    values = await counted(store)
    ends = {name.split("|")[1]: n for name, n in values.items() if name.startswith("pool_leases_total")}
    assert ends == {"passed": 1, "failed": 1, "expired": 1, "unconfirmed": 1}
    assert values["pool_lease_expirations_total|heartbeat"] == 1
    assert values["pool_requests_unserved_total|timed_out"] == 1
    assert sum(n for name, n in values.items() if re.fullmatch(r"pool_lease_duration_seconds\|[\d.]+", name)) == 3
    assert 40e6 <= values["pool_acquire_wait_seconds|normal|sum"] < 41e6
    assert values["pool_events_total|lease.granted"] == 4


async def test_two_that_count_at_once_count_each_event_once(store: PoolStore, clock: Clock) -> None:
    first, second = Bookkeeper(store.connection, store.pool), Bookkeeper(store.connection, store.pool)
    await add_available(store, "a")
    for n in range(30):
        lease = await lease_of(store, f"r{n}")
        looks = asyncio.gather(*(each.look() for each in (first, second, first)))
        await store.release(LeaseRef.parse(lease.ref), Outcome.PASSED)
        await looks
        await add_available(store, "a")
    await first.look()
    await second.look()

    assert (await counted(store))["pool_leases_total|passed"] == 30


async def test_more_events_than_one_step_reads_all_count(store: PoolStore) -> None:
    for n in range(1203):
        await store.tell("container.evidence", {"evidence": str(n)})

    await Bookkeeper(store.connection, store.pool).look()

    assert (await counted(store))["pool_events_total|container.evidence"] == 1203


async def test_an_addition_whose_reply_was_lost_is_not_made_again(
    store: PoolStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = Bookkeeper(store.connection, store.pool)
    await store.tell("container.evidence", {})
    books.note("pool_health_checks_total", "tcp", "passed")
    real = MetricsStore.count

    async def deaf(self: MetricsStore, *words: str, **values: object) -> bool:
        await real(self, *words, **values)  # type: ignore[arg-type]
        raise StoreUnavailable("the reply was lost")

    monkeypatch.setattr(MetricsStore, "count", deaf)
    with pytest.raises(StoreUnavailable):
        await books.look()
    monkeypatch.setattr(MetricsStore, "count", real)
    await books.look()
    books.note("pool_health_checks_total", "tcp", "passed")
    await books.look()

    values = await counted(store)
    assert values["pool_events_total|container.evidence"] == 1
    assert values["pool_health_checks_total|tcp|passed"] == 2


async def test_the_same_addition_sent_twice_is_made_once(store: PoolStore) -> None:
    metrics = MetricsStore(store.connection, store.pool)

    first = await metrics.count("", "t1", seen="1-0", added={"x": 2})
    again = await metrics.count("", "t1", seen="1-0", added={"x": 2})
    other = await metrics.count("", "t2", seen="2-0", added={"x": 2})

    assert (first, again, other) == (True, True, False)
    assert (await metrics.read()).values == {"x": 2}
    assert (await metrics.position()).seen == "1-0"


async def test_events_that_were_trimmed_before_they_were_counted_are_told_of(store: PoolStore) -> None:
    books = Bookkeeper(store.connection, store.pool)
    await store.tell("container.evidence", {})
    await books.look()
    async with store.connection.plain() as redis:
        await redis.xtrim(f"cp:{{{store.pool}}}:events", maxlen=0, approximate=False)
    await store.tell("container.evidence", {})

    await books.look()
    await books.look()

    assert (await counted(store))["pool_event_gaps_total"] == 1


async def test_counters_outlive_their_pool_for_a_while_and_are_no_garbage(store: PoolStore) -> None:
    await Bookkeeper(store.connection, store.pool).look()

    await store.forget()

    assert (await counted(store))["pool_events_total|pool.created"] == 1
    assert store.pool not in await find_orphans(store.connection)


# Under a manager


async def clean_resets(bench: Bench, api: Api, **labels: str) -> float:
    wanted = {"pool": bench.pool, "outcome": "clean"} | labels
    values = await scrape(api)
    return sum(
        value for (name, found), value in values.items() if name == "pool_resets_total" and wanted.items() <= set(found)
    )


async def test_leases_and_resets_of_a_manager_are_scraped(redis_url: str, make_bench: MakeBench) -> None:
    async with running(make_bench) as bench, serving(redis_url, config=bench.config) as api:
        pool = bench.pool
        async with await bench.client.acquire(pool, priority="high"):
            pass
        await eventually(bench.all_available)
        lease = await bench.client.acquire(pool, timeout_s=0.2)
        await eventually(lambda: when(lambda: lease.lost))
        await eventually(bench.all_available)

        async def told() -> bool:
            values = await scrape(api)
            return values[key("pool_lease_expirations_total", pool=pool, cause="deadline")] == 1 and (
                await clean_resets(bench, api) == 4
            )

        await eventually(told)
        values = await scrape(api)

    def value(name: str, **labels: str) -> float:
        return values[key(name, pool=pool, **labels)]

    assert value("pool_leases_total", outcome="passed") == value("pool_leases_total", outcome="expired") == 1
    assert value("pool_acquire_wait_seconds_count", priority="high") == 1
    assert value("pool_lease_duration_seconds_count") == 2
    assert value("pool_resets_total", level="soft", reason="on_release", outcome="clean") == 1
    assert value("pool_resets_total", level="hard", reason="on_expiry", outcome="clean") == 1
    assert value("pool_resets_total", level="recreate", reason="on_start", outcome="clean") == 2
    assert value("pool_reset_duration_seconds_count", level="soft") == 1
    assert value("pool_containers", state="available") == value("pool_places") == 2
    assert value("pool_manager_active") == 1
    assert values[key("pool_redis_up")] == 1
    assert 0 < values[key("pool_redis_latency_seconds")] < 3


async def test_regular_health_checks_count_by_probe_and_a_fault_by_what_it_was(
    redis_url: str, make_bench: MakeBench
) -> None:
    async with running(make_bench) as bench, serving(redis_url, config=bench.config) as api:
        bench.runtime.crash(bench.inside().ref)

        async def told() -> bool:
            values = await scrape(api)
            checks = values[key("pool_health_checks_total", pool=bench.pool, probe="engine", result="passed")]
            return checks > 2 and values[key("pool_container_faults_total", pool=bench.pool, fault="crash")] == 1

        await eventually(told)
        await eventually(bench.all_available)


async def test_the_next_manager_counts_on_where_the_one_before_ended(redis_url: str, make_bench: MakeBench) -> None:
    bench = await make_bench()
    async with serving(redis_url, config=bench.config) as api:
        for n in (1, 2):
            await bench.ready()
            async with await bench.client.acquire(bench.pool):
                pass
            await eventually(bench.all_available)
            await bench.stop()

            values = await scrape(api)

            assert values[key("pool_leases_total", pool=bench.pool, outcome="passed")] == n
            assert values[key("pool_manager_active", pool=bench.pool)] == 0
            assert await clean_resets(bench, api, reason="on_start") == 2


async def test_a_second_manager_and_a_second_server_double_nothing(redis_url: str, make_bench: MakeBench) -> None:
    async with (
        running(make_bench) as bench,
        serving(redis_url, config=bench.config) as api,
        serving(redis_url, config=bench.config) as other,
    ):
        bench.start()
        async with await bench.client.acquire(bench.pool):
            pass
        await eventually(bench.all_available)

        async def told() -> bool:
            seen = [await scrape(each) for each in (api, other)]
            return all(each[key("pool_leases_total", pool=bench.pool, outcome="passed")] == 1 for each in seen)

        await eventually(told)
        values = await scrape(other)
        assert sum(v for (name, labels), v in values.items() if _of(name, labels, "pool_containers", bench.pool)) == 2


def _of(name: str, labels: Sequence[tuple[str, str]], wanted: str, pool: str) -> bool:
    return name == wanted and ("pool", pool) in labels


# What a scrape shows, and to whom


async def test_the_forecast_is_scraped_while_a_manager_leads(redis_url: str) -> None:
    async with open_pool(redis_url, "a-1", "a-2") as store, serving(redis_url) as api:
        await store.lead("m", ttl_s=60, info="me")
        sample = Sample(90, 100, cpu_percent=50.0, pids=7, full_in_s=120.0)
        await store.observe([Observation("a-1", sample), Observation("a-2", Sample(10, 100))])

        values = await scrape(api)

    def value(name: str) -> float:
        return values[key(name, pool=store.pool, container="a-1")]

    assert value("pool_container_memory_full_seconds") == 120
    assert value("pool_container_memory_bytes") == 90
    assert value("pool_container_memory_limit_bytes") == 100
    assert value("pool_container_cpu_ratio") == 0.5
    assert key("pool_container_memory_full_seconds", pool=store.pool, container="a-2") not in values


async def test_prometheus_gets_openmetrics_where_it_asks_for_it_and_the_text_format_otherwise(redis_url: str) -> None:
    async with open_pool(redis_url, "a-1") as store, serving(redis_url) as api:
        plain = await api.call("GET", "/metrics")
        open_ = await api.call("GET", "/metrics", headers={"Accept": f"{OPENMETRICS},text/plain;q=0.1"})

    assert plain.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert open_.headers["Content-Type"].startswith(OPENMETRICS.partition(";")[0])
    families = list(read_openmetrics(open_.text))  # type: ignore[no-untyped-call]
    names = {family.name for family in families}
    assert {"pool_containers", "pool_leases", "pool_build", "process_cpu_seconds"} <= names
    assert any(("pool", store.pool) in labels for _, labels in parsed(plain.text))


async def test_nothing_secret_and_nobody_is_in_the_metrics(redis_url: str) -> None:
    async with open_pool(redis_url, "a-1") as store, serving(redis_url) as api:
        lease = (await api.take(pool=store.pool, owner="the-owner", request_id="the-request")).body
        await Bookkeeper(store.connection, store.pool).look()
        await api.call("GET", f"/v1/leases/{lease['id']}", token=lease["token"])
        await api.call("GET", f"/c/{lease['token']}/")
        await api.call("PROPFIND", "/no/such/place")

        text = (await api.call("GET", "/metrics")).text

    assert not [word for word in ("the-owner", "the-request", lease["token"], "such") if word in text]
    values = parsed(text)
    assert values[key("pool_http_requests_total", route="/v1/leases/{id}", method="GET", status="200")] == 1
    assert values[key("pool_http_requests_total", route="unknown", method="other", status="404")] == 1
    assert any(
        name == "pool_http_requests_total" and ("route", "/c/{token}/{rest}") in labels for name, labels in values
    )


async def test_a_token_is_needed_where_one_was_made_and_shows_the_pools_that_it_may_use() -> None:
    async with own_redis() as url, open_site(url, "a-1") as site, open_pool(url, "b-1") as other:
        bound, all_ = await site.token("bound", pools=[site.pool]), await site.token("all")

        refused, _ = await site.ask("GET", "/metrics")
        texts = []
        for token in (bound, all_):
            async with site.http.get(f"{site.url}/metrics", headers={"Authorization": f"Bearer {token}"}) as response:
                assert response.status == 200
                texts.append(await response.text())

    assert refused == 401
    shown = [{dict(labels).get("pool") for _, labels in parsed(text)} - {None} for text in texts]
    assert shown == [{site.pool}, {site.pool, other.pool}]


@pytest.mark.parametrize("how", ["gone", "silent"])
async def test_while_redis_is_away_a_scrape_says_so(server: Server, how: str) -> None:
    url = f"redis://{server.address}"
    async with serving(url, pool="not-open") as api:
        before = await scrape(api)
        if how == "gone":
            await server.kill()
        else:
            server.send(signal.SIGSTOP)
        try:
            values = await scrape(api)
        finally:
            if how == "gone":
                await server.start()
            else:
                server.send(signal.SIGCONT)

        async def back() -> bool:
            return (await scrape(api))[key("pool_redis_up")] == 1

        await eventually(back)

    assert before[key("pool_redis_up")] == 1
    assert before[key("pool_manager_active", pool="not-open")] == 0
    assert values[key("pool_redis_up")] == 0
    assert key("pool_redis_latency_seconds") not in values
    assert key("process_open_fds") in values
    assert any(name == "pool_build_info" for name, _ in values)
    assert not [labels for _, labels in values if "pool" in dict(labels)]


async def test_while_redis_is_away_nobody_else_gets_in(server: Server) -> None:
    async with serving(f"redis://{server.address}") as api:
        await server.kill()

        metrics = await api.call("GET", "/metrics")
        pools = await api.call("GET", "/v1/pools")

    assert (metrics.status, pools.status) == (200, 503)


async def test_a_pool_that_is_removed_during_a_scrape_is_left_out(redis_url: str) -> None:
    async with open_pool(redis_url, "a-1") as store, serving(redis_url, config=pool_config("t", "q")) as api:
        async with store.connection.plain() as redis:
            await redis.sadd("cp:pools", "ghost-of-metrics")
        try:
            values = await scrape(api)
        finally:
            async with store.connection.plain() as redis:
                await redis.srem("cp:pools", "ghost-of-metrics")

    assert values[key("pool_redis_up")] == 1
    assert ("pool", "ghost-of-metrics") not in {label for _, labels in values for label in labels}


async def test_what_the_gateway_passes_on_right_now_is_told(redis_url: str) -> None:
    async with gateway_bench(redis_url) as bench, container_of(Talker().talk) as port:
        await bench.add(port)
        lease = await bench.lease()

        async def passed_on() -> float:
            async with bench.session.get(f"{bench.server.url}/metrics") as response:
                return parsed(await response.text())[key("pool_gateway_connections", kind="websocket")]

        async def none() -> bool:
            return await passed_on() == 0

        async with bench.session.ws_connect(bench.url(lease, "/")) as socket:
            await socket.send_str("hello")
            assert await socket.receive_str(timeout=10) == "hello"
            assert await passed_on() == 1
        await eventually(none)


async def test_a_caller_that_leaves_before_its_answer_counts_as_one_that_left(redis_url: str) -> None:
    async with open_pool(redis_url) as store, serving(redis_url) as api:
        waiting = asyncio.create_task(api.take(pool=store.pool, wait_s=50))

        async def queued() -> bool:
            return (await scrape(api))[key("pool_queue_requests", pool=store.pool, priority="normal")] == 1

        async def left() -> bool:
            return (await scrape(api)).get(
                key("pool_http_requests_total", route="/v1/leases", method="POST", status="499")
            ) == 1

        await eventually(queued)
        waiting.cancel()
        await eventually(left)
