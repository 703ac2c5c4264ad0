"""The commands on real containers: logs, top, doctor, run, reset, events, with a manager and its HTTP server."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from docker import APIClient

from pool.ports import LABEL_DEPLOYMENT
from tests.docker.managed import DEMO
from tests.poolctl import Poolctl
from tests.support import eventually

#: The sample's server, and a line on stdout whenever a container starts.
TALKING = "echo started as $(hostname); exec /srv/server"

#: Asks the container and prints the status of its answer.
ASKING = """
import os, urllib.error, urllib.request
try:
    urllib.request.urlopen(os.environ["POOL_CONTAINER_URL"])
except urllib.error.HTTPError as error:
    print(error.code)
"""


@dataclass
class Scene:
    """A pool that `poolctl serve` manages."""

    poolctl: Poolctl
    config: Path
    deployment: str
    api: APIClient
    manager: Process
    http: str = ""

    async def status(self) -> dict[str, object]:
        shown = await self.poolctl("status", self.deployment, "--json")
        pools = json.loads(shown.out)["pools"] if shown.code == 0 else []
        return pools[0] if pools else {}

    async def ready(self) -> bool:
        assert self.manager.returncode is None
        containers = (await self.status()).get("containers")
        return isinstance(containers, list) and [each["state"] for each in containers] == ["available"] * 2


@pytest.fixture
async def scene(redis_url: str, tmp_path: Path, deployment: str, docker_api: APIClient) -> AsyncIterator[Scene]:
    document = yaml.safe_load(DEMO.read_text()) | {"deployment": deployment, "http": {"port": 0}}
    pool = document["pools"].pop("browsers")
    pool["container"]["entrypoint"] = ["/bin/su", "app", "-c", TALKING]
    document["pools"] = {deployment: pool}
    config = tmp_path / "pool.yaml"
    config.write_text(yaml.safe_dump(document))
    async with Poolctl(redis_url, tmp_path) as poolctl:
        log = tmp_path / "serve.log"
        words = ("serve", "--remove", "--log-format", "json", str(config))
        with log.open("wb") as file:
            manager = await poolctl.start(*words, stderr=file.fileno())
        scene = Scene(poolctl, config, deployment, docker_api, manager)
        await eventually(scene.ready, deadline_s=90)
        entries = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        scene.http = next(entry["url"] for entry in entries if entry["event"] == "http.listening")
        yield scene
        manager.send_signal(signal.SIGTERM)
        assert (await poolctl.end(manager)).code == 0
    assert docker_api.containers(all=True, filters={"label": [f"{LABEL_DEPLOYMENT}={deployment}"]}) == []


@pytest.mark.long
async def test_an_operators_day(scene: Scene) -> None:
    """One manager for all of it, since starting one takes longest."""
    first = f"{scene.deployment}-1"
    await logs_are_read_and_followed_across_a_restart(scene, first)
    await logs_are_read_over_http(scene, first)
    await top_shows_what_containers_use(scene, first)
    await a_command_runs_on_a_container(scene)
    await evidence_is_fetched_from_another_machine(scene)
    await the_doctor_is_content(scene)


async def logs_are_read_and_followed_across_a_restart(scene: Scene, first: str) -> None:
    said = f"started as {first}"
    kept = await scene.poolctl("logs", first, "-n", "5")
    as_json = await scene.poolctl("logs", first, "--json")
    following = await scene.poolctl.start("logs", first, "-f")
    assert following.stdout is not None
    assert said in (await following.stdout.readline()).decode()

    reset = await scene.poolctl("reset", first, "--level", "recreate", "--wait", "--json")
    async with asyncio.timeout(30):
        again = (await following.stdout.readline()).decode()
    following.send_signal(signal.SIGINT)

    assert said in kept.out
    assert json.loads(as_json.out.splitlines()[0]) == {"container": first, "line": said}
    assert json.loads(reset.out)["state"] == "available"
    assert said in again
    assert (await scene.poolctl.end(following)).code == 130


async def logs_are_read_over_http(scene: Scene, first: str) -> None:
    kept = await scene.poolctl("logs", first, "--url", scene.http)
    nobody = await scene.poolctl("logs", "nobody", "--url", scene.http)

    assert f"started as {first}" in kept.out
    assert (nobody.code, "there is no container 'nobody'" in nobody.err) == (2, True)


async def top_shows_what_containers_use(scene: Scene, first: str) -> None:
    [pool] = json.loads((await scene.poolctl("top", "--json", scene.deployment)).out)["pools"]
    container = pool["containers"][0]

    assert container["memory_mb"] > 0
    assert container["cpu_percent"] is not None
    assert container["last_reset"]["level"] == "recreate"
    picture = await scene.poolctl("top", scene.deployment, "--url", scene.http)
    assert first in picture.out
    assert "recreate" in picture.out


async def a_command_runs_on_a_container(scene: Scene) -> None:
    ended = await scene.poolctl("run", "-p", scene.deployment, "--", sys.executable, "-c", ASKING)
    both = await scene.poolctl("run", "--many", f"{scene.deployment}=2", "--shell", "env")

    variable = f"POOL_{scene.deployment.upper().replace('-', '_')}_URLS"
    [urls] = [line for line in both.out.splitlines() if line.startswith(f"{variable}=")]
    assert (ended.code, ended.out) == (0, "400\n")
    assert urls.count("http://") == 2
    events = await scene.poolctl("events", scene.deployment, "--type", "lease.released", "--json")
    assert len(events.out.splitlines()) == 3


async def evidence_is_fetched_from_another_machine(scene: Scene) -> None:
    failed = await scene.poolctl("run", "-p", scene.deployment, "--owner", "eve", "--shell", "exit 9")

    async def kept() -> bool:
        return "eve" in (await scene.poolctl("evidence", "list", scene.deployment)).out

    await eventually(kept, deadline_s=30)
    shown = await scene.poolctl("evidence", "list", scene.deployment, "--url", scene.http, "--json")
    [bundle] = [each for each in json.loads(shown.out)["bundles"] if each["lease"]["owner"] == "eve"]
    fetched = await scene.poolctl("evidence", "get", bundle["id"], "fetched", "--url", scene.http, "--json")
    again = await scene.poolctl("evidence", "get", bundle["id"], "fetched", "--url", scene.http)

    folder = scene.poolctl.directory / json.loads(fetched.out)["path"]
    assert (failed.code, again.code) == (9, 2)
    assert "nothing is replaced" in again.err
    assert {path.name for path in folder.iterdir()} >= {"evidence.json", "logs.txt"}
    assert json.loads((folder / "evidence.json").read_text())["cause"] == "failed"


async def the_doctor_is_content(scene: Scene) -> None:
    document = json.loads((await scene.poolctl("doctor", str(scene.config), "--json")).out)

    found = {check["check"]: (check["verdict"], check["seen"]) for check in document["checks"]}
    assert [check for check in document["checks"] if check["verdict"] == "fail"] == []
    assert found["engine"][0] == "ok"
    assert found["engine.network"] == ("ok", f"containerpool-{scene.deployment}")
    assert found["engine.image"][0] == "ok"
    assert found[f"pool.{scene.deployment}"][0] == "ok"
    assert found["redis.aof"][0] == "ok"
