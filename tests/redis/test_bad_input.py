"""Every field of a request wrong in every way: an error that names it, and a queue that does not notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from pool.client import AsyncClient
from pool.errors import AlreadyReleased, InvalidRequest, LeaseLost, PoolError, RequestConflict, RequirementsUnmet
from pool.models import LeaseRef
from pool.store import PoolStore
from tests.support import eventually, open_pool

_CYCLE: dict[str, Any] = {}
_CYCLE["itself"] = _CYCLE
NAN, INF = float("nan"), float("inf")
SECONDS: list[object] = [-1, NAN, INF, "1", True, [], 86_401]

BAD: dict[str, list[object]] = {
    "pool": ["", "No Such", "a/b", "x" * 65, 5, "ü", "a\n"],
    "priority": ["", "urgent", "CRITICAL ", 1, None, True, []],
    "owner": ["", "x" * 201, 5, b"me", "a\nb", "\x1b[2J", "\ud800"],
    "label": ["", "x" * 201, 5, "a\x00b", "\ud800"],
    "request_id": ["", "a b", "a/b", "x" * 129, 5, "ключ", "a\n", "{a}", "*"],
    "wait_s": [*SECONDS, None, 301],
    "timeout_s": [*SECONDS, 0, 0.05, 3601],
    "ttl_s": [*SECONDS, 0, 0.05],
    "metadata": [[], "text", {1: 2}, {"a": object()}, {"a": NAN}, {"a": "x" * 10_000_000}, _CYCLE, {"a": b"bytes"}],
    "max_retries": [-1, 11, 1.5, True, "2", None],
    "requirements": [
        [],
        "2 GB",
        {"min_memory": 5},
        {"min_memory_mb": -1},
        {"min_memory_mb": "much"},
        {"max_cpu_percent": 0},
        {"labels": ["a"]},
        {"labels": {"a": 1}},
    ],
}
CASES = [(field, value) for field, values in BAD.items() for value in values]
NAMES = [f"{field}-{number}" for number, (field, _) in enumerate(CASES)]
NO_EXTENSIONS: list[tuple[object, object]] = [
    (0, "x"),
    (-1, "x"),
    (NAN, "x"),
    ("5", "x"),
    (True, "x"),
    (5, ""),
    (5, None),
    (5, "x" * 501),
]
#: What a pool itself does not have, however well it is asked for.
UNMET: list[dict[str, Any]] = [{"max_cpu_percent": 50}, {"labels": {"gpu": "yes"}}]


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(redis_url, owner="me", patience_s=0) as client:
        yield client


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[PoolStore]:
    """A pool whose only container is lent, and for which somebody waits: at the end both must be as they were."""
    async with open_pool(redis_url, "a") as store, AsyncClient(redis_url, owner="other") as other:
        lease = await other.acquire(store.pool, request_id="lent")
        waiting = asyncio.create_task(other.acquire(store.pool, request_id="waits", wait_s=60))
        await eventually(lambda: _queue_is(store, ["waits"]))
        yield store
        lease.check()
        assert await _queue_is(store, ["waits"])
        async with store.connection.plain() as redis:
            known = {str(key).rpartition(":")[2] for key in await redis.keys(f"cp:{{{store.pool}}}:r:*")}
        assert known == {"lent", "waits"}
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting


async def _queue_is(store: PoolStore, names: list[str]) -> bool:
    return [request.request_id for request in (await store.status()).queue] == names


@pytest.mark.parametrize(
    ("field", "value"), CASES, ids=[f"{field}-{number}" for number, (field, _) in enumerate(CASES)]
)
async def test_a_bad_field_is_refused_by_its_name(
    client: AsyncClient, store: PoolStore, field: str, value: object
) -> None:
    wish: dict[str, Any] = {"pool": store.pool, field: value}

    with pytest.raises(InvalidRequest) as refused:
        await client.acquire(**wish)

    assert refused.value.field.partition(".")[0] == field
    assert str(refused.value).startswith(f"{refused.value.field}: ")
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("requirements", UNMET, ids=repr)
async def test_what_no_container_has_is_refused_at_once(
    client: AsyncClient, store: PoolStore, requirements: dict[str, Any]
) -> None:
    with pytest.raises(RequirementsUnmet, match=r"max_cpu_percent 50|label gpu=yes"):
        await client.acquire(store.pool, requirements=requirements)


@pytest.mark.parametrize("counts", [{}, None, "a", {"": 1}, {"A b": 1}, 0, -1, 1.0, True, "2", 1001], ids=repr)
async def test_a_bundle_of_nothing_or_of_no_number_is_refused(
    client: AsyncClient, store: PoolStore, counts: object
) -> None:
    wish: Any = counts if counts is None or isinstance(counts, dict | str) else {store.pool: counts}

    with pytest.raises(InvalidRequest) as refused:
        await client.acquire_many(wish)

    assert refused.value.field.partition(".")[0] in ("pools", "pool")


async def test_the_id_of_another_owners_request_is_refused(client: AsyncClient, store: PoolStore) -> None:
    for name in ("lent", "waits"):
        with pytest.raises(RequestConflict, match=f"'{name}' belongs to another owner than 'me'"):
            await client.acquire(store.pool, request_id=name)


async def test_the_token_of_another_lease_is_worth_nothing(
    client: AsyncClient, redis_url: str, store: PoolStore
) -> None:
    async with open_pool(redis_url, "b") as mine:
        lease = await client.acquire(mine.pool, request_id="mine")
        [record] = (await store.status()).containers
        stolen = LeaseRef(store.pool, "lent", record.fence, lease.data.token)

        for attempt in (client.release(stolen), client.extend(stolen, 5, "mine now")):
            with pytest.raises(LeaseLost):
                await attempt
        with pytest.raises(RequestConflict):
            await store.cancel("lent", lease.data.token)
        assert await store.heartbeat("any", [("lent", record.fence, lease.data.token)], liveness_s=1) == [None]
        with pytest.raises(LeaseLost):
            await store.reject(stolen, "no good", again=True)
        with pytest.raises(LeaseLost):
            await store.begin([stolen])
        await lease.release()


@pytest.mark.parametrize("ref", ["", "lent", "a/b/c", "a/b/c/d", "a/b/-1/d", "a/b/1/", "a/b/1/d/e", "a//1/d"])
async def test_what_is_no_lease_reference_is_refused(client: AsyncClient, store: PoolStore, ref: str) -> None:
    for attempt in (client.release(ref), client.extend(ref, 5, "more")):
        with pytest.raises(InvalidRequest, match="lease"):
            await attempt


@pytest.mark.parametrize("outcome", ["", "PASSED", "ok", None, 1])
async def test_an_outcome_that_is_none_leaves_the_lease_as_it_is(
    client: AsyncClient, redis_url: str, store: PoolStore, outcome: Any
) -> None:
    async with open_pool(redis_url, "b") as mine:
        lease = await client.acquire(mine.pool)

        with pytest.raises(InvalidRequest, match="outcome"):
            await lease.release(outcome)

        lease.check()
        await lease.release()


@pytest.mark.parametrize(("extra_s", "reason"), NO_EXTENSIONS)
async def test_an_extension_that_is_none_names_what_is_wrong(
    client: AsyncClient, redis_url: str, store: PoolStore, extra_s: Any, reason: Any
) -> None:
    async with open_pool(redis_url, "b") as mine, await client.acquire(mine.pool) as lease:
        with pytest.raises(InvalidRequest, match=r"extra_s|reason"):
            await lease.extend(extra_s, reason=reason)

        assert lease.data.extensions_used == 0


async def test_giving_back_twice_is_an_error_that_harms_nobody(
    client: AsyncClient, redis_url: str, store: PoolStore
) -> None:
    async with open_pool(redis_url, "b", on_release="none") as mine:
        first = await client.acquire(mine.pool)
        await first.release()
        second = await client.acquire(mine.pool)

        for again in (first.release(), client.release(first.data.ref)):
            with pytest.raises((AlreadyReleased, LeaseLost)):
                await again

        second.check()
        await second.release()


async def test_every_refusal_is_an_error_of_the_pool(client: AsyncClient, store: PoolStore) -> None:
    """Nothing of what a user gets wrong ends in another library's exception."""
    for field, value in CASES:
        wish: dict[str, Any] = {"pool": store.pool, field: value}
        with pytest.raises(PoolError):
            await client.acquire(**wish)
