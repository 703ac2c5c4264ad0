"""The hours of a pool: each event counts once, an hour that is over is rolled up once, and all is bounded."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Iterable

import pytest

from pool.analytics import Recorder, Span, read_history
from pool.analytics.counting import count_event
from pool.analytics.folding import unpack
from pool.config import AnalyticsOptions
from pool.errors import StoreUnavailable
from pool.models import Event, LeaseRef, Outcome, Priority, State
from pool.observed import Sample
from pool.store import (
    HOUR_S,
    Additions,
    Connection,
    HistoryStore,
    HourRules,
    MetricsStore,
    Observation,
    PoolStore,
    find_orphans,
    hour_of,
)
from tests.redis.test_leases import container, lease_of
from tests.support import Clock, add_available, eventually, open_pool, settings, wish
from tests.support_manager import MakeBench, make_bench, when
from tests.support_redis import Server

__all__ = ["make_bench"]

RULES = HourRules(keep_days=35, owners=500)


def recorder(store: PoolStore, **options: int) -> Recorder:
    return Recorder(store.connection, store.pool, AnalyticsOptions.model_validate(options))


async def past(store: PoolStore) -> Span:
    at = (await store.status()).at
    return (await read_history(store.connection, store.pool, since=0, until=at)).sum


async def use(store: PoolStore, clock: Clock, request: str, **wishes: object) -> None:
    """Take the pool's only container for three seconds, and have it cleaned in one."""
    lease = await lease_of(store, request, **wishes)
    clock.advance(3)
    await store.release(LeaseRef.parse(lease.ref), Outcome.PASSED)
    clock.advance(1)
    facts: dict[str, str | int] = {"reset_level": "soft", "reset_reason": "on_release", "reset_ms": 900}
    assert await store.transition(await container(store), State.AVAILABLE, facts=facts)


async def look(watcher: Recorder, store: PoolStore) -> None:
    watcher.see(await store.status())
    await watcher.look()


# Counting


async def test_an_hour_tells_of_waits_use_resets_owners_and_containers(store: PoolStore, clock: Clock) -> None:
    await add_available(store, "a")
    lease = await lease_of(store, "r1", owner="alice")
    await store.acquire(wish("r2", owner="bob", priority=Priority.HIGH, wait_s=299.0))
    clock.advance(5)
    await store.release(LeaseRef.parse(lease.ref), Outcome.FAILED)
    clock.advance(1)
    assert await store.transition(await container(store), State.AVAILABLE)
    await store.heartbeat("process", [], liveness_s=1000)
    watcher = recorder(store)

    await look(watcher, store)

    span = await past(store)
    assert span.arrivals == {Priority.NORMAL: 1, Priority.HIGH: 1}
    assert span.waits[Priority.NORMAL].total_s == 0
    assert span.waits[Priority.HIGH].total_s == pytest.approx(6, abs=0.01)
    assert span.held.total_s == pytest.approx(5, abs=0.01)
    assert span.cleaning.total_s == pytest.approx(1, abs=0.01)
    assert (span.ended, span.failures) == ({"failed": 1}, {"test": 1})
    assert (span.owners["alice"].failed, span.containers["a"].leases) == (1, 1)
    assert span.owners["bob"].waited_s == pytest.approx(6, abs=0.01)


async def test_a_second_grant_of_a_request_whose_container_was_unfit_is_no_second_request(store: PoolStore) -> None:
    await add_available(store, "a", "b")
    lease = await lease_of(store, "r1")
    await store.reject(LeaseRef.parse(lease.ref), note="it did not answer", again=True, liveness_s=60)
    watcher = recorder(store)

    await look(watcher, store)

    span = await past(store)
    assert (span.requests, span.wait.n, span.ended) == (1, 2, {"unfit": 1})


async def test_the_time_in_quarantine_is_no_time_to_clean(store: PoolStore, clock: Clock) -> None:
    await add_available(store, "a")
    lease = await lease_of(store, "r1")
    await store.release(LeaseRef.parse(lease.ref), Outcome.PASSED)
    clock.advance(2)
    assert await store.transition(await container(store), State.QUARANTINED)
    clock.advance(86_400)
    assert await store.transition(await container(store), State.RESETTING)
    assert await store.transition(await container(store), State.AVAILABLE)
    watcher = recorder(store)

    await look(watcher, store)

    assert (await past(store)).cleaning.n == 0
    assert (await store.status()).mean_reset_s is None


async def test_looks_tell_how_full_the_pool_was_and_how_long_the_queue(store: PoolStore, clock: Clock) -> None:
    await add_available(store, "a", "b")
    await store.observe([Observation("a", Sample(300 * 2**20, 512 * 2**20))])
    watcher = recorder(store)
    watcher.see(await store.status())
    for request in ("r1", "r2", "r3", "r4"):
        await store.acquire(wish(request, wait_s=200.0))
    for _ in range(12):
        clock.advance(1)
        watcher.see(await store.status())
    await watcher.close()

    span = await past(store)
    assert span.watched_s == pytest.approx(12, abs=0.01)
    assert (span.utilisation, span.queue_peak) == (1.0, 2)
    assert span.queue_mean == pytest.approx(2)
    assert (span.containers["a"].memory_peak_mb, span.containers["a"].memory_limit_mb) == (300, 512)


async def test_what_nobody_saw_for_a_while_does_not_count_as_watched(store: PoolStore, clock: Clock) -> None:
    await add_available(store, "a")
    watcher = recorder(store)
    watcher.see(await store.status())
    clock.advance(600)
    watcher.see(await store.status())

    await watcher.close()

    assert (await past(store)).watched_s == 5


async def test_two_that_count_at_once_count_each_event_once(store: PoolStore, clock: Clock) -> None:
    first, second = recorder(store), recorder(store)
    await add_available(store, "a")
    for n in range(30):
        looks = asyncio.gather(*(look(each, store) for each in (first, second, first)))
        await use(store, clock, f"r{n}", owner=f"o{n % 3}")
        await looks
    await look(first, store)
    await look(second, store)

    span = await past(store)
    assert (span.requests, span.leases, span.cleaning.n) == (30, 30, 30)
    assert span.ended == {"passed": 30}
    assert {name: used.leases for name, used in span.owners.items()} == {"o0": 10, "o1": 10, "o2": 10}


async def test_one_that_dies_between_two_looks_leaves_the_rest_to_the_next(store: PoolStore, clock: Clock) -> None:
    await add_available(store, "a")
    await use(store, clock, "r1")
    first = recorder(store)
    await look(first, store)
    await use(store, clock, "r2")
    del first

    await look(recorder(store), store)

    assert (await past(store)).leases == 2


async def test_an_addition_whose_reply_was_lost_is_not_made_again(
    store: PoolStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_available(store, "a")
    watcher = recorder(store)
    watcher.see(await store.status())
    clock.advance(4)
    watcher.see(await store.status())
    await use(store, clock, "r1")
    real = MetricsStore.count

    async def deaf(self: MetricsStore, *words: str, **values: object) -> bool:
        await real(self, *words, **values)  # type: ignore[arg-type]
        raise StoreUnavailable("the reply was lost")

    async def dumb(self: MetricsStore, *words: str, **values: object) -> bool:
        raise StoreUnavailable("it was never sent")

    monkeypatch.setattr(MetricsStore, "count", dumb)
    with pytest.raises(StoreUnavailable):
        await watcher.close()
    monkeypatch.setattr(MetricsStore, "count", deaf)
    with pytest.raises(StoreUnavailable):
        await watcher.close()
    monkeypatch.setattr(MetricsStore, "count", real)
    await watcher.close()

    span = await past(store)
    assert span.leases == 1
    assert span.watched_s == pytest.approx(4, abs=0.01)


async def test_what_was_added_by_one_that_died_before_it_knew_is_not_added_by_the_next(
    store: PoolStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_available(store, "a")
    await use(store, clock, "r1")
    real = MetricsStore.count

    async def deaf(self: MetricsStore, *words: str, **values: object) -> bool:
        await real(self, *words, **values)  # type: ignore[arg-type]
        raise StoreUnavailable("it died")

    monkeypatch.setattr(MetricsStore, "count", deaf)
    with pytest.raises(StoreUnavailable):
        await look(recorder(store), store)
    monkeypatch.setattr(MetricsStore, "count", real)
    await look(recorder(store), store)

    assert (await past(store)).leases == 1


async def test_an_hour_tells_apart_so_many_owners_and_no_more(store: PoolStore) -> None:
    leases = [lease_ended(f"o{n}") for n in range(40)]
    await add(store, 7, leases[:25], owners=20)
    await add(store, 7, leases, owners=20)

    live = await HistoryStore(store.connection, store.pool).live(7)

    assert live is not None
    named = {name.split("|", 2)[2]: n for name, n in live.values.items() if name.startswith("owner|leases|")}
    assert len(named) == 21
    assert (named["o0"], named["(others)"]) == (2, 25)


# Rolling up


def lease_ended(owner: str, held_s: float = 10, container_id: str = "a") -> Event:
    facts = {"owner": owner, "container": container_id, "outcome": "passed", "held_us": str(round(held_s * 1e6))}
    return Event("1-0", 0, "lease.released", facts)


async def add(store: PoolStore, hour: int, events: Iterable[Event], *, owners: int = 500) -> None:
    """Count events in an hour, whatever the clock says."""
    metrics, additions = MetricsStore(store.connection, store.pool), Additions()
    for event in events:
        additions.add(hour, count_event(event))
    known, rules = (await metrics.position()).turn, HourRules(RULES.keep_days, owners)
    turn = f"{random.random()}"
    assert await metrics.count(known, turn, seen="0-0", added={}, hours=additions, rules=rules)


async def entry(store: PoolStore, hour: int) -> dict[str, float]:
    return unpack(await HistoryStore(store.connection, store.pool).entry(hour))


async def test_an_hour_that_is_over_is_rolled_up_once_by_two_at_once(store: PoolStore, clock: Clock) -> None:
    first, second = recorder(store), recorder(store)
    await add_available(store, "a")
    await use(store, clock, "r1")
    await look(first, store)
    before, hour = await past(store), hour_of((await store.status()).at)
    clock.advance(HOUR_S)

    await asyncio.gather(*(look(each, store) for each in (first, second, first, second)))

    assert (await entry(store, hour))["ended|passed"] == 1
    assert await HistoryStore(store.connection, store.pool).live_hours() in ([], [hour + 1])
    after = await past(store)
    assert (after.held, after.arrivals) == (before.held, before.arrivals)
    assert after.owners["owner"].leases == 1
    assert after.owners["owner"].held_s == pytest.approx(3, abs=0.01)


async def test_what_comes_late_goes_to_the_hour_in_which_it_happened(store: PoolStore, clock: Clock) -> None:
    hour = hour_of((await store.status()).at)
    watcher = recorder(store)
    await add(store, hour - 3, [lease_ended("o")])
    await look(watcher, store)
    assert (await entry(store, hour - 3))["ended|passed"] == 1

    await add(store, hour - 3, [lease_ended("o"), lease_ended("p")])
    assert (await past(store)).leases == 3
    clock.advance(20)
    await look(watcher, store)

    assert (await entry(store, hour - 3))["ended|passed"] == 3
    assert await HistoryStore(store.connection, store.pool).live_hours() in ([], [hour])
    assert (await past(store)).owners["o"].leases == 2


async def test_an_addition_between_reading_an_hour_and_rolling_it_up_is_not_lost(store: PoolStore) -> None:
    hours = HistoryStore(store.connection, store.pool)
    await add(store, 9, [lease_ended("o")])
    read = await hours.live(9)
    assert read is not None
    await add(store, 9, [lease_ended("o")])

    rolled = await hours.roll(9, read.turn, "1:stale", RULES)

    assert not rolled
    assert await hours.entry(9) == ""
    live = await hours.live(9)
    assert live is not None
    assert live.values["ended|passed"] == 2


async def test_one_that_dies_before_it_rolled_up_leaves_that_to_the_next(store: PoolStore, clock: Clock) -> None:
    await add_available(store, "a")
    await use(store, clock, "r1")
    await look(recorder(store), store)
    hour = hour_of((await store.status()).at)
    clock.advance(5 * HOUR_S)

    await look(recorder(store), store)

    assert (await entry(store, hour))["ended|passed"] == 1


async def test_a_clock_that_jumps_ahead_by_years_costs_no_history(store: PoolStore, clock: Clock) -> None:
    watcher = recorder(store, keep_days=1)
    await add_available(store, "a")
    for n in range(5):
        await use(store, clock, f"r{n}")
        await look(watcher, store)
        clock.advance(HOUR_S)
    clock.advance(5 * 365 * 86_400)

    await use(store, clock, "later")
    await look(watcher, store)

    assert (await past(store)).leases == 6


async def test_only_the_newest_hours_are_kept(store: PoolStore) -> None:
    hours = HistoryStore(store.connection, store.pool)
    rules = HourRules(keep_days=1, owners=5)
    for hour in [*range(95, 120), 3]:
        await add(store, hour, [lease_ended("o")])
        live = await hours.live(hour)
        assert live is not None
        assert await hours.roll(hour, live.turn, "1:", rules)

    assert sorted(await hours.entries(0, 1000)) == list(range(96, 120))


async def test_the_past_outlives_its_pool_for_a_while_and_is_no_garbage(store: PoolStore, clock: Clock) -> None:
    await add_available(store, "a")
    await use(store, clock, "r1")
    watcher = recorder(store)
    await look(watcher, store)
    clock.advance(HOUR_S)
    await look(watcher, store)

    await store.forget()

    orphans = (await find_orphans(store.connection)).get(store.pool, [])
    assert not [name for name in orphans if name.startswith(("hour", "live"))]
    await store.open(settings(), "again")
    assert (await past(store)).leases == 1


# On a real server


@pytest.mark.long
async def test_forty_days_of_a_hundred_thousand_leases_of_ten_thousand_owners_stay_small(redis_url: str) -> None:
    """What is left is bounded by the hours and owners that are kept; `docs/analytics.md` has the figures."""
    chance = random.Random(7)
    async with open_pool(redis_url) as store:
        watcher = recorder(store)
        last = hour_of((await store.status()).at)
        largest = 0
        for hour in range(last - 40 * 24, last):
            leases = [
                lease_ended(f"owner-{chance.randrange(10_000)}", chance.lognormvariate(3, 1), f"a-{n % 10}")
                for n in range(105)
            ]
            await add(store, hour, leases)
            largest = max(largest, await size_of(store, f"hour:{hour}"))
            await watcher._roll(hour)
        kept, size = (
            len(await HistoryStore(store.connection, store.pool).entries(0, last)),
            await size_of(store, "hours"),
        )
        span = await past(store)

    print(f"{kept} hours, {size} bytes: {size / kept:.0f} each; while it is counted, {largest} bytes")
    assert kept == 35 * 24
    assert size < kept * 4096
    assert largest < 500 * 1024
    assert span.leases == kept * 105


async def size_of(store: PoolStore, name: str) -> int:
    """How many bytes a key takes."""
    async with store.connection.plain() as redis:
        return int(await redis.memory_usage(f"cp:{{{store.pool}}}:{name}", samples=0) or 0)


#: Counts until it is killed.
COUNTER = """
import asyncio, sys
from pool.analytics import Recorder
from pool.config import AnalyticsOptions
from pool.store import Connection

async def count(url, pool):
    recorder = Recorder(Connection(url), pool, AnalyticsOptions())
    while True:
        await recorder.look()

asyncio.run(count(*sys.argv[1:]))
"""


async def test_those_that_are_killed_while_they_count_lose_nothing_and_double_nothing(redis_url: str) -> None:
    async with open_pool(redis_url) as store:
        metrics = MetricsStore(store.connection, store.pool)
        ended = 0
        for _ in range(4):
            before = (await metrics.position()).turn
            counters = [
                await asyncio.create_subprocess_exec(sys.executable, "-c", COUNTER, redis_url, store.pool)
                for _ in range(2)
            ]

            async def counting(before: str = before) -> bool:
                return (await metrics.position()).turn != before

            try:
                for n in range(300):
                    await store.tell("lease.released", {"outcome": "passed", "held_us": "1000", "owner": f"o{n % 5}"})
                    ended += 1
                await eventually(counting, deadline_s=60)
            finally:
                for counter in counters:
                    counter.kill()
                    await counter.wait()

        await recorder(store).look()

        span = await past(store)
        assert (span.leases, span.ended) == (ended, {"passed": ended})
        assert {used.leases for used in span.owners.values()} == {ended // 5}


async def test_a_restart_of_redis_loses_no_hour(server: Server) -> None:
    url = f"redis://{server.address}"
    async with open_pool(url, "a-1") as store:
        watcher = recorder(store)
        hour = hour_of((await store.status()).at)
        await add(store, hour - 1, [lease_ended("o")])
        await add(store, hour, [lease_ended("o")])
        await watcher._roll(hour - 1)
        await store.connection.close()
        await server.kill()
        await server.start()

        async with open_pool(url) as other:
            again = Connection(url)
            found = await read_history(again, store.pool, since=0, until=(await other.status()).at)
            await again.close()

    assert [span.leases for span in found.hours] == [1, 1]


async def test_a_manager_records_what_its_clients_do(redis_url: str, make_bench: MakeBench) -> None:
    bench = await make_bench()
    manager = bench.start()
    await asyncio.wait_for(manager.ready.wait(), 10)
    async with await bench.client.acquire(bench.pool, priority="high", owner="me"):
        pass
    await eventually(bench.all_available)
    await eventually(lambda: when(lambda: bool(manager._recorder._pending.hours)))
    await bench.stop()

    span = await past(bench.store)
    assert span.arrivals == {Priority.HIGH: 1}
    assert (span.owners["me"].leases, span.cleaning.n, span.reset_s["soft"].n) == (1, 1, 1)
    assert span.resets["recreate", "on_start", "clean"] == 2
    assert span.watched_s > 0
    assert span.places_s == pytest.approx(2 * span.watched_s, abs=0.01)
