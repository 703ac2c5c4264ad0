"""The demo as its user runs it: a command, real processes, real containers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from docker import APIClient

from pool.demo.plan import planned_runs
from pool.ports import LABEL_DEPLOYMENT
from tests.docker.cleaning import remove_deployment

pytestmark = pytest.mark.long

_DEADLINE_S = 100


def test_the_demo_passes_its_checks_and_leaves_nothing_behind(docker_api: APIClient) -> None:
    with _demo("--json") as process:
        output, complaints = process.communicate(timeout=_DEADLINE_S)

    assert process.returncode in (0, 1), complaints
    report = json.loads(output)
    assert [check for check in report["checks"] if not check["passed"]] == []
    assert (process.returncode, report["passed"]) == (0, True)
    assert {lease["run"] for lease in report["served"]} == {run.name for run in planned_runs()}
    assert {found["what"] for found in report["recoveries"]} == {"runner_killed", "container_killed"}
    assert set(report["resets"]) >= {"soft", "hard"}
    assert _listed(docker_api, report["deployment"]) == []


def test_a_demo_that_is_ended_early_takes_down_what_it_set_up(docker_api: APIClient) -> None:
    with _demo() as process:
        assert process.stdout is not None
        deployment = process.stdout.readline().split()[-1]
        try:
            next(line for line in process.stdout if "test runs begin" in line)
            assert len(_listed(docker_api, deployment)) == 3

            process.terminate()
            process.communicate(timeout=_DEADLINE_S)

            assert process.returncode == 143
            assert _listed(docker_api, deployment) == []
        finally:
            remove_deployment(docker_api, deployment)


@contextmanager
def _demo(*flags: str) -> Iterator[subprocess.Popen[str]]:
    """Run the demo; a SIGTERM at the end has it tidy up if it still runs."""
    command = [sys.executable, "-m", "pool.cli", "demo", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def _listed(client: APIClient, deployment: str) -> list[str]:
    """What the engine has under the deployment's label: containers and networks."""
    mine = {"label": [f"{LABEL_DEPLOYMENT}={deployment}"]}
    return [found["Id"] for found in [*client.containers(all=True, filters=mine), *client.networks(filters=mine)]]
