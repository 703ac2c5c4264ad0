"""The page is for everybody: axe finds nothing to say, in each scheme, width and state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]  # it has no types
from playwright.async_api import Browser, expect

from tests.page.browser import DESK, PHONE, Visit, visiting
from tests.page.picture import settled, with_history
from tests.page.stage import Stage, breathe, busy_morning

pytestmark = pytest.mark.asyncio(loop_scope="session")

Scheme = Literal["light", "dark"]
Open = Callable[[Visit], Awaitable[None]]


async def _map(visit: Visit) -> None:
    await visit.page.get_by_text("As figures").first.click()


async def _details(visit: Visit) -> None:
    await visit.details("browsers-1")


async def _confirm(visit: Visit) -> None:
    await visit.page.keyboard.press("Escape")
    await (await visit.details("browsers-4")).get_by_role("button", name="Quarantine").click()
    await expect(visit.asking).to_be_visible()


async def _login(visit: Visit) -> None:
    await visit.page.keyboard.press("Escape")
    await visit.page.keyboard.press("Escape")
    await visit.page.get_by_role("button", name="Give a token").click()


async def _away(visit: Visit) -> None:
    await visit.page.keyboard.press("Escape")
    visit.met |= {0}
    await visit.page.route("**/v1/**", lambda route: route.abort())
    await expect(visit.page.locator("#away")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
async def test_axe_has_nothing_against_the_page(
    browser: Browser, stage: Stage, scheme: Scheme, size: dict[str, int]
) -> None:
    await busy_morning(stage)
    await breathe(stage, 1)
    found = []

    async with visiting(browser, stage.url, color_scheme=scheme, viewport=size) as visit:
        await with_history(visit)
        await expect(visit.card("browsers-1")).to_be_visible()
        for open_it in (_map, _details, _confirm, _login, _away):
            await open_it(visit)
            await settled(visit)  # a colour on its way would be measured, too
            violations = (await Axe().run(visit.page)).response["violations"]
            found += [(open_it.__name__, each["id"], each["nodes"][0]["failureSummary"]) for each in violations]

    assert found == []


@pytest.mark.parametrize("width", [360, 768, 1440])
async def test_nothing_is_wider_than_the_screen(browser: Browser, stage: Stage, width: int) -> None:
    await busy_morning(stage)
    await stage.take("browsers", "an-owner-with-a-name-that-has-no-end/" + "x" * 150)

    async with visiting(browser, stage.url, viewport={"width": width, "height": 800}) as visit:
        await expect(visit.page.locator(".queue li").nth(3)).to_be_visible()
        assert await visit.page.evaluate("document.documentElement.scrollWidth") <= width
        await visit.details("browsers-2")
        assert await visit.page.evaluate("document.querySelector('#details').scrollWidth") <= width


async def test_who_asked_for_less_motion_gets_none(browser: Browser, stage: Stage) -> None:
    await stage.open("browsers", 1)

    async with visiting(browser, stage.url, reduced_motion="reduce") as visit:
        await expect(visit.card("browsers-1")).to_be_visible()
        assert await visit.page.evaluate("document.getAnimations().length") == 0
