"""A lease, in the hands of its holder."""

from __future__ import annotations

from typing import Any

import pytest

from pool.errors import (
    AlreadyReleased,
    ExtensionDenied,
    InvalidRequest,
    LeaseLost,
)
from pool.models import LeaseRef, Outcome, Priority, State
from pool.store import PoolStore, read_events
from tests.clients import open_client
from tests.contract.books import lose, state
from tests.support import eventually, settings


async def test_a_lease_says_what_was_lent_to_whom_and_gives_it_back(client: Any, store: PoolStore) -> None:
    async with await client.acquire(store.pool, owner="run-1", priority="high", timeout_s=50, ttl_s=7) as lease:
        record = await store.container("a")
        assert record is not None
        assert (record.state, record.owner, record.priority) == (State.ALLOCATED, "run-1", Priority.HIGH)
        assert (lease.url, lease.container.id, lease.container.ports) == ("http://127.0.0.1:3001", "a", {3000: 3001})
        assert (lease.fence, lease.request_id, lease.lost, lease.released) == (
            record.fence, record.request_id, False, False,
        )  # fmt: skip
        assert (lease.data.owner, lease.data.priority, lease.data.ttl_s) == ("run-1", Priority.HIGH, 7)
        assert lease.data.deadline_at - lease.data.granted_at == pytest.approx(50)
        assert 40 < lease.left_s <= 50
        assert lease.data.token not in repr(lease)

    assert lease.released
    assert await state(store) is State.AVAILABLE
    assert (await store.container("a")).last_owner == "run-1"  # type: ignore[union-attr]  # it is there


async def test_a_second_release_is_told_apart_from_a_lost_lease(client: Any, store: PoolStore) -> None:
    lease = await client.acquire(store.pool)
    await lease.release()

    with pytest.raises(AlreadyReleased):
        await lease.release()
    with pytest.raises(AlreadyReleased):
        await client.release(lease.data.ref)


@pytest.mark.parametrize("outcome", ["passed", "failed", "error"])
async def test_the_outcome_is_told_with_the_release(client: Any, store: PoolStore, outcome: str) -> None:
    await store.open(settings(ttl_s=1), "x")
    lease = await client.acquire(store.pool)

    await lease.release(outcome)

    record = await store.container("a")
    assert record is not None
    assert (record.state, record.outcome) == (State.CLEANING, Outcome(outcome))
    with pytest.raises(InvalidRequest, match="outcome"):
        await client.release(lease.data.ref, "great")


async def test_leaving_the_block_by_an_exception_releases_as_failed(client: Any, store: PoolStore) -> None:
    await store.open(settings(ttl_s=1), "x")

    with pytest.raises(ZeroDivisionError):
        async with await client.acquire(store.pool):
            raise ZeroDivisionError

    record = await store.container("a")
    assert record is not None
    assert record.outcome is Outcome.FAILED


async def test_heartbeats_keep_a_lease_beyond_its_ttl(client: Any, store: PoolStore) -> None:
    async with await client.acquire(store.pool, ttl_s=0.5) as lease:
        first = lease.data.expires_at

        async def long_past() -> bool:
            assert await store.reap() == (0, 0, 0)
            return bool((await store.status()).at > first + 1)

        await eventually(long_past)
        lease.check()


async def test_a_lost_lease_is_told_and_raises_at_the_next_call(client: Any, store: PoolStore) -> None:
    told: list[str] = []
    lease = await client.acquire(store.pool, ttl_s=600, on_lost=lambda lease: told.append(lease.container.id))

    await lose(store)

    async def is_told() -> bool:
        return told == ["a"]

    await eventually(is_told, deadline_s=20)
    assert lease.lost
    for use in (lambda: lease.url, lease.check):
        with pytest.raises(LeaseLost, match="'a'"):
            use()
    with pytest.raises(LeaseLost):
        await lease.release()
    with pytest.raises(LeaseLost):
        await lease.extend(5, reason="too late")
    with pytest.raises(LeaseLost):
        await client.release(lease.data.ref)


async def test_a_lost_lease_does_not_hide_the_error_that_ended_the_block(client: Any, store: PoolStore) -> None:
    async def fail_while_losing() -> None:
        async with await client.acquire(store.pool):
            await lose(store)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        await fail_while_losing()

    assert any("the lease was lost, too" in note for note in caught.value.__notes__)


async def test_a_holder_is_warned_before_its_deadline_and_moves_it(client: Any, store: PoolStore) -> None:
    warned: list[float] = []
    async with await client.acquire(store.pool, timeout_s=1.5, on_deadline=lambda x: warned.append(x.left_s)) as lease:
        deadline_at = lease.data.deadline_at

        async def is_warned() -> bool:
            return bool(warned)

        await eventually(is_warned)
        assert 0 < warned[0] < 1
        await lease.extend(30, reason="slow backend")

        assert lease.data.deadline_at == pytest.approx(deadline_at + 30, abs=0.01)
        assert lease.data.extensions_used == 1
        assert lease.left_s > 20

        async def past_the_old_deadline() -> bool:
            return bool((await store.status()).at > deadline_at)

        await eventually(past_the_old_deadline)
        assert await store.reap() == (0, 0, 0)
        lease.check()
    [event] = [event for event in await read_events(store.connection, store.pool) if event.type == "lease.extended"]
    assert event.fields["reason"] == "slow backend"


async def test_a_deadline_that_is_reached_ends_the_lease_by_its_holders_own_clock(
    client: Any, store: PoolStore
) -> None:
    lease = await client.acquire(store.pool, timeout_s=0.4)

    async def lost() -> bool:
        return bool(lease.lost)

    await eventually(lost)
    with pytest.raises(LeaseLost, match="deadline"):
        lease.check()


async def test_extensions_are_counted_and_bounded(client: Any, store: PoolStore) -> None:
    await store.open(settings(max_extensions=1, max_lease_timeout_s=1000, on_release="none"), "x")
    async with await client.acquire(store.pool, timeout_s=100) as lease:
        await lease.extend(5, reason="first")

        with pytest.raises(ExtensionDenied, match="1 times"):
            await lease.extend(5, reason="second")
        for extra_s, reason in ((0, "x"), (-1, "x"), (1e9, "x"), (1, "")):
            with pytest.raises(InvalidRequest) as caught:
                await lease.extend(extra_s, reason=reason)
            assert caught.value.field in ("extra_s", "reason")


async def test_another_process_extends_and_releases_by_the_reference(
    client: Any, kind: str, url: str, store: PoolStore
) -> None:
    lease = await client.acquire(store.pool, timeout_s=60)

    async with open_client(kind, url) as other:
        moved = await other.extend(lease.data.ref, 10, "helping out")
        assert moved.deadline_at == pytest.approx(lease.data.deadline_at + 10, abs=0.01)
        await other.release(LeaseRef.parse(lease.data.ref), "failed")

        with pytest.raises(AlreadyReleased):
            await other.release(lease.data.ref)
        with pytest.raises(InvalidRequest, match="ref"):
            await other.release("no reference")


async def test_a_forged_reference_reaches_nothing(client: Any, store: PoolStore) -> None:
    async with await client.acquire(store.pool) as lease:
        true = LeaseRef.parse(lease.data.ref)
        for ref in (
            LeaseRef(true.pool, true.request_id, true.fence, "forged"),
            LeaseRef(true.pool, true.request_id, true.fence + 1, true.token),
            LeaseRef(true.pool, "another", true.fence, true.token),
        ):
            with pytest.raises(LeaseLost):
                await client.release(ref)
            with pytest.raises(LeaseLost):
                await client.extend(ref, 5, "mine now")
        lease.check()
        assert await state(store) is State.ALLOCATED


async def test_a_detached_lease_lives_on_without_its_client(client: Any, store: PoolStore) -> None:
    lease = await client.acquire(store.pool, ttl_s=60)

    await lease.detach()

    with pytest.raises(AlreadyReleased, match="detached"):
        lease.check()
    assert await state(store) is State.ALLOCATED
    await client.release(lease.data.ref)
    assert await state(store) is State.AVAILABLE
