"""Adaptive timeouts: what leases of a label took decides how long the next one may last, and its end is announced."""

from __future__ import annotations

import asyncio
import math
import random
import statistics
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pool.client import AsyncClient, connect
from pool.client.lease import HeldLease
from pool.errors import InvalidRequest, UnknownPool
from pool.models import LeaseData, LeaseRef, Outcome, TimeoutRecommendation
from pool.store import Connection, Grant, PoolStore, read_events
from tests.poolctl import Poolctl, one_container
from tests.support import Clock, add_available, eventually, settings, wish


@pytest.fixture
async def pool(store: PoolStore) -> PoolStore:
    """A pool whose one container is available again as soon as a lease has passed."""
    await store.open(settings(on_release="none", ttl_s=10, min_lease_timeout_s=1, max_lease_timeout_s=1000), "x")
    await add_available(store, "a")
    return store


async def lease_of(store: PoolStore, request_id: str, **changes: object) -> LeaseData:
    answer = await store.acquire(wish(request_id, **({"ttl_s": 10.0} | changes)))
    assert isinstance(answer, Grant)
    return answer.lease


def life(lease: LeaseData) -> float:
    return lease.deadline_at - lease.granted_at


async def live_through(
    store: PoolStore, clock: Clock, *durations: float, label: str = "", outcome: Outcome = Outcome.PASSED
) -> None:
    """Hold the container for each of these durations, one after the other."""
    for number, duration in enumerate(durations):
        request_id = f"past-{uuid.uuid4().hex[:8]}-{number}"
        lease = await lease_of(store, request_id, label=label, ttl_s=900.0, timeout_s=1000.0)
        clock.advance(duration)
        await store.release(LeaseRef.parse(lease.ref), outcome)
        if outcome is not Outcome.PASSED:
            await add_available(store, "a")


async def timeout_of_next(store: PoolStore, **changes: object) -> float:
    lease = await lease_of(store, f"next-{uuid.uuid4().hex[:8]}", **changes)
    await store.release(LeaseRef.parse(lease.ref), Outcome.ERROR)
    await add_available(store, "a")
    return life(lease)


async def test_with_fewer_than_five_samples_the_default_applies(pool: PoolStore, clock: Clock) -> None:
    await live_through(pool, clock, 30, 30, 30, 30)

    assert await pool.recommend("owner") is None
    assert await timeout_of_next(pool) == pytest.approx(120)


async def test_from_five_samples_on_the_history_decides(pool: PoolStore, clock: Clock) -> None:
    await live_through(pool, clock, 20, 20, 20, 20, 40)

    recommended = await pool.recommend("owner")

    assert recommended is not None
    assert recommended.samples == 5
    assert recommended.mean_s == pytest.approx(24, abs=0.1)
    assert recommended.p95_s == pytest.approx(40, abs=0.1)
    assert recommended.timeout_s == pytest.approx(60, abs=0.1)
    assert await timeout_of_next(pool) == pytest.approx(recommended.timeout_s)


async def test_twice_the_mean_counts_where_it_is_more(pool: PoolStore, clock: Clock) -> None:
    await live_through(pool, clock, 30, 30, 30, 30, 30)

    assert await timeout_of_next(pool) == pytest.approx(60, abs=0.1)


async def test_any_history_recommends_what_the_formula_says_about_its_last_hundred(
    pool: PoolStore, clock: Clock
) -> None:
    chance = random.Random(7)
    durations = [chance.uniform(5, 300) for _ in range(110)]
    for done, held in ((0, 17), (17, 60), (60, 110)):
        await live_through(pool, clock, *durations[done:held])
        kept = durations[:held][-100:]
        p95 = sorted(kept)[math.ceil(len(kept) * 95 / 100) - 1]
        mean = statistics.fmean(kept)

        recommended = await pool.recommend("owner")

        assert recommended is not None
        assert recommended.samples == len(kept)
        assert recommended.mean_s == pytest.approx(mean, abs=0.01)
        assert recommended.p95_s == pytest.approx(p95, abs=0.01)
        assert recommended.timeout_s == pytest.approx(max(p95 * 1.5, mean * 2), abs=0.02)


async def test_a_recommendation_stays_between_ttl_and_the_longest_lease(pool: PoolStore, clock: Clock) -> None:
    await live_through(pool, clock, *[1] * 5, label="quick")
    await live_through(pool, clock, *[800] * 5, label="slow")

    assert await timeout_of_next(pool, label="quick") == pytest.approx(10)
    assert await timeout_of_next(pool, label="quick", ttl_s=20.0) == pytest.approx(20)
    assert await timeout_of_next(pool, label="slow") == pytest.approx(1000)
    quick, slow = await pool.recommend("quick"), await pool.recommend("slow")
    assert quick is not None
    assert slow is not None
    assert [quick.timeout_s, slow.timeout_s] == pytest.approx([10, 1000])


async def test_each_label_has_a_history_of_its_own_whoever_the_owner_is(pool: PoolStore, clock: Clock) -> None:
    await live_through(pool, clock, *[20] * 5, label="check-out")

    assert await timeout_of_next(pool) == pytest.approx(120)
    assert await timeout_of_next(pool, owner="other", label="check-out") == pytest.approx(40, abs=0.1)


async def test_a_timeout_that_the_request_names_is_what_it_gets(pool: PoolStore, clock: Clock) -> None:
    await live_through(pool, clock, *[20] * 5)

    assert await timeout_of_next(pool, timeout_s=77.0) == pytest.approx(77)


async def test_failed_leases_count_and_erroneous_ones_do_not(pool: PoolStore, clock: Clock) -> None:
    await live_through(pool, clock, *[20] * 4)
    await live_through(pool, clock, 500, outcome=Outcome.ERROR)
    assert await pool.recommend("owner") is None

    await live_through(pool, clock, 20, outcome=Outcome.FAILED)

    recommended = await pool.recommend("owner")
    assert recommended is not None
    assert recommended.p95_s == pytest.approx(20, abs=0.1)


async def test_a_lost_lease_is_no_sample(pool: PoolStore, clock: Clock) -> None:
    await live_through(pool, clock, *[20] * 4)
    await lease_of(pool, "lost")
    clock.advance(10.1)

    assert await pool.reap() == (0, 0, 1)

    assert await pool.recommend("owner") is None


async def test_a_release_sent_twice_is_one_sample(pool: PoolStore, clock: Clock) -> None:
    await live_through(pool, clock, *[20] * 4)
    lease = await lease_of(pool, "r1")
    arguments = (lease.request_id, lease.fence, lease.token, "passed")
    meta = f"cp:{{{pool.pool}}}:meta"

    replies = [(await pool.connection.run("release", meta, arguments))[0] for _ in range(2)]

    assert replies == ["released", "released_before"]
    recommended = await pool.recommend("owner")
    assert recommended is not None
    assert recommended.samples == 5


async def test_where_adaptive_timeouts_are_off_the_default_applies(pool: PoolStore, clock: Clock) -> None:
    await live_through(pool, clock, *[20] * 5)
    await pool.open(settings(on_release="none", adaptive_timeouts=False, lease_timeout_s=90), "x")

    assert await timeout_of_next(pool) == pytest.approx(90)


@pytest.mark.parametrize(("default_s", "floor_s"), [(120, 30), (25, 25)])
async def test_no_history_makes_a_timeout_shorter_than_the_pools_shortest(
    pool: PoolStore, clock: Clock, default_s: float, floor_s: float
) -> None:
    await live_through(pool, clock, *[1] * 5)
    await pool.open(settings(on_release="none", ttl_s=10, lease_timeout_s=default_s), "x")

    recommended = await pool.recommend("owner")
    assert recommended is not None
    assert recommended.timeout_s == pytest.approx(floor_s)
    assert await timeout_of_next(pool) == pytest.approx(floor_s)


async def test_a_waiter_gets_what_the_history_said_when_it_asked(pool: PoolStore, clock: Clock) -> None:
    await live_through(pool, clock, *[20] * 5)
    lease = await lease_of(pool, "r1")
    await pool.acquire(wish("r2", ttl_s=10.0))

    await pool.release(LeaseRef.parse(lease.ref), Outcome.PASSED)

    [answer] = await pool.collect("process", ["r2"], liveness_s=10)
    assert isinstance(answer, Grant)
    assert life(answer.lease) == pytest.approx(40, abs=0.1)


async def test_a_history_that_cuts_a_lease_off_before_the_default_is_forgotten(pool: PoolStore, clock: Clock) -> None:
    await live_through(pool, clock, *[20] * 5)
    lease = await lease_of(pool, "longer-now", ttl_s=40.0)
    assert life(lease) == pytest.approx(40, abs=0.1)

    clock.advance(41)
    assert await pool.reap() == (0, 0, 1)

    assert await pool.recommend("owner") is None
    await add_available(pool, "a")
    assert await timeout_of_next(pool) == pytest.approx(120)


async def test_a_history_is_kept_when_it_gave_more_than_the_default_or_was_not_asked(
    pool: PoolStore, clock: Clock
) -> None:
    await live_through(pool, clock, *[100] * 5, label="slow")
    await live_through(pool, clock, *[20] * 5, label="quick")
    for label, timeout_s in (("slow", 0.0), ("quick", 12.0)):
        lease = await lease_of(pool, f"cut-off-{label}", label=label, ttl_s=300.0, timeout_s=timeout_s)
        clock.advance(life(lease) + 1)
        assert await pool.reap() == (0, 0, 1)
        await add_available(pool, "a")

    assert await pool.recommend("slow") is not None
    assert await pool.recommend("quick") is not None


async def test_a_recommendation_of_an_unknown_pool_is_refused(store: PoolStore, connection: Connection) -> None:
    with pytest.raises(UnknownPool, match="nowhere"):
        await PoolStore(connection, "nowhere").recommend("owner")


async def events_of(connection: Connection, store: PoolStore, kind: str) -> list[dict[str, str]]:
    return [dict(event.fields) for event in await read_events(connection, store.pool) if event.type == kind]


def triple(lease: LeaseData) -> tuple[str, int, str]:
    return lease.request_id, lease.fence, lease.token


@pytest.mark.parametrize(("timeout_s", "margin_s"), [(30.0, 6.0), (200.0, 10.0)])
async def test_a_deadline_is_announced_once_a_fifth_of_the_life_or_ten_seconds_before(
    pool: PoolStore, connection: Connection, clock: Clock, timeout_s: float, margin_s: float
) -> None:
    lease = await lease_of(pool, "r1", timeout_s=timeout_s, ttl_s=300.0)

    clock.advance(timeout_s - margin_s - 0.1)
    await pool.heartbeat("process", [triple(lease)], liveness_s=10)
    assert await events_of(connection, pool, "lease.deadline_near") == []
    for _ in range(2):
        clock.advance(0.2)
        await pool.heartbeat("process", [triple(lease)], liveness_s=10)

    [event] = await events_of(connection, pool, "lease.deadline_near")
    assert (event["container"], event["request"], event["owner"]) == ("a", "r1", "owner")
    assert int(event["left_us"]) / 1e6 == pytest.approx(margin_s - 0.1, abs=0.01)


async def test_an_extended_deadline_is_announced_again(pool: PoolStore, connection: Connection, clock: Clock) -> None:
    lease = await lease_of(pool, "r1", timeout_s=30.0, ttl_s=300.0)
    clock.advance(25)
    await pool.heartbeat("process", [triple(lease)], liveness_s=10)

    await pool.extend(LeaseRef.parse(lease.ref), extra_s=30, reason="slow")
    await pool.heartbeat("process", [triple(lease)], liveness_s=10)
    clock.advance(27)
    await pool.heartbeat("process", [triple(lease)], liveness_s=10)

    assert len(await events_of(connection, pool, "lease.deadline_near")) == 2


async def test_the_next_lease_of_the_container_is_announced_for_itself(
    pool: PoolStore, connection: Connection, clock: Clock
) -> None:
    for request_id in ("r1", "r2"):
        lease = await lease_of(pool, request_id, timeout_s=30.0, ttl_s=300.0)
        clock.advance(25)
        await pool.heartbeat("process", [triple(lease)], liveness_s=10)
        await pool.release(LeaseRef.parse(lease.ref), Outcome.PASSED)

    near = await events_of(connection, pool, "lease.deadline_near")
    assert [event["request"] for event in near] == ["r1", "r2"]


# With a real server's clock, through the client


@pytest.fixture
async def live(redis_url: str) -> AsyncIterator[PoolStore]:
    """An open pool of one container on the real server, with the server's own clock."""
    connection = Connection(redis_url)
    store = PoolStore(connection, f"t{uuid.uuid4().hex[:8]}")
    await store.open(settings(ttl_s=1, on_release="none"), "first")
    await add_available(store, "a")
    yield store
    await store.forget()
    await connection.close()


async def test_a_holder_is_told_before_its_deadline_and_redis_has_the_event(live: PoolStore, redis_url: str) -> None:
    told = asyncio.Event()
    left: list[float] = []

    def near(lease: HeldLease) -> None:
        left.append(lease.left_s)
        told.set()

    async with AsyncClient(redis_url, owner="tester") as client:
        lease = await client.acquire(live.pool, timeout_s=3.0, on_deadline=near)
        async with asyncio.timeout(10):
            await told.wait()

        async def announced() -> bool:
            return bool(await events_of(live.connection, live, "lease.deadline_near"))

        assert 0 < left[0] < 0.6
        await eventually(announced)

        async def ended() -> bool:
            return lease.lost

        await eventually(ended)
        assert (len(left), lease.left_s) == (1, 0)


async def test_a_holder_that_extends_in_time_is_told_before_the_new_deadline(live: PoolStore, redis_url: str) -> None:
    told: asyncio.Queue[float] = asyncio.Queue()
    async with AsyncClient(redis_url, owner="tester") as client:
        lease = await client.acquire(live.pool, timeout_s=3.0, on_deadline=lambda held: told.put_nowait(held.left_s))
        async with asyncio.timeout(20):
            await told.get()
            await lease.extend(1.0, reason="slow")
            await told.get()

            assert not lease.lost
        await lease.release()


async def test_a_holder_that_is_done_in_time_is_not_told(live: PoolStore, redis_url: str) -> None:
    told: list[str] = []
    async with AsyncClient(redis_url, owner="tester") as client:
        first = await client.acquire(live.pool, timeout_s=0.6, on_deadline=lambda held: told.append(held.request_id))
        await first.release()
        second = await client.acquire(live.pool, timeout_s=2.0, on_deadline=lambda held: told.append(held.request_id))

        async def warned() -> bool:
            return bool(told)

        await eventually(warned)

        assert told == [second.request_id]


async def test_a_lease_asked_for_again_ends_for_its_holder_when_it_ends_in_redis(
    live: PoolStore, redis_url: str
) -> None:
    async with AsyncClient(redis_url, owner="tester") as first, AsyncClient(redis_url, owner="tester") as second:
        held = await first.acquire(live.pool, request_id="same", timeout_s=60)
        fence = held.fence

        async def some_time_has_passed() -> bool:
            return held.left_s < 59.7

        await eventually(some_time_has_passed)
        again = await second.acquire(live.pool, request_id="same", timeout_s=60)

        assert again.fence == fence
        assert again.left_s < 59.9
        await again.detach()


async def test_a_client_reads_recommendations_and_asks_with_labels(live: PoolStore, redis_url: str) -> None:
    def work() -> tuple[TimeoutRecommendation | None, TimeoutRecommendation | None]:
        with connect(redis_url, owner="tester") as client:
            for _ in range(5):
                with client.acquire(live.pool, label="check-out") as lease:
                    assert 0 < lease.left_s <= 120
            return client.timeout_recommendation(live.pool, "check-out"), client.timeout_recommendation(live.pool, "x")

    recommended, unknown = await asyncio.to_thread(work)

    assert unknown is None
    assert recommended is not None
    assert (recommended.samples, recommended.timeout_s) == (5, 30.0)  # not below the pool's shortest


async def test_poolctl_run_warns_before_the_deadline_that_ends_its_command(redis_url: str, tmp_path: Path) -> None:
    async with one_container(redis_url) as store, Poolctl(redis_url, tmp_path) as poolctl:
        ended = await poolctl(
            "run", "--pool", store.pool, "--timeout", "3", "--label", "check-out", "--", "sleep", "60"
        )

        warned, lost = ended.err.index("the lease of container 'a' ends in"), ended.err.index("'a' is lost")
        assert warned < lost
        assert await store.recommend("check-out") is None


@pytest.mark.parametrize("label", ["", "x" * 201, 7])
async def test_a_label_that_is_none_is_refused_by_name(live: PoolStore, redis_url: str, label: object) -> None:
    async with AsyncClient(redis_url) as client:
        with pytest.raises(InvalidRequest, match="label"):
            await client.acquire(live.pool, label=label)  # type: ignore[arg-type]  # a user may
