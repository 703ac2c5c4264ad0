"""Verification cannot lie: whatever a reset leaves undone is found from outside. On the real engine, stage by stage."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio
import yaml

from pool.reset import recipe
from tests.docker.managed import DEMO, DEMO_POOL, Bench, Manage, ask
from tests.support import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: For each stage: what a tenant does that it undoes, and what is found if it does not.
DIRT = {
    "terminate_processes": ("/stray", "process /bin/sh /srv/stray"),
    "clear_temporary": ("/file?path=/tmp/.hidden", "file /tmp/.hidden"),
    "clear_caches": ("/cache?name=picture", "file /home/app/cache/picture"),
    "clear_logs": ("/log?line=hello", "file /home/app/logs/server.log (not empty)"),
    "reset_environment": ("/file?path=/home/app/.env", "file /home/app/.env (added)"),
    "validate": ("/file?path=/home/app/own.txt", "file /home/app/own.txt (added)"),
}


OWN = {"environment": ["rm -f /home/app/.env"], "validate": ["[ ! -e /home/app/own.txt ]"]}


def options(changes: Mapping[str, Any] | None = None, **reset: object) -> dict[str, Any]:
    """The options of a pool of one whose recipe is the demo's with changes, and whose resets are as given."""
    demo = yaml.safe_load(DEMO.read_text())["pools"][DEMO_POOL]["reset"]["recipe"]
    return {"size": 1, "reset": {"recipe": demo | dict(changes or {})} | reset}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(manage: Manage) -> AsyncIterator[Bench]:
    """A pool whose recipe undoes all of it."""
    async with manage(**options(OWN)) as bench:
        yield bench


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hasty(manage: Manage) -> AsyncIterator[Bench]:
    """One that looks only where it is fast to look."""
    async with manage(**options(verify="fast")) as bench:
        yield bench


async def dirty(bench: Bench, *paths: str) -> None:
    """Let a tenant do something, give the container back, and wait until it may be lent again."""
    async with await bench.client.acquire(bench.pool) as lease:
        for path in paths:
            await ask(lease.url, "POST", path, b"mine")
    await eventually(bench.whole, deadline_s=30)


def without(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    """Let a stage do nothing, and say that it succeeded."""
    bodies = recipe.stage_bodies
    monkeypatch.setattr(recipe, "stage_bodies", lambda options: bodies(options) | {stage: ":"})


@pytest.mark.parametrize("stage", DIRT)
async def test_what_a_stage_left_undone_is_found_from_outside_and_cured(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    act, left = DIRT[stage]
    without(monkeypatch, stage)

    await dirty(bench, act)
    first, *rest = await bench.resets()

    assert (first["reset_level"], first["to"]) == ("soft", "resetting")
    assert first["note"].startswith("left behind: ")
    assert left in first["note"]
    assert rest[-1]["verified"] == "yes"


async def test_with_all_stages_the_same_dirt_is_gone_after_a_soft_reset(bench: Bench) -> None:
    await dirty(bench, *(act for stage, (act, _) in DIRT.items() if stage != "validate"))

    (reset,) = await bench.resets()

    assert (reset["reset_level"], reset["to"], reset["verified"]) == ("soft", "available", "yes")


async def test_a_check_of_the_recipe_that_fails_is_named(manage: Manage) -> None:
    checks = {"validate": ["echo it is mine >&2; [ ! -e /home/app/own.txt ]"]}
    async with manage(**options(checks)) as bench:
        await dirty(bench, "/file?path=/home/app/own.txt")

        first = (await bench.resets())[0]

    assert first["note"] == "stage validate ended with code 1: it is mine"


@pytest.mark.parametrize("stage", ["terminate_processes", "clear_temporary", "clear_caches", "clear_logs"])
async def test_a_fast_verification_finds_all_but_changes_elsewhere(
    hasty: Bench, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    act, left = DIRT[stage]
    without(monkeypatch, stage)

    async with hasty.turn() as bench:
        await dirty(bench, act, "/file?path=/home/app/elsewhere")
        first = (await bench.resets())[0]

    assert left in first["note"]
    assert "elsewhere" not in first["note"]


async def test_what_the_configuration_ignores_may_stay(manage: Manage) -> None:
    ignored = {"ignore_files": ["/home/app/own*"], "ignore_processes": ["*/srv/stray*"]}
    kept = {"keep_processes": ["server", "nc", "stray"]}
    async with manage(**options(kept, **ignored)) as bench:
        await dirty(bench, "/stray", "/file?path=/home/app/own.txt")

        (reset,) = await bench.resets()

    assert (reset["reset_level"], reset["to"]) == ("soft", "available")


async def test_a_medium_reset_ends_workers_that_a_soft_one_spares(manage: Manage) -> None:
    spared = {"keep_processes": ["server", "nc", "chromium"], "medium_kill": ["chrom*"]}
    async with manage(**options(spared)) as bench:
        await dirty(bench, "/mcp")

        soft, medium = await bench.resets()

    assert "process" in soft["note"]
    assert "/srv/chromium" in soft["note"]
    assert (medium["reset_level"], medium["to"], medium["verified"]) == ("medium", "available", "yes")


async def test_a_medium_reset_starts_a_hanging_server_again(manage: Manage) -> None:
    server = "/bin/su app -c 'exec /srv/server'"
    restarted = {
        "keep_processes": ["sleep", "nc", "server"],
        "medium_kill": ["nc", "server"],
        "restart": [f"{server} >/dev/null 2>&1 &"],
    }
    supervised = {"entrypoint": ["/bin/sh", "-c", f"{server} & exec sleep 100000"]}
    async with manage(container=supervised, **options(restarted, soft_timeout_s=2)) as bench:
        started = await bench.record()
        await dirty(bench, "/hang")

        soft, medium = await bench.resets()

        assert (soft["reset_level"], soft["to"]) == ("soft", "resetting")
        assert (medium["reset_level"], medium["to"], medium["verified"]) == ("medium", "available", "yes")
        assert (await bench.record()).info == started.info
