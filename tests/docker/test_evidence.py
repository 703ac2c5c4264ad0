"""Evidence of real containers, tenants who mean harm included."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from docker import APIClient
from docker.errors import NotFound
from fakeredis import FakeAsyncRedis

from pool.config import Config
from pool.evidence import Bundle, EvidenceKeeper, find_bundles
from pool.models import ContainerInfo, ContainerRecord, State
from pool.ports import LABEL_EVIDENCE, ContainerSpec, EngineContainer
from pool.runtimes import DockerRuntime
from pool.store import Connection, PoolStore

POOL = "boxes"


@dataclass
class Scene:
    """A running container of a deployment of its own."""

    runtime: DockerRuntime
    keeper: EvidenceKeeper
    box: EngineContainer
    root: Path

    async def do(self, script: str, *, user: str | None = None) -> None:
        result = await self.runtime.exec(self.box.ref, ["/bin/sh", "-c", script], user=user)
        assert result.exit_code == 0, result.output

    async def keep(self) -> Bundle:
        info = ContainerInfo("boxes-1", self.box.name, "", {}, "")
        record = ContainerRecord(info, State.RESETTING, revision=1, fence=1, since=0)
        bundle = await self.keeper.keep("unhealthy", record, await self.runtime.inspect(self.box.ref), "a test")
        assert bundle is not None
        return bundle


MakeScene = Callable[..., Awaitable[Scene]]


@pytest.fixture
async def make_scene(
    docker_runtime: DockerRuntime, deployment: str, sample_image: str, tmp_path: Path
) -> AsyncIterator[MakeScene]:
    connection = Connection("redis://fake", patience_s=0, redis=FakeAsyncRedis(decode_responses=True))

    async def make(container: dict[str, Any] | None = None, **evidence: Any) -> Scene:
        options = {"image": sample_image, "entrypoint": ["/bin/sleep", "600"], "stop_grace_s": 0} | (container or {})
        pools = {
            POOL: {
                "size": 1,
                "container": options,
                "health": {"tcp": None},
                "evidence": {"dir": str(tmp_path / "kept")} | evidence,
            }
        }
        config = Config.model_validate({"deployment": deployment, "pools": pools})
        created = await docker_runtime.create(ContainerSpec.of(config, config.slots(POOL)[0], generation=1))
        box = await docker_runtime.start(created.ref)
        keeper = EvidenceKeeper(config, POOL, docker_runtime, PoolStore(connection, POOL))
        return Scene(docker_runtime, keeper, box, tmp_path / "kept")

    yield make
    await connection.close()


@pytest.fixture
def images(docker_api: APIClient, deployment: str) -> Iterator[Callable[[], list[str]]]:
    """The images kept as evidence of this test's deployment; removed afterwards."""

    def kept() -> list[str]:
        found = docker_api.images(filters={"label": f"{LABEL_EVIDENCE}={deployment}"})
        return [tag for image in found for tag in image["RepoTags"] or [image["Id"]]]

    yield kept
    for image in kept():
        with suppress(NotFound):
            docker_api.remove_image(image, force=True)


async def test_a_bundle_of_a_running_container_has_everything(make_scene: MakeScene) -> None:
    scene = await make_scene(
        {"environment": {"API_TOKEN": "hush-hush"}, "tmpfs": {"/tmp": "size=8m,mode=1777"}},
        artifacts=["/home/app/files", "/tmp/out", "/dev/shm/trace"],
    )
    await scene.do("mkdir -p /home/app/files /tmp/out && echo disk >/home/app/files/a && echo memory >/tmp/out/b")
    await scene.do("echo shm >/dev/shm/trace")

    bundle = await scene.keep()

    assert bundle.facts["missing"] == []
    assert (bundle.path / "artifacts/home/app/files/a").read_text() == "disk\n"
    assert (bundle.path / "artifacts/tmp/out/b").read_text() == "memory\n"
    assert (bundle.path / "artifacts/dev/shm/trace").read_text() == "shm\n"
    assert "sleep 600" in (bundle.path / "processes.txt").read_text()
    assert "added     /home/app/files/a" in (bundle.path / "changes.txt").read_text()
    assert json.loads((bundle.path / "stats.json").read_text())["pids"] > 0
    inspected = (bundle.path / "inspect.json").read_text()
    assert "API_TOKEN=•••" in json.loads(inspected)["Config"]["Env"]
    assert "hush-hush" not in inspected


async def test_what_a_tenant_prepares_is_kept_inside_the_bundle_or_left_out(make_scene: MakeScene) -> None:
    scene = await make_scene(
        {"tmpfs": {"/tmp": ""}}, artifacts=["/home/app/x", "/tmp/x", "/home/app/link"], artifacts_mb=2
    )
    traps = (
        "mkdir {0}; cd {0}; ln -s /etc/passwd up; ln -s ../../../../.. out; mkfifo pipe; echo t >real; ln real hard;"
        "echo s >secret; chmod 000 secret; mkdir closed; echo c >closed/c; chmod 000 closed"
    )
    await scene.do(traps.format("/home/app/x"))
    await scene.do(traps.format("/tmp/x"))
    await scene.do("ln -s /etc /home/app/link; mkdir /home/app/x/zz; yes | head -c 5000000 >/home/app/x/zz/big")

    bundle = await scene.keep()

    paths = [path for path in bundle.path.rglob("*") if "artifacts" in path.parts]
    assert all(path.is_dir() or path.is_file() for path in paths)
    assert not [path for path in paths if path.is_symlink()]
    # The engine packs as root, the container's own tar as its user.
    for place in ("home/app/x", "tmp/x"):
        assert {"real", "hard"} & {path.name for path in (bundle.path / "artifacts" / place).iterdir()}
    assert not (bundle.path / "artifacts/home/app/link").exists()
    left_out = "\n".join(f"{gap['what']} {gap['why']}" for gap in bundle.facts["missing"])
    assert "a link to /etc/passwd" in left_out
    assert "a device or a pipe" in left_out
    assert "more than 2 MB" in left_out
    assert bundle.size_bytes < 3 << 20


async def test_a_path_that_is_not_there_is_noted(make_scene: MakeScene) -> None:
    scene = await make_scene({"tmpfs": {"/tmp": ""}}, artifacts=["/home/app/none", "/tmp/none"])

    bundle = await scene.keep()

    assert [gap["what"] for gap in bundle.facts["missing"]] == ["/home/app/none", "/tmp/none"]


@pytest.mark.parametrize("how", ["exited", "paused"])
async def test_a_container_that_does_not_run_still_leaves_what_it_has(
    make_scene: MakeScene, docker_api: APIClient, how: str
) -> None:
    scene = await make_scene(
        {"entrypoint": ["/bin/sh", "-c", "echo last words; exec sleep 600"]}, artifacts=["/home/app/files"]
    )
    await scene.do("mkdir /home/app/files; echo here >/home/app/files/a")
    if how == "exited":
        docker_api.kill(scene.box.ref)
        docker_api.wait(scene.box.ref)
    else:
        docker_api.pause(scene.box.ref)

    bundle = await scene.keep()

    assert bundle.facts["state"] == how
    assert "last words" in (bundle.path / "logs.txt").read_text()
    assert (bundle.path / "artifacts/home/app/files/a").read_text() == "here\n"
    missing = [gap["what"] for gap in bundle.facts["missing"]]
    assert missing == (["processes", "stats"] if how == "exited" else [])


async def test_an_image_is_kept_with_the_bundle_and_is_no_container_of_ours(
    make_scene: MakeScene, docker_api: APIClient, images: Callable[[], list[str]], deployment: str
) -> None:
    scene = await make_scene(image=True)
    await scene.do("echo kept >/home/app/own")

    bundle = await scene.keep()

    assert images() == [bundle.image]
    labels = docker_api.inspect_image(bundle.image)["Config"]["Labels"]  # type: ignore[no-untyped-call]  # stubs
    assert not labels.get("containerpool.deployment")

    [bundle] = find_bundles([scene.root])
    scene.keeper._options = scene.keeper._options.model_copy(update={"keep_days": 1e-9})
    assert [gone.id for gone in await scene.keeper.prune()] == [bundle.id]
    assert images() == []
    assert find_bundles([scene.root]) == []


async def test_a_container_that_is_gone_leaves_its_story(make_scene: MakeScene) -> None:
    scene = await make_scene(artifacts=["/home/app/files"])
    gone = replace(scene.box)
    await scene.runtime.remove(scene.box.ref)
    info = ContainerInfo("boxes-1", gone.name, "", {}, "")
    record = ContainerRecord(info, State.RESETTING, revision=1, fence=1, since=0)

    bundle = await scene.keeper.keep("unhealthy", record, gone, "somebody removed it")

    assert bundle is not None
    assert bundle.facts["note"] == "somebody removed it"
    assert {gap["what"] for gap in bundle.facts["missing"]} >= {"logs", "inspect", "changes", "/home/app/files"}
