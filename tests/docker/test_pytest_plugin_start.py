"""`--pool-start` on a real engine: pools that live as long as a run of pytest, however that ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from docker import APIClient

from pool.ports import LABEL_DEPLOYMENT
from tests.docker.cleaning import remove_deployment
from tests.docker.managed import DEMO, DEMO_POOL
from tests.plugin_suites import INI, PLUGINS
from tests.poolctl import exists
from tests.support import eventually

pytestmark = pytest.mark.long

pytest_plugins = ["pytester"]

SUITE = """
import urllib.error, urllib.request
import pool

def test_the_server_answers(pool_container):
    try:
        urllib.request.urlopen(pool_container.url)
    except urllib.error.HTTPError as error:
        assert error.code == 400

def test_what_tests_start_finds_the_pool_too(pool_client):
    assert pool_client.pools() == ["browsers"]
    with pool.connect() as mine:
        assert mine.pools() == ["browsers"]

def test_fails(pool_container):
    assert False
"""

HOLDS = """
import os, pathlib, threading

def test_holds(pool_container):
    pathlib.Path("held").write_text(os.environ["POOL_URL"])
    threading.Event().wait(60)
"""


@pytest.fixture
def config(pytester: pytest.Pytester, docker_api: APIClient, sample_image: str) -> Iterator[Callable[..., str]]:
    """Write the demo's configuration, changed, under a deployment of this test; returns that."""
    name = f"t-{uuid.uuid4().hex[:8]}"

    def write(*, size: int = 2, spares: int = 0, **container: Any) -> str:
        document = yaml.safe_load(DEMO.read_text()) | {"deployment": name}
        document["pools"][DEMO_POOL] |= {"size": size, "spares": spares}
        document["pools"][DEMO_POOL]["container"] |= container
        document["pools"][DEMO_POOL]["limits"] |= {"ttl_s": 8, "max_wait_s": 120}
        (pytester.path / "pool.yaml").write_text(yaml.safe_dump(document))
        return name

    yield write
    for deployment in deployments(docker_api, name):
        remove_deployment(docker_api, deployment)


@pytest.fixture(autouse=True)
def _inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID", "PYTEST_ADDOPTS", "POOL_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makefile(".ini", pytest=INI + "pool_start = pool.yaml\n")


def deployments(api: APIClient, name: str) -> set[str]:
    """Those that were made of a name."""
    found = api.containers(all=True) + api.networks()
    labels = [(each["Labels"] or {}).get(LABEL_DEPLOYMENT, "") for each in found]
    return {label for label in labels if label.startswith(f"{name}-")}


def test_a_pool_runs_for_the_session_and_leaves_nothing(
    pytester: pytest.Pytester, config: Callable[..., str], docker_api: APIClient
) -> None:
    name = config()
    pytester.makepyfile(test_them=SUITE)

    result = pytester.runpytest_subprocess(*PLUGINS, "-n2", "--pool-evidence=kept", timeout=100)

    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "containerpool: starting */pool.yaml: browsers 0/2",
            "containerpool: browsers (2) from */pool.yaml, ready after * s",
            "*containerpool logs browsers-?*",
            "use * browsers: 2 containers held *; a reset takes * s on average",
            "evidence * of 1 failed test, with 1 bundle of the manager*",
        ]
    )
    [kept] = (pytester.path / "kept").iterdir()
    [bundle] = [path for path in kept.iterdir() if path.is_dir()]
    request = json.loads((kept / "lease.json").read_text())["id"]
    assert json.loads((bundle / "evidence.json").read_text())["lease"]["request_id"] == request
    assert not deployments(docker_api, name)


def test_a_pool_with_spares_is_ready_while_they_stand_by(
    pytester: pytest.Pytester, config: Callable[..., str], docker_api: APIClient
) -> None:
    name = config(size=1, spares=1)
    pytester.makepyfile(test_it="def test_it(pool_container): ...")

    result = pytester.runpytest_subprocess(*PLUGINS, timeout=100)

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["containerpool: browsers (2) from */pool.yaml, ready after * s"])
    result.stdout.fnmatch_lines(["use * browsers: 1 container held *"])
    assert not deployments(docker_api, name)


def test_a_pool_that_does_not_start_ends_the_run_with_its_log(
    pytester: pytest.Pytester, config: Callable[..., str], docker_api: APIClient
) -> None:
    name = config(entrypoint=["/bin/false"])
    pytester.makepyfile(test_them=SUITE)

    result = pytester.runpytest_subprocess(*PLUGINS, timeout=100)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --pool-start: the manager of */pool.yaml *; the end of its log:*", "*browsers-?*"]
    )
    assert not deployments(docker_api, name)


def test_a_wrong_configuration_is_told_by_its_fields(pytester: pytest.Pytester, config: Callable[..., str]) -> None:
    config(memory="much")
    pytester.makepyfile(test_them=SUITE)

    result = pytester.runpytest_subprocess(*PLUGINS)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --pool-start: *pool.yaml: pools.browsers.container.memory: *"])


def test_only_collecting_starts_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_them=SUITE)

    result = pytester.runpytest_subprocess(*PLUGINS, "--collect-only", "-q")

    assert result.ret == pytest.ExitCode.OK


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
async def test_a_run_that_is_ended_takes_its_pool_with_it(
    pytester: pytest.Pytester, config: Callable[..., str], docker_api: APIClient, number: signal.Signals
) -> None:
    name = config()
    pytester.makepyfile(test_them=HOLDS)
    process = await asyncio.create_subprocess_exec(
        *("env", "--default-signal=INT", sys.executable, "-m", "pytest", *PLUGINS),
        cwd=pytester.path,
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,
    )
    try:
        await eventually(exists(pytester.path / "held"), deadline_s=60)
        assert deployments(docker_api, name)

        os.killpg(process.pid, number)

        async with asyncio.timeout(60):
            await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    async def gone() -> bool:
        return not await asyncio.to_thread(deployments, docker_api, name) and not socket.parents[1].exists()

    socket = Path((pytester.path / "held").read_text().removeprefix("unix://"))
    await eventually(gone, deadline_s=60)
