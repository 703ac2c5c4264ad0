"""Waiting over HTTP: many calls, one connection to Redis; whoever leaves is withdrawn; whoever comes back goes on."""

from __future__ import annotations

import asyncio
import signal

import pytest
from redis.asyncio import Redis

from pool.models import RequestState, State
from pool.store import PoolStore
from tests.support import eventually, open_pool
from tests.support_api import Api, clean, serving
from tests.support_redis import one_server


async def _queued(store: PoolStore) -> list[str]:
    return [request.request_id for request in (await store.status()).queue]


async def _until_queued(store: PoolStore, count: int) -> None:
    async def all_there() -> bool:
        return len(await _queued(store)) == count

    await eventually(all_there, deadline_s=30)


async def _until_calls(api: Api, count: int) -> None:
    """Wait until so many calls wait in a server."""

    async def all_there() -> bool:
        return api.server.services.desk.calls == count

    await eventually(all_there)


async def _blocked(redis_url: str) -> int:
    """How many connections block on the inbox of a process, as the server itself counts them."""
    async with Redis.from_url(redis_url, protocol=2, decode_responses=True) as redis:
        clients = await redis.client_list()
    return sum(client["cmd"] == "blpop" and "b" in client["flags"] for client in clients)


async def test_a_free_container_is_taken_at_once_and_given_back(redis_url: str) -> None:
    async with open_pool(redis_url, "a-1") as store, serving(redis_url) as api:
        taken = await api.take(pool=store.pool, owner="run", priority="high", metadata={"test": "x"}, wait_s=0)
        refused = await api.take(pool=store.pool, wait_s=0)
        given_back = await api.release(taken.body)
        again = await api.release(taken.body)

    assert (taken.status, taken.headers["Location"]) == (201, f"/v1/leases/{taken.body['id']}")
    assert taken.body["container"]["id"] == "a-1"
    assert taken.body["token"].startswith("cpl_")
    assert (taken.body["owner"], taken.body["priority"], taken.body["metadata"]) == ("run", "high", {"test": "x"})
    assert 0 < taken.body["left_s"] <= 120
    assert (refused.status, refused.body["code"], "Retry-After" in refused.headers) == (503, "acquire_timeout", True)
    assert (given_back.status, given_back.text) == (204, "")
    assert (again.status, again.body["code"]) == (409, "lease_already_released")


async def test_a_call_waits_until_a_container_is_free(redis_url: str) -> None:
    async with open_pool(redis_url, "a-1") as store, serving(redis_url) as api:
        first = (await api.take(pool=store.pool)).body
        waiting = asyncio.create_task(api.take(pool=store.pool, wait_s=20))
        await _until_queued(store, 1)

        await api.release(first)
        await clean(store, "a-1")
        second = await waiting

    assert (second.status, second.body["container"]["id"]) == (201, "a-1")
    assert second.body["fence"] > first["fence"]


async def test_what_still_waits_is_polled_and_served(redis_url: str) -> None:
    async with open_pool(redis_url, "a-1") as store, serving(redis_url) as api:
        first = (await api.take(pool=store.pool)).body

        queued = await api.take(pool=store.pool, wait_s=0.05, request_id="mine")
        polled = await api.call("GET", queued.body["poll"] + "&wait_s=0.05")
        polling = asyncio.create_task(api.call("GET", queued.body["poll"] + "&wait_s=20"))
        await api.release(first)
        await clean(store, "a-1")
        served = await polling
        once_more = await api.call("GET", queued.body["poll"])

    assert (queued.status, queued.body["request_id"], queued.body["position"]) == (202, "mine", 1)
    assert queued.headers["Location"] == queued.body["poll"]
    assert (polled.status, polled.body["position"]) == (202, 1)
    assert (served.status, served.body["id"]) == (200, "mine")
    assert (once_more.status, once_more.body["token"]) == (200, served.body["token"])


async def test_what_is_granted_between_two_polls_is_kept_alive_until_it_is_fetched(redis_url: str) -> None:
    async with open_pool(redis_url, "a-1", ttl_s=0.6, claim_ttl_s=0.6) as store, serving(redis_url) as api:
        first = (await api.take(pool=store.pool, ttl_s=60)).body
        queued = await api.take(pool=store.pool, wait_s=0.05)
        await api.release(first)
        await clean(store, "a-1")

        async def outlived_its_ttl() -> bool:  # the reaper would have ended it, if nobody kept it alive
            await store.reap()
            record = await store.container("a-1")
            assert record is not None
            assert record.owner == "everybody"
            return record.granted_at is not None and (await store.status()).at > record.granted_at + 1.2

        await eventually(outlived_its_ttl)
        fetched = await api.call("GET", queued.body["poll"])
        beat = await api.call("POST", f"/v1/leases/{fetched.body['id']}/heartbeat", token=fetched.body["token"])

    assert (fetched.status, beat.status) == (200, 200)


async def test_a_request_that_nobody_asks_about_is_withdrawn(redis_url: str) -> None:
    async with open_pool(redis_url, "a-1") as store, serving(redis_url, liveness_s=1) as api:
        await api.take(pool=store.pool)
        queued = await api.take(pool=store.pool, wait_s=0.01)

        await _until_queued(store, 0)
        gone = await api.call("GET", queued.body["poll"])

    assert (gone.status, gone.body["code"]) == (410, "request_conflict")


async def test_a_lease_that_nobody_fetches_goes_to_the_next_one(redis_url: str) -> None:
    async with open_pool(redis_url, "a-1") as store, serving(redis_url, liveness_s=1) as api:
        first = (await api.take(pool=store.pool)).body
        await api.take(pool=store.pool, wait_s=0.01, request_id="left")
        await api.release(first)
        await clean(store, "a-1")

        async def given_back() -> bool:
            record = await store.container("a-1")
            return record is not None and record.state != "allocated"

        await eventually(given_back)


async def test_closing_the_connection_while_a_call_waits_withdraws_the_request_at_once(redis_url: str) -> None:
    async with open_pool(redis_url, "a-1") as store, serving(redis_url) as api:
        first = (await api.take(pool=store.pool)).body
        calls = [asyncio.create_task(api.take(pool=store.pool, wait_s=60, request_id=f"r{n}")) for n in range(10)]
        await _until_queued(store, 10)

        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await _until_queued(store, 0)
        await api.release(first)
        await clean(store, "a-1")

        record = await store.container("a-1")
        states = [(await _found(store, f"r{n}")) for n in range(10)]

    assert record is not None
    assert (record.state, record.fence) == ("available", first["fence"]), "nobody was granted the container"
    assert states == [RequestState.CANCELLED] * 10


async def _found(store: PoolStore, request_id: str) -> RequestState | None:
    record = await store.find(request_id)
    return None if record is None else record.state


async def test_closing_a_poll_leaves_the_request_in_the_queue(redis_url: str) -> None:
    async with open_pool(redis_url, "a-1") as store, serving(redis_url) as api:
        first = (await api.take(pool=store.pool)).body
        queued = (await api.take(pool=store.pool, wait_s=0.01)).body
        poll = asyncio.create_task(api.call("GET", queued["poll"] + "&wait_s=20"))
        await _until_calls(api, 1)

        poll.cancel()
        await asyncio.gather(poll, return_exceptions=True)
        await _until_calls(api, 0)
        still = await _queued(store)
        await api.release(first)
        await clean(store, "a-1")
        fetched = await api.call("GET", queued["poll"])

    assert still == [queued["request_id"]]
    assert fetched.status == 200


async def test_a_request_is_withdrawn_by_its_owner(redis_url: str) -> None:
    async with open_pool(redis_url, "a-1") as store, serving(redis_url) as api:
        await api.take(pool=store.pool)
        queued = (await api.take(pool=store.pool, wait_s=0.01)).body
        polling = asyncio.create_task(api.call("GET", queued["poll"] + "&wait_s=20"))
        await _until_calls(api, 1)

        withdrawn = await api.call("DELETE", f"/v1/requests/{queued['request_id']}")
        told = await polling
        again = await api.call("DELETE", f"/v1/requests/{queued['request_id']}")
        unknown = await api.call("DELETE", "/v1/requests/nobody-knows")

    assert (withdrawn.status, again.status, unknown.status) == (204, 204, 404)
    assert (told.status, told.body["code"]) == (410, "request_conflict")
    assert unknown.body["code"] == "request_unknown"


async def test_the_same_request_gets_the_same_lease_at_every_server(redis_url: str) -> None:
    async with open_pool(redis_url, "a-1") as store, serving(redis_url) as one, serving(redis_url) as two:
        leases = [(await api.take(pool=store.pool, request_id="mine", owner="me")).body for api in (one, two, one, two)]
        other = await two.take(pool=store.pool, request_id="mine", owner="you")

    assert {lease["token"] for lease in leases} == {leases[0]["token"]}
    assert (other.status, other.body["code"]) == (409, "request_conflict")


async def test_a_waiting_request_moves_to_the_server_that_is_asked(redis_url: str) -> None:
    async with open_pool(redis_url, "a-1") as store, serving(redis_url) as one, serving(redis_url) as two:
        first = (await one.take(pool=store.pool)).body
        queued = (await one.take(pool=store.pool, wait_s=0.01, request_id="mine", owner="me")).body
        polling = asyncio.create_task(two.call("GET", queued["poll"] + "&wait_s=20"))
        await _until_calls(two, 1)
        await one.release(first)
        await clean(store, "a-1")
        served = await polling
        withdrawn = await two.call("DELETE", f"/v1/requests/{queued['request_id']}?pool={store.pool}")
        record = await store.container("a-1")

    assert (served.status, served.body["id"]) == (200, "mine")
    assert withdrawn.status == 204
    assert record is not None
    assert record.state == "cleaning"


async def test_a_server_that_ends_answers_and_leaves_the_place_in_the_queue(redis_url: str) -> None:
    async with open_pool(redis_url, "a-1") as store, serving(redis_url) as next_one:
        async with serving(redis_url) as api:
            first = (await api.take(pool=store.pool)).body
            waiting = asyncio.create_task(api.take(pool=store.pool, wait_s=60, request_id="mine", owner="me"))
            bundle = asyncio.create_task(
                api.call("POST", "/v1/bundles", json={"pools": {store.pool: 1}, "wait_s": 60, "request_id": "b"})
            )
            await _until_queued(store, 2)
            await api.server.close()
            told, told_too = await waiting, await bundle

        after = await _queued(store)
        again = asyncio.create_task(next_one.take(pool=store.pool, wait_s=20, request_id="mine", owner="me"))
        await _until_calls(next_one, 1)
        await next_one.release(first)
        await clean(store, "a-1")
        served = await again

    assert (told.status, told.body["code"], told.headers["Retry-After"]) == (503, "shutting_down", "1")
    assert (told_too.status, told_too.body["code"]) == (503, "shutting_down")
    assert after == ["mine"], "the request waits on; the bundle was handed back"
    assert served.status == 201


async def test_hundreds_wait_over_one_blocking_connection_and_are_served_in_order(redis_url: str) -> None:
    count = 300
    async with open_pool(redis_url, "a-1", max_queued=1000) as store, serving(redis_url) as api:
        first = (await api.take(pool=store.pool)).body
        before = await _blocked(redis_url)
        asks = [api.take(pool=store.pool, wait_s=60, request_id=f"r{number}") for number in range(count)]
        calls = [asyncio.create_task(ask) for ask in asks]
        await _until_queued(store, count)
        blocking = await _blocked(redis_url)
        order = await _queued(store)

        for held, expected in zip([first["id"], *order[:4]], order[:5], strict=True):
            lease = first if held == first["id"] else (await calls[int(held[1:])]).body
            await api.release(lease)
            await clean(store, "a-1")
            got = await calls[int(expected[1:])]
            assert (got.status, got.body["id"]) == (201, expected)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await _until_queued(store, 0)

    assert before <= 1
    assert blocking == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_calls_that_wait_outlive_a_redis_that_is_away(how: signal.Signals) -> None:
    async with one_server() as redis:
        url = f"redis://{redis.address}"
        async with open_pool(url, "a-1") as store, serving(url) as api:
            first = (await api.take(pool=store.pool)).body
            calls = [asyncio.create_task(api.take(pool=store.pool, wait_s=60)) for _ in range(5)]
            await _until_queued(store, 5)

            if how is signal.SIGKILL:
                await redis.kill()
                away = await api.take(pool=store.pool, wait_s=0)
                await redis.start()
            else:
                redis.send(signal.SIGSTOP)
                away = await api.take(pool=store.pool, wait_s=0)
                redis.send(signal.SIGCONT)
            await api.release(first)
            await clean(store, "a-1")
            done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED, timeout=20)

            assert (away.status, away.body["code"]) == (503, "store_unavailable")
            assert [call.result().status for call in done] == [201]
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)


async def test_a_bundle_is_taken_whole_and_given_back_when_its_caller_leaves(redis_url: str) -> None:
    async with open_pool(redis_url, "a-1", "a-2") as one, open_pool(redis_url, "b-1") as two, serving(redis_url) as api:
        wish = {"pools": {one.pool: 2, two.pool: 1}, "wait_s": 30, "owner": "me"}
        taken = await api.call("POST", "/v1/bundles", json=wish)
        waiting = asyncio.create_task(api.call("POST", "/v1/bundles", json=wish))
        await _until_queued(min(one, two, key=lambda store: store.pool), 2 if one.pool < two.pool else 1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await _until_queued(one, 0)
        await _until_queued(two, 0)
        tokens = [lease["token"] for leases in taken.body["leases"].values() for lease in leases]
        beats = await api.call("POST", "/v1/heartbeats", json={"tokens": tokens})
        too_many = await api.call("POST", "/v1/bundles", json={"pools": {two.pool: 2}, "wait_s": 1})

    assert {pool: len(leases) for pool, leases in taken.body["leases"].items()} == {one.pool: 2, two.pool: 1}
    assert all(row["expires_at"] for row in beats.body["leases"])
    assert (too_many.status, too_many.body["code"]) == (422, "requirements_unmet")


async def test_a_container_that_is_unfit_is_rejected_for_another_one(redis_url: str) -> None:
    async with open_pool(redis_url, "a-1", "a-2") as store, serving(redis_url) as api:
        first = (await api.take(pool=store.pool, request_id="mine")).body
        path = "/v1/leases/mine/reject"
        second = await api.call("POST", path, token=first["token"], json={"problem": "GET / answered 500"})
        queued = await api.call("POST", path, token=second.body["token"], json={"problem": "no answer", "wait_s": 0.05})
        waiting = asyncio.create_task(api.call("GET", queued.body["poll"] + "&wait_s=20"))
        await _until_calls(api, 1)
        await clean(store, first["container"]["id"])
        third = await waiting
        ended = await api.call("POST", path, token=third.body["token"], json={"problem": "no", "again": False})

    assert (second.status, queued.status, third.status) == (201, 202, 200)
    assert first["container"]["id"] != second.body["container"]["id"]
    assert (ended.status, ended.body["code"]) == (503, "none_fit")


async def test_a_frozen_container_is_thawed_for_who_does_not_wait(redis_url: str) -> None:
    async with open_pool(redis_url, "a-1") as store, serving(redis_url) as api:
        record = await store.container("a-1")
        assert record is not None
        assert await store.transition(record, State.PAUSED)
        asking = asyncio.create_task(api.take(pool=store.pool, wait_s=0))
        await _until_queued(store, 1)

        await clean(store, "a-1")
        taken = await asking

    assert taken.status == 201
