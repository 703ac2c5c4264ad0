"""A real browser, and what it must never say: errors, violations of the page's policy, calls to other places."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Browser, Locator, Page, async_playwright, expect

#: As Debian, other systems and Google name it.
_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
#: A state that somebody brings about is waited for so long; machines that run the tests may be slow.
PATIENCE_MS = 30_000
PHONE = {"width": 360, "height": 740}
DESK = {"width": 1440, "height": 1000}

expect.set_options(timeout=PATIENCE_MS)


def find_browser() -> str:
    """The path of a Chromium; `make setup` sees to it that there is one."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    assert found, "there is no Chromium on PATH; run `sh deploy/setup browser`"
    return found


@asynccontextmanager
async def browsing() -> AsyncIterator[Browser]:
    """A browser, until the block ends."""
    async with async_playwright() as playwright:
        # as root there is no sandbox; containers have a small /dev/shm
        options = ["--no-sandbox", "--disable-dev-shm-usage", "--js-flags=--expose-gc"]
        browser = await playwright.chromium.launch(executable_path=find_browser(), args=options)
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Visit:
    """A page that somebody looks at, and what the browser complained about meanwhile."""

    page: Page
    origin: str
    complaints: list[str] = field(default_factory=list)
    #: Statuses that the page is meant to meet in this test: browsers write those into their console.
    met: set[int] = field(default_factory=set)

    def listen(self) -> None:
        self.page.on("console", lambda message: self._heard(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        self.page.on("request", lambda request: self._asked(request.url))

    def _heard(self, kind: str, text: str) -> None:
        expected = any(f"status of {status}" in text for status in self.met) or (0 in self.met and "net::ERR" in text)
        if kind in ("error", "warning") and not expected:
            self.complaints.append(text)

    def _asked(self, url: str) -> None:
        if not url.startswith((self.origin + "/", f"blob:{self.origin}/")):
            self.complaints.append(f"asked {url}")

    def card(self, container_id: str) -> Locator:
        return self.page.locator(".card").filter(has=self.page.get_by_role("button", name=container_id, exact=True))

    async def details(self, container_id: str) -> Locator:
        """Open what is known of a container."""
        await self.card(container_id).get_by_role("button").click()
        dialog = self.page.get_by_role("dialog", name=container_id, exact=True)
        await expect(dialog).to_be_visible()
        return dialog

    @property
    def asking(self) -> Locator:
        """The dialog that asks whether something is to be done."""
        return self.page.locator("#confirm")

    async def give(self, token: str) -> None:
        """Type a token into the dialog that asks for it."""
        dialog = self.page.get_by_role("dialog", name="A token, please")
        await dialog.get_by_label("API token").fill(token)
        await dialog.get_by_role("button", name="Use it").click()


@asynccontextmanager
async def visiting(
    browser: Browser, url: str, *, met: set[int] | None = None, live: bool = True, **options: Any
) -> AsyncIterator[Visit]:
    """Look at the page in a window of its own; afterwards the browser must have had no complaint."""
    context = await browser.new_context(**{"viewport": DESK} | options)
    try:
        visit = Visit(await context.new_page(), url, met=met or set())
        visit.listen()
        await visit.page.goto(url + "/")
        if live:
            await expect(visit.page.locator("#link-word")).to_have_text("live")
        yield visit
        assert visit.complaints == []
    finally:
        await context.close()
