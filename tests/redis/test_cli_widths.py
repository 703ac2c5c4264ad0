"""At 80 columns no line of any command is longer, and nothing is lost without a word."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pool.models import ContainerInfo, Priority, State
from pool.store import PoolStore
from tests.poolctl import Poolctl, one_container
from tests.support import wish

pytestmark = pytest.mark.long

OWNER = "a-rather-long-owner@some-host.example.com"
URL = "http://browsers.example.com:33287"


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[PoolStore]:
    """A pool with what takes room: long names, a holder, somebody who waits, a note."""
    async with one_container(redis_url) as store:
        await store.acquire(wish("4bdefb20294eecc0", owner=OWNER, priority=Priority.CRITICAL, ttl_s=600.0))
        await store.acquire(wish("23556895740f1037", owner=OWNER, liveness_s=60.0))
        info = ContainerInfo("playwright-browsers-2", "n-2", "browsers.example.com", {3000: 33287}, URL)
        record = await store.register(info, spec="s")
        assert await store.transition(record, State.QUARANTINED, store={"note": "a look " * 12})
        yield store


@pytest.fixture
async def poolctl(redis_url: str, tmp_path: Path) -> AsyncIterator[Poolctl]:
    async with Poolctl(redis_url, tmp_path) as runner:
        runner.environment["COLUMNS"] = "80"
        yield runner


@pytest.mark.parametrize(
    "words",
    ["status POOL", "queue POOL", "top POOL", "events POOL", "doctor", "gc --dry-run", "evidence list", "config check"],
)
async def test_no_line_is_longer_than_80_characters(poolctl: Poolctl, store: PoolStore, words: str) -> None:
    (poolctl.directory / "config").mkdir()
    (poolctl.directory / "config" / "pool.yaml").write_text(
        "deployment: widths\npools: {web: {size: 2, container: {image: i, ports: [{container: 80, host: 0}]}}}"
    )
    bundle = poolctl.directory / "state" / "evidence" / "widths" / "web" / "20261121T081523118-web-1-4f0c1e"
    bundle.mkdir(parents=True)
    (bundle / "evidence.json").write_text(f'{{"pool": "web", "note": "{"a note " * 20}", "cause": "expired"}}')

    shown = await poolctl(*words.replace("POOL", store.pool).split())
    print(shown.out)

    assert shown.out
    assert max(map(len, shown.out.splitlines())) <= 80


async def test_the_holder_is_whole_at_80_columns_and_what_is_missing_is_said(
    poolctl: Poolctl, store: PoolStore
) -> None:
    narrow = (await poolctl("status", store.pool)).out
    poolctl.environment["COLUMNS"] = "160"
    wide = (await poolctl("status", store.pool)).out

    assert "no room for:" in narrow
    assert "url" in narrow.split("no room for:")[1].splitlines()[0]
    assert OWNER in "".join(wide.split())
    assert URL in wide
    assert "no room for:" not in wide
    assert (await only_quarantined(store)) in narrow


async def only_quarantined(store: PoolStore) -> str:
    records = (await store.status()).containers
    return next(record.id for record in records if record.state is State.QUARANTINED)


async def test_colours_are_for_terminals(poolctl: Poolctl, store: PoolStore) -> None:
    for words in (("status", store.pool), ("top", store.pool), ("events", store.pool), ("doctor",)):
        assert "\x1b" not in (await poolctl(*words)).out
