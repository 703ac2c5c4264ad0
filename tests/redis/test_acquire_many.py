"""Bundles on a real server: all or nothing, out of one pool or of several, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest

from pool.client import AsyncClient, AsyncLease, connect
from pool.errors import (
    AcquireTimeout,
    AlreadyReleased,
    ClientClosed,
    LeaseLost,
    PoolDraining,
    RequirementsUnmet,
    UnknownPool,
)
from pool.models import Event, Outcome, State
from pool.store import LIVENESS_S, Connection, PoolStore, read_events
from tests.support import add_available, eventually, open_pool, settings
from tests.support_redis import one_server

#: A client that gets a part of its bundle, and waits for the rest.
GREEDY = """
import sys, pool
with pool.connect(sys.argv[1], owner="victim") as client:
    client.acquire_many({sys.argv[2]: 2, sys.argv[3]: 3}, wait_s=60)
"""


@pytest.fixture
async def stores(redis_url: str) -> AsyncIterator[tuple[PoolStore, PoolStore]]:
    """Two open pools, the first by name with containers a1 to a3, the second with b1 to b3, that need no reset."""
    options = {"ttl_s": 1, "claim_ttl_s": 1, "on_release": "none"}
    async with open_pool(redis_url, **options) as one, open_pool(redis_url, **options) as other:
        first, second = sorted((one, other), key=lambda store: store.pool)
        await add_available(first, "a1", "a2", "a3")
        await add_available(second, "b1", "b2", "b3")
        yield first, second


async def states(store: PoolStore) -> list[State]:
    return [record.state for record in (await store.status()).containers]


@pytest.fixture(autouse=True)
async def manager(stores: tuple[PoolStore, PoolStore]) -> AsyncIterator[None]:
    """The manager's part, without an engine: end what lapsed, and declare clean what was given back or expired."""

    async def manage() -> None:
        while True:
            for store in stores:
                await store.reap()
                for record in (await store.status()).containers:
                    if record.state in (State.CLEANING, State.RESETTING) and record.outcome is not Outcome.FAILED:
                        await store.transition(record, State.AVAILABLE)
            await asyncio.sleep(0.01)

    managing = asyncio.create_task(manage())
    yield
    managing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await managing


async def rested(*stores: PoolStore, held: int = 0) -> bool:
    """Whether nobody waits, and no more than `held` containers are lent."""
    statuses = [await store.status() for store in stores]
    lent = sum(len(status.containers) - status.count(State.AVAILABLE) for status in statuses)
    return lent == held and not any(status.queue for status in statuses)


async def waits(store: PoolStore, length: int) -> bool:
    return len((await store.status()).queue) == length


async def test_a_bundle_is_leases_of_all_its_pools_in_the_order_of_their_names(
    client: AsyncClient, stores: tuple[PoolStore, PoolStore]
) -> None:
    a, b = stores

    async with await client.acquire_many({b.pool: 1, a.pool: 2}, timeout_s=50, metadata={"run": 7}) as bundle:
        assert bundle.pools == (a.pool, b.pool)
        assert [lease.container.id for lease in bundle] == ["a1", "a2", "b1"]
        assert bundle[b.pool][0].url == "http://127.0.0.1:3001"
        assert {lease.data.deadline_at - lease.data.granted_at for lease in bundle} == {50}
        assert all(lease.data.metadata == {"run": 7} for lease in bundle)
        assert (len(bundle), bundle.lost, bundle.released) == (3, False, False)
        bundle.check()

    assert bundle.released
    assert await states(a) == await states(b) == [State.AVAILABLE] * 3
    with pytest.raises(AlreadyReleased):
        await bundle.release()


async def test_leaving_the_block_by_an_exception_releases_all_as_failed(
    client: AsyncClient, stores: tuple[PoolStore, PoolStore]
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with await client.acquire_many({store.pool: 1 for store in stores}):
            raise ZeroDivisionError

    for store in stores:
        assert (await store.status()).containers[0].outcome is Outcome.FAILED


async def test_the_same_request_id_gets_the_same_bundle(
    client: AsyncClient, stores: tuple[PoolStore, PoolStore]
) -> None:
    wish = {stores[0].pool: 2}

    async with await client.acquire_many(wish, request_id="mine") as bundle:
        again = await client.acquire_many(wish, request_id="mine")

        assert [lease.request_id for lease in bundle] == ["mine.1", "mine.2"]
        assert [lease.fence for lease in again] == [lease.fence for lease in bundle]
        assert (await states(stores[0])).count(State.ALLOCATED) == 2


@pytest.mark.parametrize("wait_s", [0, 0.3])
async def test_a_bundle_that_is_not_complete_in_time_gives_everything_back(
    client: AsyncClient, stores: tuple[PoolStore, PoolStore], wait_s: float
) -> None:
    a, b = stores
    async with await client.acquire(b.pool):
        with pytest.raises(AcquireTimeout, match=f"2 of '{a.pool}', 3 of '{b.pool}'"):
            await client.acquire_many({a.pool: 2, b.pool: 3}, wait_s=wait_s)
    await eventually(lambda: rested(a, b))


async def test_a_refusal_by_one_pool_gives_back_what_the_others_gave(
    client: AsyncClient, stores: tuple[PoolStore, PoolStore]
) -> None:
    a, b = stores
    await b.drain()

    with pytest.raises(PoolDraining):
        await client.acquire_many({a.pool: 2, b.pool: 1})

    await eventually(lambda: rested(a))


async def test_cancelling_at_any_moment_leaves_nothing_behind(
    client: AsyncClient, stores: tuple[PoolStore, PoolStore]
) -> None:
    a, b = stores
    async with await client.acquire(b.pool):
        for number in range(40):
            acquiring = asyncio.create_task(client.acquire_many({a.pool: 2, b.pool: 3}, wait_s=30))
            if number % 4 == 0:
                await eventually(lambda: waits(b, 1))
            for _ in range(number):
                await asyncio.sleep(0)
            acquiring.cancel()
            await asyncio.wait([acquiring])
            assert acquiring.cancelled()
            await eventually(lambda: rested(a, b, held=1))
    await eventually(lambda: rested(a, b))


async def test_closing_the_client_ends_a_wait_and_gives_back_what_it_had(
    redis_url: str, stores: tuple[PoolStore, PoolStore]
) -> None:
    a, b = stores
    async with AsyncClient(redis_url) as holder, await holder.acquire(b.pool):
        async with AsyncClient(redis_url) as client:
            acquiring = asyncio.create_task(client.acquire_many({a.pool: 2, b.pool: 3}, wait_s=30))
            await eventually(lambda: waits(b, 1))

        with pytest.raises(ClientClosed):
            await acquiring
        assert (await a.status()).count(State.ALLOCATED) == 0
        assert await waits(b, 0)


async def test_what_a_bundle_has_is_kept_alive_while_it_waits_for_the_rest(
    client: AsyncClient, stores: tuple[PoolStore, PoolStore]
) -> None:
    a, b = stores
    held = await client.acquire(b.pool)
    acquiring = asyncio.create_task(client.acquire_many({a.pool: 1, b.pool: 3}, wait_s=30, timeout_s=5, ttl_s=0.5))
    await eventually(lambda: waits(b, 1))

    async def renewed() -> bool:
        assert await a.reap() == await b.reap() == (0, 0, 0)
        records = [record for store in stores for record in (await store.status()).containers if record.owner]
        return all((record.expires_at or 0) > (record.granted_at or 0) + 1 for record in records)

    await eventually(renewed)
    await held.release()

    async with await acquiring as bundle:
        assert {lease.data.deadline_at - lease.data.granted_at for lease in bundle} == {5}


async def test_a_lease_lost_while_the_rest_is_waited_for_is_replaced(
    client: AsyncClient, stores: tuple[PoolStore, PoolStore]
) -> None:
    a, b = stores
    told: list[str] = []
    held = await client.acquire(b.pool)
    acquiring = asyncio.create_task(
        client.acquire_many({a.pool: 1, b.pool: 3}, wait_s=30, on_lost=lambda lease: told.append(lease.container.id))
    )
    await eventually(lambda: waits(b, 1))

    record = await a.container("a1")
    assert record is not None
    await a.transition(record, State.UNHEALTHY)
    await held.release()

    async with await acquiring as bundle:
        assert [lease.container.id for lease in bundle[a.pool]] == ["a2"]
        assert told == [], "nobody held it yet"


async def test_one_lost_lease_does_not_keep_the_others_from_being_given_back(
    client: AsyncClient, stores: tuple[PoolStore, PoolStore]
) -> None:
    a, b = stores
    bundle = await client.acquire_many({a.pool: 2, b.pool: 1})
    record = await a.container("a1")
    assert record is not None
    await a.transition(record, State.UNHEALTHY)

    async def noticed() -> bool:
        return bundle.lost

    await eventually(noticed)
    with pytest.raises(LeaseLost, match="'a1'"):
        bundle.check()
    with pytest.raises(LeaseLost, match="'a1'") as caught:
        await bundle.release()

    assert "'a2'" not in str(caught.value)
    assert await states(a) == [State.UNHEALTHY, State.AVAILABLE, State.AVAILABLE]
    assert await states(b) == [State.AVAILABLE] * 3


async def test_leases_given_back_one_by_one_are_no_fault_of_the_bundle(
    client: AsyncClient, stores: tuple[PoolStore, PoolStore]
) -> None:
    async with await client.acquire_many({store.pool: 1 for store in stores}) as bundle:
        await bundle[stores[0].pool][0].release()
        bundle.check()

    await eventually(lambda: rested(*stores))


async def test_bundles_that_compete_from_opposite_ends_never_wait_for_each_other(
    redis_url: str, stores: tuple[PoolStore, PoolStore]
) -> None:
    a, b = stores

    async def compete(client: AsyncClient, wish: dict[str, int]) -> None:
        for _ in range(50):
            async with await client.acquire_many(wish, wait_s=60):
                await asyncio.sleep(0)

    async with AsyncClient(redis_url) as one, AsyncClient(redis_url) as other:
        async with asyncio.timeout(90):
            await asyncio.gather(
                *(compete(one, {a.pool: 2, b.pool: 2}) for _ in range(2)),
                *(compete(other, {b.pool: 2, a.pool: 3}) for _ in range(2)),
            )

    await eventually(lambda: rested(a, b))


def longest_wait(events: list[Event], prefix: str) -> int:
    """Return how many grants to others came between the arrival and the grant of one of these requests, at most."""
    longest, arrived = 0, dict[str, int]()
    grants = 0
    for event in reversed(events):
        request = event.fields.get("request", "")
        if event.type == "request.queued":
            arrived[request] = grants
        elif event.type == "lease.granted":
            if request.startswith(prefix) and request in arrived:
                longest = max(longest, grants - arrived[request])
            grants += 1
    return longest


async def test_neither_bundles_starve_singles_nor_singles_bundles(
    redis_url: str, stores: tuple[PoolStore, PoolStore]
) -> None:
    store, _ = stores
    rounds = 30

    async def single(client: AsyncClient, name: str) -> None:
        for number in range(rounds):
            async with await client.acquire(store.pool, request_id=f"{name}-{number}"):
                await asyncio.sleep(0)

    async def bundle(client: AsyncClient, name: str) -> None:
        for number in range(rounds):
            async with await client.acquire_many({store.pool: 3}, request_id=f"{name}-{number}"):
                await asyncio.sleep(0)

    async with AsyncClient(redis_url) as one, AsyncClient(redis_url) as other:
        async with asyncio.timeout(90):
            await asyncio.gather(
                *(single(one, f"single{number}") for number in range(4)),
                *(bundle(other, f"bundle{number}") for number in range(2)),
            )

    events = await read_events(store.connection, store.pool, count=20_000)
    assert sum(event.type == "lease.granted" for event in events) == rounds * (4 + 2 * 3)
    assert longest_wait(events, "single") <= 3 + 2 * 3, "who came before, and no bundle twice"
    assert longest_wait(events, "bundle") <= 4 + 3 + 3


async def test_lost_data_start_a_bundle_over_as_soon_as_its_pools_are_there_again() -> None:
    async with one_server() as server:
        connection = Connection(f"redis://{server.address}")
        stores = [PoolStore(connection, name) for name in ("a", "b")]

        async def open_pools(incarnation: str) -> None:
            for store in stores:
                await store.open(settings(ttl_s=1), incarnation)
                await add_available(store, f"{store.pool}1")

        await open_pools("first")
        async with AsyncClient(f"redis://{server.address}") as client:
            held = await client.acquire("b", wait_s=0)
            acquiring = asyncio.create_task(client.acquire_many({"a": 1, "b": 1}, wait_s=30))
            await eventually(lambda: waits(stores[1], 1))

            await server.ask("FLUSHALL")
            await eventually(lambda: _is_lost(held))
            await open_pools("second")

            async with await acquiring as bundle:
                assert [lease.container.id for lease in bundle] == ["a1", "b1"]
                assert [await states(store) for store in stores] == [[State.ALLOCATED]] * 2
        await connection.close()


async def test_a_bundle_waits_for_containers_that_are_not_registered_yet(redis_url: str, client: AsyncClient) -> None:
    async with open_pool(redis_url, size=2) as store:
        acquiring = asyncio.create_task(client.acquire_many({store.pool: 2}, wait_s=30))
        await eventually(lambda: waits(store, 2))
        await add_available(store, "new1", "new2")

        async with await acquiring as bundle:
            assert [lease.container.id for lease in bundle] == ["new1", "new2"]
        with pytest.raises(RequirementsUnmet, match="has 2 containers"):
            await client.acquire_many({store.pool: 3})


async def _is_lost(lease: AsyncLease) -> bool:
    return lease.lost


async def test_a_client_killed_half_way_leaves_nothing_behind(
    redis_url: str, client: AsyncClient, stores: tuple[PoolStore, PoolStore]
) -> None:
    a, b = stores
    async with await client.acquire(b.pool):
        victim = await asyncio.create_subprocess_exec(sys.executable, "-c", GREEDY, redis_url, a.pool, b.pool)
        try:
            await eventually(lambda: waits(b, 1), deadline_s=30)
        finally:
            victim.kill()
            await victim.wait()

        async def reaped() -> bool:
            for store in stores:
                await store.reap()
            return await rested(a, b, held=1)

        await eventually(reaped, deadline_s=LIVENESS_S + 10)


async def test_what_can_never_be_had_is_refused_before_anything_is_asked_for(
    client: AsyncClient, stores: tuple[PoolStore, PoolStore]
) -> None:
    a, b = stores
    with pytest.raises(UnknownPool, match="'zzz'"):
        await client.acquire_many({a.pool: 1, "zzz": 1})
    with pytest.raises(RequirementsUnmet, match=f"'{b.pool}' has 3 containers"):
        await client.acquire_many({a.pool: 1, b.pool: 4})
    with pytest.raises(RequirementsUnmet, match="3 containers"):
        await client.acquire_many({a.pool: 4})

    for store in stores:
        assert not [event for event in await read_events(store.connection, store.pool) if "request" in event.fields]


async def test_the_synchronous_bundle_holds_and_gives_back(redis_url: str, stores: tuple[PoolStore, PoolStore]) -> None:
    a, b = stores

    def use() -> list[str]:
        with connect(redis_url) as client, client.acquire_many({b.pool: 1, a.pool: 1}) as bundle:
            bundle.check()
            ids = [bundle[a.pool][0].container.id, *(lease.container.id for lease in bundle)]
            bundle.release("failed")
            return ids

    assert await asyncio.to_thread(use) == ["a1", "a1", "b1"]
    for store in stores:
        assert (await store.status()).containers[0].outcome is Outcome.FAILED
