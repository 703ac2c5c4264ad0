"""Events over HTTP, as server-sent events: each is told once, also to a listener that comes again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from pool.api.hub import EventHub
from pool.models import Event
from tests.support import open_pool
from tests.support_api import Api, serving
from tests.support_redis import one_server


@dataclass
class Told:
    id: str
    type: str
    data: dict[str, Any]


class Listener:
    """Reads a stream of events."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self) -> Told:
        fields: dict[str, str] = {}
        async with asyncio.timeout(20):
            while True:
                line = (await self.response.content.readuntil(b"\n")).decode().rstrip("\n")
                name, _, value = line.partition(": ")
                if line and not line.startswith(":"):
                    fields[name] = value
                if not line and "data" in fields:
                    return Told(fields["id"], fields["event"], json.loads(fields["data"]))

    async def until(self, kind: str) -> Told:
        while (told := await self.next()).type != kind:
            pass
        return told


@asynccontextmanager
async def listening(api: Api, query: str = "", *, after: str = "") -> AsyncIterator[Listener]:
    headers = {"Last-Event-ID": after} if after else {}
    async with api.session.get(f"{api.server.url}/v1/events{query}", headers=headers) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        yield Listener(response)


async def test_what_happens_is_told_as_it_happens(redis_url: str) -> None:
    async with (
        open_pool(redis_url, "a-1") as store,
        serving(redis_url) as api,
        listening(api, f"?pool={store.pool}") as listener,
    ):
        lease = (await api.take(pool=store.pool, owner="me")).body
        granted = await listener.until("lease.granted")
        await api.release(lease)
        released = await listener.until("lease.released")

    assert granted.data["pool"] == store.pool
    assert (granted.data["facts"]["owner"], granted.data["facts"]["container"]) == ("me", "a-1")
    assert granted.data["at"].endswith("Z")
    assert released.data["facts"]["request"] == lease["id"]
    assert lease["token"] not in json.dumps([granted.data, released.data])


async def test_only_what_is_wanted_is_told(redis_url: str) -> None:
    async with (
        open_pool(redis_url, "a-1") as one,
        open_pool(redis_url, "b-1") as two,
        serving(redis_url) as api,
        listening(api, f"?pool={one.pool}&type=lease") as listener,
    ):
        await api.take(pool=two.pool)
        await one.drain_container("a-1")
        await one.resume("a-1")
        await api.take(pool=one.pool)
        first = await listener.next()

    assert (first.type, first.data["pool"]) == ("lease.granted", one.pool)


async def test_who_comes_again_with_the_last_id_misses_nothing_and_hears_nothing_twice(redis_url: str) -> None:
    async with open_pool(redis_url) as one, open_pool(redis_url) as two, serving(redis_url) as api:
        async with listening(api, "?type=test") as listener:
            await one.tell("test.a", {"n": "1"})
            first = await listener.until("test.a")
            await two.tell("test.b", {"n": "2"})
            second = await listener.until("test.b")
        for store, number in ((one, 3), (two, 4), (one, 5)):
            await store.tell("test.missed", {"n": str(number)})
        async with listening(api, "?type=test", after=second.id) as listener:
            missed = [(await listener.next()).data["facts"]["n"] for _ in range(3)]
            await two.tell("test.live", {"n": "6"})
            live = await listener.next()

    assert [first.data["facts"]["n"], second.data["facts"]["n"]] == ["1", "2"]
    assert sorted(missed) == ["3", "4", "5"]
    assert live.data["facts"]["n"] == "6"


async def test_an_id_that_is_none_of_ours_is_refused(redis_url: str) -> None:
    async with serving(redis_url) as api:
        for wrong in ("x", "p:1", "p:1-x", "1-1", "p:1-1,", "p:٣-1"):
            reply = await api.call("GET", "/v1/events", headers={"Last-Event-ID": wrong})

            assert (reply.status, reply.body["field"]) == (422, "Last-Event-ID"), wrong


async def test_listeners_are_told_again_after_redis_was_away() -> None:
    async with one_server() as redis:
        url = f"redis://{redis.address}"
        async with open_pool(url) as store, serving(url) as api, listening(api) as listener:
            await redis.kill()
            await redis.start()
            await store.tell("test.after", {})
            told = await listener.until("test.after")

    assert told.type == "test.after"


async def test_the_end_of_the_server_ends_the_streams(redis_url: str) -> None:
    async with serving(redis_url, shutdown_grace_s=20) as api, listening(api) as listener:
        await api.server.close()
        async with asyncio.timeout(10):
            rest = await listener.response.content.read()

    assert b"event:" not in rest


async def test_who_lags_behind_is_cut_off_and_not_waited_for(redis_url: str) -> None:
    async with open_pool(redis_url) as store:
        hub = EventHub(store.connection)
        with hub.subscribe() as slow, hub.subscribe(lambda pool, event: event.type == "rare") as picky:
            for number in range(1001):
                slow.put("p", _event(number))
                picky.put("p", _event(number))
            heard = [event async for event in slow]

    assert (slow.overrun, len(heard)) == (True, 1000)
    assert not picky.overrun


def _event(number: int) -> Event:
    return Event(f"{number}-0", 0.0, "often", {})


async def test_a_stream_is_read_once_for_all_listeners(redis_url: str) -> None:
    async with (
        open_pool(redis_url) as store,
        serving(redis_url) as api,
        listening(api) as one,
        listening(api) as two,
    ):
        await store.tell("test.told", {})
        told = [await one.until("test.told"), await two.until("test.told")]

    assert told[0] == told[1]
