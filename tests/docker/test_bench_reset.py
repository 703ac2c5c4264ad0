"""The benchmark of resets on a real engine: it measures everything and leaves nothing. No time is ever asserted."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from docker import APIClient

from pool.bench import run_reset
from pool.ports import LABEL_DEPLOYMENT
from pool.reset.recipe import STAGES
from tests.docker.cleaning import remove_deployment
from tests.support import eventually

pytestmark = pytest.mark.long

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def made(docker_api: APIClient, sample_image: str) -> Callable[[], set[str]]:
    """The deployments of benchmarks that have something on the engine, without those that had it before."""
    assert sample_image

    def deployments() -> set[str]:
        mine = {"label": [LABEL_DEPLOYMENT]}
        found = [*docker_api.containers(all=True, filters=mine), *docker_api.networks(filters=mine)]
        names = {each["Labels"][LABEL_DEPLOYMENT] for each in found}
        return {name for name in names if name.startswith("bench-")}

    before = deployments()
    return lambda: deployments() - before


def test_resets_are_measured_by_level_stage_and_technique_and_nothing_is_left(
    redis_url: str, made: Callable[[], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    told: list[str] = []

    rows = run_reset(url=redis_url, rounds=1, tell=told.append)

    names = [row.name for row in rows]
    for words in ("docker exec", "docker restart", "fresh container,", "soft reset", "medium", "hard", "recreation"):
        assert any(words in name for name in names), words
    assert [name for name in names if "stage" in name] == [f"soft, stage {stage}" for stage in STAGES]
    assert [str(row.goal) for row in rows if row.goal] == ["≤ 20 ms", "≥ 15", "≤ 60 ms", "≤ 1.3"]
    assert all(row.met is not None for row in rows if row.goal)
    assert told
    assert made() == set()


async def test_ctrl_c_leaves_nothing(made: Callable[[], set[str]], docker_api: APIClient) -> None:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    process = await asyncio.create_subprocess_exec(
        *("env", "--default-signal=INT"),  # where the tests run in the background, it would be ignored
        *(sys.executable, "-m", "pool.cli", "bench", "reset", "--rounds", "100000"),
        env=environment,
    )
    try:

        async def at_work() -> bool:
            return bool(await asyncio.to_thread(made))

        await eventually(at_work, deadline_s=30)
        process.send_signal(signal.SIGINT)
        code = await asyncio.wait_for(process.wait(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        left = await asyncio.to_thread(made)
        for deployment in left:
            await asyncio.to_thread(remove_deployment, docker_api, deployment)

    assert left == set()
    assert code == 130
