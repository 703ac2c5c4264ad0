"""What operators do on the page: asked about first, never blindly, and only by who may."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, expect

from pool.access import TokenKeeper
from pool.embedded import temporary_server
from pool.evidence import Shelf
from pool.models import State
from pool.store import TokenStore, read_events
from tests.page.browser import Visit, visiting
from tests.page.stage import Stage, on_stage
from tests.support import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def told(stage: Stage, kind: str) -> dict[str, str]:
    """The facts of the only event of a kind."""
    [facts] = [dict(event.fields) for event in await read_events(stage.connection, "browsers") if event.type == kind]
    return facts


async def token(stage: Stage, name: str, **wish: str) -> str:
    """A new API token, which closes the server to who has none."""
    made = (await TokenKeeper(TokenStore(stage.connection)).create(name, **wish))[1]  # type: ignore[arg-type]

    async def closed() -> bool:
        return (await stage.api.call("GET", "/v1/pools")).status == 401

    await eventually(closed)
    return made


async def press(dialog: Locator, name: str) -> None:
    await dialog.get_by_role("button", name=name, exact=True).click()


async def test_a_drained_container_is_shown_and_the_audit_has_who(browser: Browser, stage: Stage) -> None:
    await stage.open("browsers", 1)
    operator = await token(stage, "minji", role="operator")
    await stage.take("browsers", "run-42", token=operator)

    async with visiting(browser, stage.url, live=False, met={401}) as visit:
        await visit.give(operator)
        await press(await visit.details("browsers-1"), "Drain")
        await expect(visit.asking).to_contain_text("It is leased by run-42.")
        await expect(visit.asking).to_contain_text("run-42 keeps it until the lease ends.")
        await visit.asking.get_by_label("Why").fill("new image")
        await press(visit.asking, "Drain")
        await expect(visit.asking).to_be_hidden()
        await expect(visit.page.locator("#details-state")).to_contain_text("leased by run-42")
        await expect(visit.card("browsers-1").locator(".state")).to_have_text("allocated, draining")

    assert (await stage.record("browsers-1")).draining
    assert await told(stage, "container.draining") == {"container": "browsers-1", "by": "minji", "why": "new image"}


async def test_a_reset_takes_its_level_and_a_quarantine_its_reason(browser: Browser, stage: Stage) -> None:
    await stage.open("browsers", 2)

    async with visiting(browser, stage.url) as visit:
        await press(await visit.details("browsers-1"), "Reset")
        await visit.asking.get_by_label("How thoroughly").select_option("hard")
        await press(visit.asking, "Reset")
        await expect(visit.card("browsers-1").locator(".state")).to_have_text("resetting, hard")
        await visit.page.keyboard.press("Escape")
        await press(await visit.details("browsers-2"), "Quarantine")
        await press(visit.asking, "Quarantine")
        await expect(visit.asking).to_be_visible()  # the reason is missing
        await visit.asking.get_by_label("Why").fill("looks odd")
        await press(visit.asking, "Quarantine")
        await expect(visit.card("browsers-2").locator(".holder")).to_have_text("looks odd")
        await press(visit.page.locator("#details"), "Restore")
        await press(visit.asking, "Restore")
        await expect(visit.card("browsers-2").locator(".state")).to_have_text("resetting, recreate")


async def test_a_free_container_is_paused_and_unpaused(browser: Browser, stage: Stage) -> None:
    await stage.open("browsers", 1)

    async with visiting(browser, stage.url) as visit:
        dialog = await visit.details("browsers-1")
        await press(dialog, "Pause")
        await press(visit.asking, "Pause")
        await expect(visit.card("browsers-1").locator(".state")).to_have_text("paused, draining")
        await press(dialog, "Unpause")
        await press(visit.asking, "Unpause")
        await expect(visit.card("browsers-1").locator(".state")).to_have_text("paused")
        await expect(dialog.get_by_role("button", name="Resume", exact=True)).to_be_disabled()


async def test_draining_the_pool_says_who_is_sent_away(browser: Browser, stage: Stage) -> None:
    await stage.open("browsers", 1)
    await stage.take("browsers", "run-42")
    await stage.take("browsers", "run-43")

    async with visiting(browser, stage.url) as visit:
        await expect(visit.page.locator(".queue li")).to_have_count(1)
        await visit.page.get_by_role("button", name="Drain the pool").click()
        await expect(visit.asking).to_contain_text("1 request in the queue is sent away")
        await expect(visit.asking).to_contain_text("1 lease (run-42) goes on until given back.")
        await press(visit.asking, "Drain the pool")
        await expect(visit.page.locator(".banners")).to_contain_text("Draining")
        await visit.page.get_by_role("button", name="Resume the pool").click()
        await press(visit.asking, "Resume the pool")
        await expect(visit.page.locator(".banners li")).to_have_count(0)


async def test_what_changed_while_the_dialog_was_open_is_not_acted_upon(browser: Browser, stage: Stage) -> None:
    await stage.open("browsers", 1)

    async with visiting(browser, stage.url) as visit:
        await press(await visit.details("browsers-1"), "Quarantine")
        await visit.asking.get_by_label("Why").fill("looks odd")
        await stage.take("browsers", "carol")
        await expect(visit.asking).to_contain_text(
            "browsers-1 changed meanwhile: it was available, now it is leased by carol. Nothing was done."
        )
        await press(visit.asking, "Look again")
        await expect(visit.asking).to_contain_text("carol loses it at once and is told so.")
        assert (await stage.record("browsers-1")).state is State.ALLOCATED
        await visit.asking.get_by_label("Take it away from carol").check()
        await press(visit.asking, "Quarantine")
        await expect(visit.card("browsers-1").locator(".state")).to_have_text("quarantined")


async def test_what_the_page_has_not_heard_of_yet_the_server_refuses(browser: Browser, stage: Stage) -> None:
    await stage.open("browsers", 1)

    async with visiting(browser, stage.url, met={0, 409}) as visit:
        await press(await visit.details("browsers-1"), "Reset")
        await _deafen(visit)
        await stage.take("browsers", "carol")
        await press(visit.asking, "Reset")
        await expect(visit.asking).to_contain_text(
            "container 'browsers-1' changed meanwhile: now it is allocated, leased by 'carol'; nothing was done"
        )
        await visit.page.unroute("**/v1/pools")
        await expect(visit.card("browsers-1").locator(".holder")).to_have_text("carol")
        await press(visit.asking, "Look again")
        await expect(visit.asking).to_contain_text("That is not possible now: it is leased by carol.")
        await expect(visit.asking.get_by_role("button", name="Reset")).to_be_disabled()

    assert (await stage.record("browsers-1")).state is State.ALLOCATED


async def _deafen(visit: Visit) -> None:
    """Keep the page from hearing of what changes."""
    await visit.page.route("**/v1/pools", lambda route: route.abort())


async def test_without_a_token_the_page_asks_for_one_and_can_forget_it(browser: Browser, stage: Stage) -> None:
    await stage.open("browsers", 1)
    operator = await token(stage, "minji", role="operator")

    async with visiting(browser, stage.url, live=False, met={401}) as visit:
        asked: list[str] = []
        visit.page.on("request", lambda request: asked.append(request.url))
        await visit.give("cpt_0123456789ab_" + "G" * 43)
        await expect(visit.page.locator("#login-notice")).to_contain_text("the token is not valid")
        await visit.give(operator)
        await expect(visit.page.locator("#link-word")).to_have_text("live")
        await expect(visit.page.locator("#role")).to_have_text("operator")
        kept = await visit.page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]")
        await visit.page.reload()
        await expect(visit.card("browsers-1")).to_be_visible()
        await visit.page.get_by_role("button", name="Forget the token").click()
        await expect(visit.page.locator("#link-word")).to_have_text("needs a token")
        await expect(visit.page.locator(".card")).to_have_count(0)
        assert await visit.page.evaluate("sessionStorage.length") == 0

    assert kept == [1, 0, ""]
    assert not [url for url in asked if operator in url]


async def test_a_client_looks_on_and_nothing_else(browser: Browser, stage: Stage) -> None:
    await stage.open("browsers", 1)
    client = await token(stage, "ci", role="client", owner="ci")
    operator = await token(stage, "boss", role="operator")

    async with visiting(browser, stage.url, live=False, met={401, 403}) as visit:
        await visit.give(client)
        await expect(visit.page.locator("#role")).to_have_text("client: looks only")
        await expect(visit.page.get_by_role("button", name="Drain the pool")).to_be_disabled()
        dialog = await visit.details("browsers-1")
        await expect(dialog.locator("#details-actions button:not(:disabled)")).to_have_count(0)
        await expect(dialog).to_contain_text("Operators see the evidence.")
        await visit.page.keyboard.press("Escape")
        await stage.take("browsers", "somebody/else", token=operator)  # seen without events, too
        await expect(visit.card("browsers-1").locator(".state")).to_have_text("allocated")
        await expect(visit.card("browsers-1").locator(".holder")).to_have_text("somebody")


async def test_evidence_is_listed_and_can_be_fetched(browser: Browser, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, "shop", "browsers")
    bundle_id, folder = shelf.begin("browsers-1", 1_800_000_000)
    (folder / "log.txt").write_text("what it said")
    shelf.finish(bundle_id, folder, {"container": "browsers-1", "pool": "browsers", "cause": "<b>crash</b>"})

    with temporary_server() as redis_url:
        async with on_stage(redis_url, evidence=tmp_path) as stage:
            await stage.open("browsers", 1)
            operator = await token(stage, "minji", role="operator")
            async with visiting(browser, stage.url, live=False, met={401}) as visit:
                await visit.give(operator)
                dialog = await visit.details("browsers-1")
                await expect(dialog).to_contain_text("<b>crash</b> · 2 files")
                async with visit.page.expect_download() as started:
                    await dialog.get_by_role("button", name=bundle_id).click()
                await (await started.value).save_as(tmp_path / "saved.tar")

    with tarfile.open(tmp_path / "saved.tar") as archive:
        assert archive.extractfile(f"{bundle_id}/log.txt").read() == b"what it said"  # type: ignore[union-attr]


async def test_a_container_is_drained_with_the_keyboard_alone(browser: Browser, stage: Stage) -> None:
    await stage.open("browsers", 1)

    async with visiting(browser, stage.url) as visit:
        page = visit.page
        await expect(visit.card("browsers-1")).to_be_visible()
        await _tab_to(visit, "browsers-1")
        await page.keyboard.press("Enter")
        await expect(page.locator("#details")).to_be_visible()
        await expect(page.locator("#details-title")).to_be_focused()
        await _tab_to(visit, "Drain")
        await page.keyboard.press("Enter")
        await expect(page.locator("#confirm-reason")).to_be_focused()
        await page.keyboard.type("by hand")
        await page.keyboard.press("Enter")
        await expect(visit.asking).to_be_hidden()
        await expect(visit.card("browsers-1").locator(".state")).to_have_text("available, draining")
        assert await page.evaluate("document.querySelector('#details').contains(document.activeElement)")
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("button", name="browsers-1", exact=True)).to_be_focused()


async def _tab_to(visit: Visit, name: str) -> None:
    for _ in range(40):
        await visit.page.keyboard.press("Tab")
        if await visit.page.evaluate("document.activeElement.textContent") == name:
            return
    pytest.fail(f"the keyboard does not lead to {name!r}")
