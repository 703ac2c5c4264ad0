"""Takes the picture of the live page that the documentation shows: `python -m tests.page.picture [FOLDER]`.

Besides the picture itself (`docs/images/live-page.png`) a folder gets others: dark, on a phone, degraded, Redis away,
dialogs open. Look at them after a change of the page. With Debian's `fonts-inter` and `pngquant` it looks as on most
desktops, and is small. The wait, use and reset times of the plots are made up.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Route, expect

from pool.embedded import temporary_server
from tests.page.browser import PHONE, Visit, browsing, visiting
from tests.page.stage import Stage, breathe, busy_morning, day, on_stage

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "images" / "live-page.png"
_STEPS = 24
_WIDE = {"width": 1400, "height": 1350}


async def with_history(visit: Visit) -> None:
    """Answer the question for the last day."""

    async def answer(route: Route) -> None:
        await route.fulfill(status=200, content_type="application/json", body=json.dumps(day(["browsers", "mail"])))

    await visit.page.route("**/v1/analytics*", answer)
    await visit.page.reload()
    await expect(visit.page.locator("figure").first).to_be_visible()


async def settled(visit: Visit) -> None:
    """Wait until no colour is on its way to another."""
    await visit.page.evaluate(
        """Promise.all(document.getAnimations().filter((each) => each instanceof CSSTransition)
        .map((each) => each.finished.catch(() => undefined)))"""
    )


async def _let_time_pass(visit: Visit, stage: Stage) -> None:
    """Have the page see some minutes of samples at once."""
    for step in range(_STEPS):
        await breathe(stage, step)
        async with visit.page.expect_response("**/v1/pools"):
            await visit.page.clock.run_for(21_000)  # the state is asked for at least each 10 s


async def _shots(browser: Browser, stage: Stage, folder: Path) -> None:
    for name, options in _WAYS.items():
        async with visiting(browser, stage.url, **options) as visit:
            await visit.page.clock.install()
            await with_history(visit)
            await _let_time_pass(visit, stage)
            await expect(visit.page.locator("#link-word")).to_have_text("live")
            await settled(visit)
            await visit.page.screenshot(path=folder / f"{name}.png", full_page=name == "phone")
            if name == "desk":
                await _dialogs(visit, folder)


async def _dialogs(visit: Visit, folder: Path) -> None:
    dialog = await visit.details("browsers-4")
    await visit.page.clock.run_for(2_000)
    await visit.page.screenshot(path=folder / "details.png")
    await dialog.get_by_role("button", name="Quarantine").click()
    await visit.page.screenshot(path=folder / "confirm.png")


_WAYS: dict[str, dict[str, Any]] = {
    "desk": {"viewport": _WIDE},
    "dark": {"viewport": _WIDE, "color_scheme": "dark"},
    "phone": {"viewport": PHONE, "device_scale_factor": 2},
}


async def _troubled(browser: Browser, stage: Stage, folder: Path) -> None:
    """Degraded, draining and without a manager."""
    store = stage.store("browsers")
    await store.degrade("", "41 requests wait, above 10", facts={"measure": "queue", "value": "41", "threshold": "10"})
    await stage.store("mail").drain(facts={"by": "minji", "why": "new image"})
    await stage.store("mail").resign("build-7-4711")
    async with visiting(browser, stage.url) as visit:
        await expect(visit.page.locator(".banners li")).to_have_count(3)
        await visit.page.screenshot(path=folder / "degraded.png", full_page=True)
        visit.met |= {0, 503}
        await stage.api.server.close()
        await visit.page.locator("#away").wait_for(state="visible")
        await settled(visit)
        await visit.page.screenshot(path=folder / "away.png")


def _keep(shot: Path) -> None:
    """Make it the picture, with the colours that it needs and no more."""
    PICTURE.write_bytes(shot.read_bytes())
    if pngquant := shutil.which("pngquant"):
        subprocess.run([pngquant, "--force", "--strip", "--ext", ".png", "128", PICTURE], check=True)


async def main(folder: Path) -> None:
    with temporary_server() as redis_url:
        async with on_stage(redis_url) as stage, browsing() as browser:
            await busy_morning(stage)
            await _shots(browser, stage, folder)
            await asyncio.to_thread(_keep, folder / "desk.png")
            await _troubled(browser, stage, folder)
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB; others in {folder}")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="live-page"))))
