"""The image of the manager, built as `deploy/images/build` does and run as `deploy/compose.yaml` says."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from docker import APIClient

from pool.ports import LABEL_DEPLOYMENT
from tests.docker.conftest import deployment, sample_image
from tests.docker.managed import DEMO
from tests.support import eventually
from tests.support_acl import guarded_server
from tests.support_redis import free_port

__all__ = ["deployment", "sample_image"]

ROOT = Path(__file__).parents[2]
IMAGE = "containerpool-manager:latest"
SOCKET = Path("/var/run/docker.sock")

pytestmark = pytest.mark.timeout(900)  # the first build installs packages


@dataclass
class Site:
    """Where managers run, one after the other."""

    api: APIClient
    config: Path
    redis_url: str
    port: int
    deployment: str
    started: list[str] = field(default_factory=list)

    def start(self) -> str:
        """Start a manager as the compose file does; returns its container's id."""
        service = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]["manager"]
        made = self.api.create_container(
            IMAGE,
            environment={"POOL_URL": self.redis_url, "HEALTH_URL": f"http://127.0.0.1:{self.port}/healthz"},
            host_config=self.api.create_host_config(
                binds=[f"{self.config}:/etc/containerpool/pool.yaml:ro", f"{SOCKET}:/var/run/docker.sock"],
                network_mode=service["network_mode"],
                group_add=[str(SOCKET.stat().st_gid)],
                read_only=service["read_only"],
                cap_drop=service["cap_drop"],
                security_opt=["no-new-privileges"],
                tmpfs={"/tmp": "size=64m"},
                init=service["init"],
            ),
        )
        self.started.append(made["Id"])
        self.api.start(made["Id"])
        return str(made["Id"])

    def state(self, manager: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.inspect_container(manager)["State"]
        return found

    async def stop(self, manager: str) -> int:
        """Send it SIGTERM; returns its exit status."""
        self.api.kill(manager, "SIGTERM")

        async def ended() -> bool:
            return not self.state(manager)["Running"]

        await eventually(ended, deadline_s=90)
        return int(self.state(manager)["ExitCode"])

    async def ready(self, http: aiohttp.ClientSession, manager: str) -> None:
        async def answers() -> bool:
            assert self.state(manager)["Running"], self.api.logs(manager).decode()
            try:
                async with http.get("/readyz") as reply:
                    return reply.status == 200
            except aiohttp.ClientError:
                return False

        await eventually(answers, deadline_s=120)

    def pooled(self) -> set[str]:
        """The ids of the pool's containers."""
        mine = {"label": [f"{LABEL_DEPLOYMENT}={self.deployment}"]}
        return {container["Id"] for container in self.api.containers(all=True, filters=mine)}


@pytest.fixture(scope="module")
def manager_image(docker_api: APIClient) -> str:
    """The image of the code as it is; at once where it was built before."""
    done = subprocess.run(
        [sys.executable, ROOT / "deploy" / "images" / "build", "manager"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return IMAGE


@pytest.fixture
def site(
    docker_api: APIClient, manager_image: str, sample_image: str, deployment: str, tmp_path: Path
) -> Iterator[Site]:
    port = free_port()
    document = yaml.safe_load(DEMO.read_text()) | {"deployment": deployment, "http": {"port": port}}
    config = tmp_path / "pool.yaml"
    config.write_text(yaml.safe_dump(document))
    config.chmod(0o644)
    with guarded_server(port=free_port()) as redis:
        site = Site(docker_api, config, redis.url("manager"), port, deployment)
        try:
            yield site
        finally:
            for manager in site.started:
                docker_api.remove_container(manager, force=True, v=True)


@pytest.fixture
async def http(site: Site) -> AsyncIterator[aiohttp.ClientSession]:
    async with AsyncExitStack() as stack:
        session = aiohttp.ClientSession(f"http://127.0.0.1:{site.port}", timeout=aiohttp.ClientTimeout(60))
        yield await stack.enter_async_context(session)


async def test_a_manager_in_a_container_lends_others_and_the_next_one_goes_on(
    site: Site, http: aiohttp.ClientSession
) -> None:
    first = site.start()
    await site.ready(http, first)
    before = site.pooled()
    wish = {"owner": "me", "wait_s": 30, "ttl_s": 300, "timeout_s": 300}
    async with http.post("/v1/leases", json=wish) as reply:
        lease = await reply.json()
        assert reply.status == 201, lease
    async with aiohttp.ClientSession() as session, session.get(lease["url"]) as page:
        assert page.status == 400  # what the sample's server says without a session

    status = await site.stop(first)
    second = site.start()
    await site.ready(http, second)
    proof = {"Authorization": f"Bearer {lease['token']}"}
    async with http.get(f"/v1/leases/{lease['id']}", headers=proof) as reply:
        kept = await reply.json()
    async with http.delete(f"/v1/leases/{lease['id']}?outcome=passed", headers=proof) as reply:
        released = reply.status

    async def clean() -> bool:
        async with http.get("/v1/containers") as reply:
            states = [container["state"] for container in (await reply.json())["containers"]]
            return states == ["available"] * 2

    await eventually(clean, deadline_s=60)
    assert status == 0
    assert kept["container"] == lease["container"]
    assert released in (200, 204)
    assert site.pooled() == before
    assert await site.stop(second) == 0


async def test_the_engine_sees_whether_the_server_answers(site: Site, http: aiohttp.ClientSession) -> None:
    manager = site.start()
    await site.ready(http, manager)

    async def healthy() -> bool:
        return bool(site.state(manager)["Health"]["Status"] == "healthy")

    await eventually(healthy, deadline_s=90)
    await site.stop(manager)


async def test_it_runs_as_nobody_in_particular_and_has_no_secret(site: Site) -> None:
    facts = site.api.inspect_image(IMAGE)  # type: ignore[no-untyped-call] # the stubs leave it untyped
    history = site.api.history(IMAGE)  # type: ignore[no-untyped-call]

    assert facts["Config"]["User"] == "pool"
    assert not any("PASSWORD" in word or "TOKEN" in word for word in facts["Config"]["Env"])
    assert not any("PASSWORD" in step["CreatedBy"] for step in history)
    assert facts["Size"] < 300 * 2**20


async def test_poolctl_in_the_image_makes_the_first_token_straight_on_redis(site: Site) -> None:
    made = site.api.create_container(
        IMAGE, ["token", "create", "boss", "--role", "operator"], environment={"POOL_URL": site.redis_url},
        host_config=site.api.create_host_config(network_mode="host"),
    )  # fmt: skip
    site.started.append(made["Id"])
    site.api.start(made["Id"])

    status = await asyncio.to_thread(site.api.wait, made["Id"], timeout=60)

    assert status["StatusCode"] == 0
    assert site.api.logs(made["Id"], stderr=False).decode().startswith("cpt_")
