"""The page while something is away, for a day, with a thousand containers; and what it may load."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.page.browser import Visit, visiting
from tests.page.stage import Stage, on_stage
from tests.support_redis import one_server

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_redis_away_is_said_and_the_last_picture_stays(browser: Browser) -> None:
    async with one_server() as redis, on_stage(f"redis://{redis.address}") as stage:
        await stage.open("browsers", 1)
        await stage.take("browsers", "run-42")
        async with visiting(browser, stage.url, met={0, 503}) as visit:
            banner = visit.page.locator("#away")
            await expect(visit.card("browsers-1").locator(".holder")).to_have_text("run-42")
            await expect(banner).to_be_hidden()
            await redis.kill()
            await expect(banner).to_contain_text("This is how it was then.")
            await expect(banner).to_contain_text("Redis is away, since")
            await expect(visit.card("browsers-1").locator(".holder")).to_have_text("run-42")
            await redis.start()
            await expect(banner).to_be_hidden()
            await stage.give_back("browsers-1")
            await expect(visit.card("browsers-1").locator(".state")).to_have_text("cleaning")


async def test_a_page_that_was_opened_too_early_says_what_it_waits_for(browser: Browser) -> None:
    async with one_server() as redis, on_stage(f"redis://{redis.address}") as stage:
        await stage.open("browsers", 1)
        await redis.kill()
        async with visiting(browser, stage.url, met={0, 503}, live=False) as visit:
            await expect(visit.page.locator("#away")).to_contain_text("Redis is away")
            await redis.start()
            await expect(visit.card("browsers-1")).to_be_visible()


async def test_a_stream_that_breaks_off_goes_on_where_it_was(browser: Browser, stage: Stage) -> None:
    await stage.open("browsers", 3)

    async with visiting(browser, stage.url) as visit:
        events = visit.page.locator("#events li").filter(has_text="lease.granted")
        await stage.take("browsers", "before")
        await expect(events).to_have_count(1)
        for subscription in list(stage.api.server.services.hub._subscriptions):
            subscription.close()
        await stage.take("browsers", "meanwhile")
        await expect(events).to_have_count(2)
        await stage.take("browsers", "after")
        await expect(events).to_have_count(3)
        await expect(events.first).to_contain_text("after")


async def test_the_state_is_asked_for_at_most_about_once_a_second(browser: Browser, stage: Stage) -> None:
    await stage.open("browsers", 1)

    async with visiting(browser, stage.url) as visit:
        for turn in range(40):
            await stage.take("browsers", f"run-{turn}")
            await stage.give_back("browsers-1")
            await stage.clean("browsers-1")
        await expect(visit.card("browsers-1").locator(".counts")).to_contain_text("40 uses")
        asked = await visit.page.evaluate(
            """performance.getEntriesByType("resource").filter((each) => each.name.endsWith("/v1/pools"))
            .map((each) => each.startTime)"""
        )

    gaps = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert all(gap > 900 for gap in gaps), gaps


class Day:
    """Answers for the page what a server would in a day: the same containers, and ever more events."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._moment = 1_900_000_000_000
        self.told = self.due = 0

    async def serve(self, page: Page) -> None:
        await page.route("**/v1/events", self._events)
        await page.route("**/v1/pools", self._pools)

    async def _pools(self, route: Route) -> None:
        for container in self._document["pools"][0]["containers"]:
            container["revision"] += 1
            container["owner"], container["request_id"] = f"run-{container['revision']}", f"r{container['revision']}"
            container["memory_mb"] = 100 + container["revision"] % 57
        await route.fulfill(json=self._document)

    async def _events(self, route: Route) -> None:
        """A connection that breaks off after so many events, as a browser's would now and then in a day."""
        lines = []
        for _ in range(min(5_000, self.due - self.told)):
            self._moment += 1
            self.told += 1
            kind, facts = self._event()
            event = {
                "id": f"{self._moment}-0",
                "at": "2030-03-17T17:46:40.000Z",
                "pool": "browsers",
                "type": kind,
                "facts": facts,
            }
            lines.append(f"id: browsers:{self._moment}-0\nevent: {kind}\ndata: {json.dumps(event)}\n\n")
        await route.fulfill(content_type="text/event-stream", body="".join(lines))

    def _event(self) -> tuple[str, dict[str, str]]:
        where = {"container": f"browsers-{self.told % 8 + 1}", "request": f"r{self.told}", "owner": f"run-{self.told}"}
        match self.told % 4:
            case 0:
                return "lease.granted", where | {"priority": "2", "waited_us": "1200"}
            case 1:
                return "lease.released", where | {"outcome": "failed", "held_us": "31000000"}
            case 2:
                return "lease.lost", where | {"note": f"the heartbeat of {self.told} stopped"}
        reset = {"reset_level": "soft", "reset_ms": "18", "reset_reason": "on_release"}
        return "container.moved", {"container": where["container"], "from": "cleaning", "to": "available"} | reset


async def test_a_page_that_is_left_open_does_not_grow(browser: Browser, stage: Stage) -> None:
    await stage.open("browsers", 8)
    document = (await stage.api.call("GET", "/v1/pools")).body
    day = Day(document)

    async with visiting(browser, stage.url) as visit:
        await visit.page.clock.install()
        await day.serve(visit.page)
        await visit.page.reload()
        early = await _size_after(visit, day, 20_000)
        late = await _size_after(visit, day, 100_000)

    assert late["nodes"] <= early["nodes"] * 1.05 + 50, (early, late)
    assert late["listeners"] <= early["listeners"] * 1.05 + 50, (early, late)
    assert late["heap"] <= early["heap"] * 1.25 + 1_000_000, (early, late)


async def _size_after(visit: Visit, day: Day, events: int) -> dict[str, float]:
    """What the page weighs once it has heard of so many events."""
    day.due = events
    while day.told < events:
        await visit.page.clock.run_for(25_000)
    await expect(visit.page.locator("#events li").first).to_contain_text(f"{day.told}")  # all of it is shown
    await expect(visit.page.locator("#failures li")).to_have_count(30)
    devtools = await visit.page.context.new_cdp_session(visit.page)
    await devtools.send("HeapProfiler.collectGarbage")
    await devtools.send("Performance.enable")
    found = {each["name"]: each["value"] for each in (await devtools.send("Performance.getMetrics"))["metrics"]}
    await devtools.detach()
    assert await visit.page.locator("#events li").count() == 200
    return {"nodes": found["Nodes"], "listeners": found["JSEventListeners"], "heap": found["JSHeapUsedSize"]}


async def test_a_thousand_containers_stay_usable(browser: Browser, stage: Stage) -> None:
    await stage.open("browsers", 1000)

    async with visiting(browser, stage.url) as visit:
        page = visit.page
        await expect(page.locator(".card")).to_have_count(1000)
        first = await stage.take("browsers", "run-42")
        await page.get_by_label("Find a container or a holder").fill("run-42")
        await expect(page.locator(".card")).to_have_count(1)
        await expect(visit.card(first).locator(".state")).to_have_text("allocated")
        await page.get_by_label("Find a container or a holder").fill("")
        await expect(page.locator(".card")).to_have_count(1000)
        await (await visit.details("browsers-1000")).get_by_role("button", name="Drain").click()
        await visit.asking.get_by_role("button", name="Drain").click()
        await expect(visit.card("browsers-1000").locator(".state")).to_have_text("available, draining")


async def test_only_the_page_s_own_files_are_served(stage: Stage) -> None:
    page = await stage.api.call("GET", "/")
    script = await stage.api.call("GET", "/live/app.js")
    known = await stage.api.call("GET", "/live/app.js", headers={"If-None-Match": script.headers["ETag"]})
    wrong = ["/live/", "/live/nothing.js", "/live/..%2froutes_live.py", "/live/%2e%2e/page.py", "/live/__init__.py"]
    refused = [(await stage.api.call("GET", path)).status for path in wrong]

    assert (page.status, script.status, known.status, known.text) == (200, 200, 304, "")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert script.headers["Content-Type"] == "text/javascript; charset=utf-8"
    for reply in (page, script):
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in reply.headers["Content-Security-Policy"]
        assert (reply.headers["Cache-Control"], reply.headers["X-Content-Type-Options"]) == ("no-cache", "nosniff")
    assert refused == [404] * len(wrong)
