"""The clients on a real server, both ways of calling them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import pytest

from pool.client import AsyncClient, Client, connect
from pool.errors import (
    AcquireTimeout,
    AlreadyReleased,
    ClientClosed,
    InvalidRequest,
    LeaseLost,
    PoolDraining,
    StoreUnavailable,
    UnknownContainer,
    UnknownPool,
    WrongState,
)
from pool.models import Outcome, ResetLevel, ResetReason, State
from pool.store import PoolStore
from tests.support import eventually, keeper_of, open_pool, settings


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[PoolStore]:
    """An open pool of one container on the real server, with the server's own clock."""
    async with open_pool(redis_url, "a", ttl_s=3, claim_ttl_s=3) as store:
        yield store


async def clean(store: PoolStore) -> None:
    """Do the manager's part: bring a used container back."""
    [record] = (await store.status()).containers
    assert record.state in (State.CLEANING, State.RESETTING)
    assert await store.transition(record, State.AVAILABLE)


async def state_is(store: PoolStore, state: State) -> bool:
    [record] = (await store.status()).containers
    return record.state is state


async def test_a_lease_is_kept_alive_by_heartbeats_and_given_back(client: AsyncClient, store: PoolStore) -> None:
    async with await client.acquire(store.pool, owner="run-1") as lease:
        [record] = (await store.status()).containers
        assert (record.state, record.owner) == (State.ALLOCATED, "run-1")
        first = record.expires_at
        assert first is not None

        async def renewed() -> bool:
            [record] = (await store.status()).containers
            return (record.expires_at or 0) > first

        await eventually(renewed)
        assert lease.url == "http://127.0.0.1:3001"
        assert not lease.lost

    [record] = (await store.status()).containers
    assert (record.state, record.outcome) == (State.CLEANING, Outcome.PASSED)
    with pytest.raises(AlreadyReleased):
        await lease.release()


async def test_leaving_the_block_by_an_exception_releases_as_failed(client: AsyncClient, store: PoolStore) -> None:
    with pytest.raises(ZeroDivisionError):
        async with await client.acquire(store.pool):
            raise ZeroDivisionError

    [record] = (await store.status()).containers
    assert record.outcome is Outcome.FAILED


async def test_a_waiter_is_woken_as_soon_as_the_container_is_clean(client: AsyncClient, store: PoolStore) -> None:
    first = await client.acquire(store.pool)
    waiting = asyncio.create_task(client.acquire(store.pool, wait_s=30))
    await eventually(lambda: _queue_length(store, 1))

    await first.release()
    await clean(store)
    released_at = time.monotonic()
    second = await waiting

    assert second.fence > first.fence
    assert second.waited_s > 0
    assert time.monotonic() - released_at < 0.9, "by the hint, not by the poll that comes once a second"
    await second.release()


async def _queue_length(store: PoolStore, length: int) -> bool:
    return len((await store.status()).queue) == length


async def test_a_cancelled_wait_leaves_the_queue(client: AsyncClient, store: PoolStore) -> None:
    lease = await client.acquire(store.pool)
    waiting = asyncio.create_task(client.acquire(store.pool, wait_s=30))
    await eventually(lambda: _queue_length(store, 1))

    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    await eventually(lambda: _queue_length(store, 0))
    await lease.release()


async def test_cancelling_at_any_moment_never_loses_the_container(client: AsyncClient, store: PoolStore) -> None:
    """Cancel in a race with the grant, many times: each time the container comes back."""
    for number in range(60):
        acquiring = asyncio.create_task(client.acquire(store.pool))
        for _ in range(number % 12):
            await asyncio.sleep(0)
        acquiring.cancel()
        await asyncio.wait([acquiring])
        if not acquiring.cancelled():
            await acquiring.result().release()

        async def settled() -> bool:
            [record] = (await store.status()).containers
            if record.state is State.CLEANING:
                await clean(store)
            return record.state is State.AVAILABLE

        await eventually(settled)


async def test_nothing_free_in_time_is_an_error_that_says_so(client: AsyncClient, store: PoolStore) -> None:
    async with await client.acquire(store.pool):
        with pytest.raises(AcquireTimeout, match=r"within 0\.2 s"):
            await client.acquire(store.pool, wait_s=0.2)

    await eventually(lambda: _queue_length(store, 0))


async def test_a_lost_lease_is_told_at_once_and_raises_at_the_next_call(client: AsyncClient, store: PoolStore) -> None:
    told: list[str] = []
    lease = await client.acquire(store.pool, on_lost=lambda lease: told.append(lease.container.id))
    [record] = (await store.status()).containers

    await store.transition(record, State.UNHEALTHY, store={"reason": ResetReason.ON_HEALTH_FAILURE.value})

    async def is_told() -> bool:
        return told == ["a"]

    await eventually(is_told)
    with pytest.raises(LeaseLost):
        _ = lease.url
    with pytest.raises(LeaseLost):
        await lease.release()


async def test_a_holder_cut_off_from_redis_counts_its_lease_as_lost_before_redis_does(
    client: AsyncClient, store: PoolStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("cut off")

    lease = await client.acquire(store.pool)
    monkeypatch.setattr(PoolStore, "heartbeat", away)

    async def lost() -> bool:
        return lease.lost

    await eventually(lost)
    [record] = (await store.status()).containers
    assert (await store.status()).at < (record.expires_at or 0)


async def test_a_lost_lease_does_not_hide_the_error_that_ended_the_block(client: AsyncClient, store: PoolStore) -> None:
    async def fail_while_losing() -> None:
        async with await client.acquire(store.pool):
            [record] = (await store.status()).containers
            await store.transition(record, State.UNHEALTHY)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        await fail_while_losing()

    assert any("lost" in note for note in caught.value.__notes__)


async def test_one_blocking_connection_serves_all_waiters_of_a_process(client: AsyncClient, store: PoolStore) -> None:
    lease = await client.acquire(store.pool)
    waiting = [asyncio.create_task(client.acquire(store.pool, wait_s=30)) for _ in range(20)]
    await eventually(lambda: _queue_length(store, 20))

    async def one_blocked() -> bool:
        async with store.connection.plain() as redis:
            clients = [entry["cmd"] for entry in await redis.client_list()]
        return clients.count("blpop") == 1

    await eventually(one_blocked)
    await lease.release()
    for _ in waiting:
        await clean(store)
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        [finished] = done
        waiting = [task for task in waiting if task is not finished]
        await finished.result().release()
        if not waiting:
            break


async def test_a_drained_pool_sends_its_waiters_away(client: AsyncClient, store: PoolStore) -> None:
    lease = await client.acquire(store.pool)
    waiting = asyncio.create_task(client.acquire(store.pool, wait_s=30))
    await eventually(lambda: _queue_length(store, 1))

    await store.drain()

    with pytest.raises(PoolDraining):
        await waiting
    await lease.release()


async def test_closing_a_client_gives_back_what_it_held(redis_url: str, store: PoolStore) -> None:
    async with AsyncClient(redis_url) as client:
        await client.acquire(store.pool)

    [record] = (await store.status()).containers
    assert (record.state, record.outcome) == (State.CLEANING, Outcome.ERROR)
    with pytest.raises(ClientClosed):
        await client.acquire(store.pool)


async def test_a_reset_can_be_asked_for_unless_somebody_holds_the_container(
    client: AsyncClient, store: PoolStore
) -> None:
    lease = await client.acquire(store.pool)
    with pytest.raises(WrongState, match="allocated by 'tester'"):
        await client.reset(store.pool, "a")
    await lease.release()
    await clean(store)

    await client.reset(store.pool, "a", level=ResetLevel.HARD)

    [record] = (await store.status()).containers
    assert (record.state, record.reason, record.level) == (State.RESETTING, ResetReason.MANUAL, ResetLevel.HARD)
    with pytest.raises(UnknownContainer) as caught:
        await client.reset(store.pool, "nobody")
    assert caught.value.hint == "containers: a"


async def test_a_holder_moves_its_deadline_and_goes_on_past_the_old_one(client: AsyncClient, store: PoolStore) -> None:
    async with await client.acquire(store.pool, timeout_s=1.0) as lease:
        before = lease.data.deadline_at
        await lease.extend(30, reason="slow backend")
        assert lease.data.deadline_at == pytest.approx(before + 30)

        async def past_the_old_deadline() -> bool:
            return (await store.status()).at > before + 0.1

        await eventually(past_the_old_deadline)
        assert await store.reap() == (0, 0, 0)
        lease.check()


@pytest.mark.parametrize(("extra_s", "reason"), [(0, "x"), (-1, "x"), (True, "x"), (1e9, "x"), (1, ""), (1, " ")])
async def test_an_extension_needs_seconds_and_a_reason(
    client: AsyncClient, store: PoolStore, extra_s: float, reason: str
) -> None:
    async with await client.acquire(store.pool) as lease:
        with pytest.raises(InvalidRequest):
            await lease.extend(extra_s, reason=reason)


async def test_a_client_tells_who_waits_and_why(client: AsyncClient, store: PoolStore) -> None:
    lease = await client.acquire(store.pool)
    waiting = asyncio.create_task(client.acquire(store.pool, wait_s=30, request_id="mine", priority="high"))
    await eventually(lambda: _queue_length(store, 1))

    [entry] = await client.queue(store.pool)

    assert entry.request.request_id == "mine"
    assert entry.estimated_wait_s is not None
    assert (await client.explain(store.pool, "mine")).startswith("Next in line, containers: 1 leased; its turn")
    waiting.cancel()
    await asyncio.wait([waiting])
    await lease.release()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("priority", "urgent"),
        ("wait_s", -1),
        ("wait_s", float("nan")),
        ("wait_s", "soon"),
        ("ttl_s", 0.0),
        ("timeout_s", -5.0),
        ("owner", ""),
        ("owner", "x" * 201),
        ("request_id", "a b"),
    ],
)
async def test_a_bad_field_is_refused_by_name(client: AsyncClient, store: PoolStore, field: str, value: object) -> None:
    arguments = {field: value}

    with pytest.raises(InvalidRequest) as caught:
        await client.acquire(store.pool, **arguments)  # type: ignore[arg-type]  # the point of the test

    assert caught.value.field == field
    assert repr(value) in str(caught.value)
    assert await state_is(store, State.AVAILABLE)


async def test_an_unknown_pool_and_a_bad_pool_name_are_told_apart(client: AsyncClient) -> None:
    with pytest.raises(UnknownPool, match="'no-such-pool'"):
        await client.acquire("no-such-pool")
    with pytest.raises(InvalidRequest, match="pool: 'No Such'"):
        await client.acquire("No Such")


async def test_a_url_nobody_answers_at_is_an_error_that_names_it() -> None:
    with pytest.raises(StoreUnavailable, match=r"redis://127\.0\.0\.1:1") as caught:
        await AsyncClient("redis://127.0.0.1:1").connect()

    assert "POOL_URL" in caught.value.hint


async def test_the_synchronous_client_leases_waits_and_gives_back(redis_url: str, store: PoolStore) -> None:
    def use() -> list[bool]:
        with connect(redis_url) as client, client.acquire(store.pool, wait_s=5) as lease:
            inside = [lease.lost, lease.released]
        return [*inside, lease.released]

    assert await asyncio.to_thread(use) == [False, False, True]
    assert await state_is(store, State.CLEANING)


async def test_many_threads_share_one_synchronous_client(redis_url: str, store: PoolStore) -> None:
    await store.open(settings(on_release="none"), "x")
    holders: list[int] = []

    def work(client: Client) -> None:
        for _ in range(5):
            with client.acquire(store.pool, wait_s=30) as lease:
                holders.append(lease.fence)

    def run() -> None:
        with connect(redis_url) as client:
            threads = [threading.Thread(target=work, args=(client,)) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    await asyncio.to_thread(run)
    assert len(holders) == 40
    assert holders == sorted(holders), "one after the other"


async def test_a_holder_that_never_waited_is_told_at_once_that_its_container_died(
    client: AsyncClient, store: PoolStore
) -> None:
    lost = asyncio.Event()
    lease = await client.acquire(store.pool, ttl_s=600, on_lost=lambda _: lost.set())
    [record] = (await store.status()).containers

    assert await store.transition(record, State.UNHEALTHY, store={"note": "it died"})

    await asyncio.wait_for(lost.wait(), 20)  # its next heartbeat would be due after 200 s
    with pytest.raises(LeaseLost):
        lease.check()


async def test_a_request_that_is_still_on_its_way_is_not_taken_for_lost(client: AsyncClient, store: PoolStore) -> None:
    keeper = keeper_of(client)
    answer = keeper.expect((store.pool, "on its way"))

    await keeper.collect(store.pool, ["on its way"])

    assert not answer.done()
    keeper.forget((store.pool, "on its way"), answer)


async def test_two_answers_for_one_request_never_cost_its_lease(client: AsyncClient, store: PoolStore) -> None:
    """A hint and the poll may both ask about a request; whoever is second must not take the lease for an orphan."""
    first = await client.acquire(store.pool)
    waiting = asyncio.create_task(client.acquire(store.pool, wait_s=30, request_id="mine"))
    await eventually(lambda: _queue_length(store, 1))
    await first.release()
    await clean(store)

    await asyncio.gather(*(keeper_of(client).collect(store.pool, ["mine"]) for _ in range(5)))

    lease = await waiting
    await keeper_of(client).collect(store.pool, ["mine"])
    await asyncio.gather(*keeper_of(client).background)
    lease.check()
    assert await state_is(store, State.ALLOCATED)
    await lease.release()
