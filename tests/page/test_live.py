"""The live page in a real browser: what it shows, and how soon."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Browser, expect

from pool.models import State
from tests.page.browser import Visit, visiting
from tests.page.stage import Stage, busy_morning, day

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_page_shows_pools_containers_holders_and_who_waits(browser: Browser, stage: Stage) -> None:
    await busy_morning(stage)

    async with visiting(browser, stage.url) as visit:
        page = visit.page
        await expect(page.get_by_role("heading", level=2).first).to_have_text("browsers")
        await expect(page.get_by_role("heading", name="mail", exact=True)).to_be_visible()
        await expect(page.locator(".card")).to_have_count(12)
        draining = visit.card("browsers-1")
        await expect(draining).to_contain_text("allocated, draining")
        await expect(draining.locator("use")).to_have_attribute("href", "#shape-allocated")
        await expect(visit.card("browsers-8")).to_contain_text("three resets failed: the port does not open")
        queue = page.locator(".queue").first
        await expect(queue.get_by_role("listitem")).to_have_count(3)
        first = queue.get_by_role("listitem").first
        await expect(first).to_contain_text("release-gate/51")
        await expect(first).to_contain_text("critical")
        await expect(first).to_contain_text("Next in line, containers:")
        await expect(page.locator(".forecast").first).to_contain_text("about")
        await expect(page.locator("#failures")).to_contain_text("quarantined browsers-8")


async def test_a_lease_is_seen_as_it_is_taken_and_given_back(browser: Browser, stage: Stage) -> None:
    await stage.open("browsers", 2)

    async with visiting(browser, stage.url) as visit:
        card = visit.card("browsers-1")
        await expect(card.locator(".state")).to_have_text("available")
        assert await stage.take("browsers", "run-42") == "browsers-1"
        await expect(card.locator(".state")).to_have_text("allocated")
        await expect(card.locator(".holder")).to_have_text("run-42")
        await expect(visit.page.locator("#events")).to_contain_text("lease.granted")
        await stage.give_back("browsers-1", "failed")
        await expect(card.locator(".state")).to_have_text("cleaning")
        await expect(visit.page.locator("#failures")).to_contain_text("work failed browsers-1")
        await stage.clean("browsers-1", ms=23)
        await expect(card.locator(".state")).to_have_text("available")
        await expect(card.locator(".last")).to_have_text("soft 23 ms")
        await expect(card.locator(".counts")).to_contain_text("1 use")


async def test_what_one_pool_does_stays_in_its_section(browser: Browser, stage: Stage) -> None:
    await stage.open("browsers", 1)
    await stage.open("mail", 1, managed=False)

    async with visiting(browser, stage.url) as visit:
        browsers, mail = (visit.page.get_by_role("region", name=name) for name in ("browsers", "mail"))
        await stage.take("mail", "me")
        await expect(mail.locator(".card .state")).to_have_text("allocated")
        await expect(browsers.locator(".card .state")).to_have_text("available")
        await expect(mail.locator(".banners")).to_contain_text("No manager is active")
        await expect(browsers.locator(".banners li")).to_have_count(0)


async def test_a_pool_says_that_it_is_degraded_and_draining(browser: Browser, stage: Stage) -> None:
    store = await stage.open("browsers", 1)

    async with visiting(browser, stage.url) as visit:
        banners = visit.page.locator(".banners")
        await store.degrade("", "12 requests wait", facts={})
        await expect(banners).to_contain_text("Degraded: 12 requests wait.")
        await store.drain(facts={"by": "me"})
        await expect(banners).to_contain_text("Draining: no new request is taken")
        await expect(visit.page.get_by_role("button", name="Resume the pool")).to_be_visible()
        await store.degrade("12 requests wait", "", facts={})
        await store.resume()
        await expect(banners.get_by_role("listitem")).to_have_count(0)


async def test_names_from_tenants_stay_text(browser: Browser, stage: Stage) -> None:
    await stage.open("browsers", 2)
    evil = '<img src=x onerror="document.title=1">'

    async with visiting(browser, stage.url) as visit:
        await stage.take("browsers", evil, metadata={"note": evil})
        await expect(visit.card("browsers-1").locator(".holder")).to_have_text(evil)
        await stage.move("browsers-2", State.QUARANTINED, note=evil)
        await expect(visit.card("browsers-2").locator(".holder")).to_have_text(evil)
        await expect(visit.page.locator("#events")).to_contain_text(evil)
        await expect(visit.page.locator("#failures")).to_contain_text(evil)
        dialog = await visit.details("browsers-1")
        await expect(dialog).to_contain_text(evil)
        await dialog.get_by_role("button", name="Quarantine").click()
        await expect(visit.asking).to_contain_text(f"Take it away from {evil}")
        assert await visit.page.locator("img").count() == 0
        assert await visit.page.title() == "containerpool"


async def test_containers_and_events_can_be_narrowed_down(browser: Browser, stage: Stage) -> None:
    await busy_morning(stage)

    async with visiting(browser, stage.url) as visit:
        page, section = visit.page, visit.page.get_by_role("region", name="browsers")
        await section.get_by_role("button", name=re.compile("^quarantined")).click()
        await expect(section.locator(".card")).to_have_count(1)
        await section.get_by_role("button", name=re.compile("^quarantined")).click()
        await section.get_by_label("Find a container or a holder").fill("browsers-3")
        await expect(section.locator(".card")).to_have_count(1)
        await section.get_by_label("Find a container or a holder").fill("nobody")
        await expect(section.get_by_text("No container is like that.")).to_be_visible()
        await page.get_by_label("Only what contains").fill("no such thing")
        await expect(page.locator("#events")).to_be_hidden()
        await page.get_by_label("Only what contains").fill("mail-1")
        await expect(page.locator("#events li").first).to_contain_text("mail-1")
        await page.get_by_label("Only what contains").fill("")
        await page.get_by_role("button", name="Hold").click()
        before = await page.locator("#events li").count()
        await stage.take("mail", "somebody-new")
        await expect(visit.card("mail-2").locator(".state")).to_have_text("allocated")
        assert await page.locator("#events li").count() == before
        await page.get_by_role("button", name="Go on").click()
        await expect(page.locator("#events li").first).to_contain_text("somebody-new")


async def test_the_last_day_is_drawn_and_there_as_figures(browser: Browser, stage: Stage) -> None:
    await stage.open("browsers", 1)

    async with visiting(browser, stage.url) as visit:
        await _with_history(visit, 200, day(["browsers"]))
        plots = visit.page.get_by_role("img", name=re.compile("last 24 hours: p50"))
        await expect(plots).to_have_count(3)
        await visit.page.get_by_text("As figures").click()
        await expect(visit.page.get_by_role("row")).to_have_count(25)


@pytest.mark.parametrize(
    ("status", "answer", "text"),
    [
        (404, {"code": "route_unknown"}, "This server keeps no history."),
        (403, {"code": "forbidden"}, "Operators see the history."),
        (503, {"code": "store_unavailable"}, "The server did not tell it."),
        (200, {"pools": []}, "Nothing yet"),
    ],
)
async def test_without_a_history_the_page_says_so(
    browser: Browser, stage: Stage, status: int, answer: dict[str, object], text: str
) -> None:
    await stage.open("browsers", 1)

    async with visiting(browser, stage.url, met={status}) as visit:
        await _with_history(visit, status, answer)
        await expect(visit.page.locator(".history")).to_contain_text(text)


async def test_what_the_history_recommends_is_shown_in_its_pool(browser: Browser, stage: Stage) -> None:
    await stage.open("browsers", 1)
    await stage.open("mail", 1)

    async with visiting(browser, stage.url) as visit:
        await _with_history(visit, 200, day(["browsers", "mail"]))
        browsers, mail = (visit.page.get_by_role("region", name=name) for name in ("browsers", "mail"))
        await expect(browsers.locator(".advice li")).to_have_text(re.compile(r"^warning11 containers .*Raise size"))
        await expect(mail.locator(".plots figure").first).to_be_visible()
        await expect(mail.locator(".advice")).to_be_hidden()


async def _with_history(visit: Visit, status: int, answer: dict[str, object]) -> None:
    await visit.page.route("**/v1/analytics*", lambda route: route.fulfill(status=status, json=answer))
    await visit.page.reload()
