"""Completion as a shell does it: bash, with the script that `poolctl --show-completion` writes, and a running pool."""

from __future__ import annotations

import os
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pool.store import PoolStore
from tests.poolctl import POOLCTL, Poolctl, hold, one_container
from tests.support import wish

pytestmark = pytest.mark.long


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[PoolStore]:
    async with one_container(redis_url) as store:
        yield store


@pytest.fixture
async def poolctl(redis_url: str, tmp_path: Path) -> AsyncIterator[Poolctl]:
    """A shell has a command of this name; here it runs what is being tested."""
    async with Poolctl(redis_url, tmp_path) as runner:
        command = tmp_path / "bin" / "poolctl"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec {shlex.join(POOLCTL)} "$@"\n')
        command.chmod(0o755)
        runner.environment["PATH"] = f"{command.parent}{os.pathsep}{runner.environment['PATH']}"
        runner.environment["HOME"] = str(tmp_path)
        yield runner


async def offered(poolctl: Poolctl, line: str) -> list[str]:
    """What bash would offer at the Tab key, at the end of a line."""
    words = line.split(" ")
    script = f"""
        eval "$(env _POOLCTL_COMPLETE=source_bash poolctl)"
        COMP_WORDS=({shlex.join(words)}) COMP_CWORD={len(words) - 1}
        _poolctl_completion poolctl
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    ended = await poolctl.end(await poolctl.start(script, program=("bash", "--norc", "-c")))
    assert ended.code == 0, ended.err
    assert ended.err == ""
    return ended.out.split()


async def test_bash_offers_commands_options_and_words_that_are_always_the_same(poolctl: Poolctl) -> None:
    assert {"status", "top", "events", "doctor"} <= {*await offered(poolctl, "poolctl ")}
    assert await offered(poolctl, "poolctl run --pri") == ["--priority"]
    assert await offered(poolctl, "poolctl run --priority c") == ["critical"]
    assert await offered(poolctl, "poolctl reset x --level ") == ["soft", "medium", "hard", "recreate"]


async def test_bash_offers_pools_containers_and_requests_that_there_are(poolctl: Poolctl, store: PoolStore) -> None:
    await hold(store)
    await store.acquire(wish(f"r-{store.pool}", liveness_s=60.0))

    assert await offered(poolctl, f"poolctl status {store.pool[:4]}") == [store.pool]
    assert await offered(poolctl, f"poolctl run --many {store.pool[:4]}") == [f"{store.pool}="]
    assert await offered(poolctl, f"poolctl drain {store.pool} ") == ["a"]
    assert await offered(poolctl, f"poolctl reset --pool {store.pool} ") == ["a"]
    assert await offered(poolctl, f"poolctl queue {store.pool} --explain r-") == [f"r-{store.pool}"]


async def test_the_url_on_the_line_is_asked(poolctl: Poolctl, store: PoolStore) -> None:
    url = poolctl.environment.pop("POOL_URL")

    assert await offered(poolctl, f"poolctl status {store.pool}") == []
    assert await offered(poolctl, f"poolctl --url {url} status {store.pool}") == [store.pool]
    assert await offered(poolctl, f"poolctl status --url {url} {store.pool}") == [store.pool]


async def test_where_nobody_answers_nothing_is_offered_and_nothing_is_said(poolctl: Poolctl) -> None:
    poolctl.environment["POOL_URL"] = "redis://127.0.0.1:1"

    assert await offered(poolctl, "poolctl status ") == []


async def test_bundles_of_evidence_are_offered(poolctl: Poolctl, tmp_path: Path) -> None:
    bundle = tmp_path / "state" / "evidence" / "demo" / "web" / "20261121T081523118-web-1-4f0c1e"
    bundle.mkdir(parents=True)
    (bundle / "evidence.json").write_text('{"pool": "web"}')

    assert await offered(poolctl, "poolctl evidence show 2026") == [bundle.name]


async def test_the_script_can_be_installed(poolctl: Poolctl) -> None:
    in_bash = ("bash", "-c", "poolctl --show-completion && true")  # the shell that it is run from counts

    shown = await poolctl.end(await poolctl.start(program=in_bash))

    assert shown.code == 0
    assert "_POOLCTL_COMPLETE=complete_bash" in shown.out
