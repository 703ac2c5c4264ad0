"""`poolctl gc` on a real engine: what is ours and unknown goes; what is not ours, or another deployment's, stays."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from docker import APIClient
from docker.errors import NotFound

from pool.ports import LABEL_DEPLOYMENT, LABEL_EVIDENCE, LABEL_ID, LABEL_POOL
from pool.store import Connection, PoolStore
from tests.docker.cleaning import remove_deployment
from tests.poolctl import Poolctl
from tests.support import add_available, settings

pytestmark = pytest.mark.long


@pytest.fixture
def other_deployment(docker_api: APIClient) -> Iterator[str]:
    """Another deployment on the same engine."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    yield name
    remove_deployment(docker_api, name)


@pytest.fixture
def plant(docker_api: APIClient, sample_image: str) -> Iterator[Callable[..., str]]:
    """Start containers with some labels; all of them are removed afterwards."""
    planted: list[str] = []

    def start(labels: dict[str, str], *command: str, network: str | None = None) -> str:
        config = docker_api.create_host_config(network_mode=network, init=True)
        created = docker_api.create_container(
            sample_image, list(command) or None, labels=labels, host_config=config, entrypoint=[]
        )
        planted.append(created["Id"])
        docker_api.start(created["Id"])
        return str(created["Id"])

    yield start
    for container in planted:
        with suppress(NotFound):
            docker_api.remove_container(container, force=True)


@pytest.fixture
def labels(deployment: str) -> Callable[..., dict[str, str]]:
    def of(pool: str, container_id: str, owner: str = deployment) -> dict[str, str]:
        return {LABEL_DEPLOYMENT: owner, LABEL_POOL: pool, LABEL_ID: container_id}

    return of


@pytest.fixture
def config(tmp_path: Path, deployment: str, sample_image: str) -> Path:
    """A configuration of one pool of one container."""
    path = tmp_path / "pool.yaml"
    evidence = f"{{dir: {tmp_path / 'kept'}, causes: [removed]}}"
    path.write_text(
        f"deployment: {deployment}\n"
        f"pools: {{{deployment}: {{size: 1, container: {{image: '{sample_image}'}}, health: {{tcp: null}},"
        f" evidence: {evidence}}}}}\n"
    )
    return path


def exists(api: APIClient, container: str) -> bool:
    try:
        api.inspect_container(container)
    except NotFound:
        return False
    return True


async def test_only_what_is_ours_and_unknown_is_removed(
    poolctl: Poolctl,
    config: Path,
    plant: Callable[..., str],
    labels: Callable[..., dict[str, str]],
    docker_api: APIClient,
    deployment: str,
    other_deployment: str,
    tmp_path: Path,
) -> None:
    own_network = docker_api.create_network(f"{deployment}-stray", labels={LABEL_DEPLOYMENT: deployment})["Id"]
    their_network = docker_api.create_network(f"{other_deployment}-x", labels={LABEL_DEPLOYMENT: other_deployment})[
        "Id"
    ]
    sleep = ("/bin/sleep", "600")
    belongs = plant(labels(deployment, f"{deployment}-1"), *sleep)
    former_pool = plant(labels("former", "former-1"), *sleep, network=f"{deployment}-stray")
    former_slot = plant(labels(deployment, f"{deployment}-7"), *sleep)
    theirs = plant(labels("former", "former-1", other_deployment), *sleep)
    unlabelled = plant({}, *sleep)
    half = plant({LABEL_POOL: "former", LABEL_ID: "former-1"}, *sleep)
    ours = {former_pool, former_slot}

    looked = await poolctl("gc", "--dry-run", "--json", str(config))
    assert all(exists(docker_api, container) for container in ours), "looking removes nothing"
    done = await poolctl("gc", str(config), "--json")

    assert (looked.code, done.code) == (0, 0), done.err
    seen = [(item["kind"], item["fate"]) for item in json.loads(looked.out)["items"] if item["kind"] != "keys"]
    assert [each for each in seen if each[0] != "image"] == [("container", "garbage")] * 2 + [("network", "garbage")]
    fates = [item for item in json.loads(done.out)["items"] if item["kind"] not in ("keys", "image")]
    assert {item["fate"] for item in fates} == {"removed"}, fates
    assert not [container for container in ours if exists(docker_api, container)]
    assert all(exists(docker_api, container) for container in (belongs, theirs, unlabelled, half))
    networks = {network["Id"] for network in docker_api.networks()}
    assert own_network not in networks
    assert their_network in networks
    kept = sorted(json.loads(path.read_text())["container"] for path in (tmp_path / "kept").rglob("evidence.json"))
    assert kept == sorted(["former-1", f"{deployment}-7"])
    assert (await poolctl("gc", str(config), "--dry-run")).out.count(deployment) == 0


async def test_a_container_gets_time_to_stop_by_itself(
    poolctl: Poolctl,
    config: Path,
    plant: Callable[..., str],
    labels: Callable[..., dict[str, str]],
    docker_api: APIClient,
    tmp_path: Path,
) -> None:
    goodbye = "trap 'echo goodbye; exit 0' TERM; echo ready; while :; do sleep 0.1; done"
    box = plant(labels("former", "former-1"), "/bin/sh", "-c", goodbye)
    events = docker_api.events(filters={"container": box, "event": ["die", "kill"]}, decode=True)
    while b"ready" not in docker_api.logs(box):
        assert exists(docker_api, box)

    assert (await poolctl("gc", str(config))).code == 0

    seen = [next(events) for _ in range(2)]
    events.close()
    assert [event["Action"] for event in seen] == ["kill", "die"]
    assert seen[0]["Actor"]["Attributes"]["signal"] == "15"
    assert seen[1]["Actor"]["Attributes"]["exitCode"] == "0"


async def test_a_former_pool_goes_with_its_containers_unless_something_is_leased(
    poolctl: Poolctl,
    config: Path,
    plant: Callable[..., str],
    labels: Callable[..., dict[str, str]],
    docker_api: APIClient,
    deployment: str,
    redis_url: str,
) -> None:
    pool = f"{deployment}-former"
    connection = Connection(redis_url)
    store = PoolStore(connection, pool)
    await store.open(settings(), "first")
    await add_available(store, "a", "b")
    boxes = [plant(labels(pool, container_id), "/bin/sleep", "600") for container_id in "ab"]
    try:
        taken = await poolctl("acquire", pool, "--json", "--ttl", "600")
        first = await poolctl("gc", str(config))
        kept = [exists(docker_api, box) for box in boxes]
        await poolctl("release", json.loads(taken.out)["ref"])
        second = await poolctl("gc", str(config))
    finally:
        await store.forget()
        await connection.close()

    assert "it is leased by" in first.out
    assert kept == [True, False]
    assert f"removed  pool       {pool}" in second.out
    assert not exists(docker_api, boxes[0])


async def test_a_dangling_image_of_ours_goes_and_others_stay(
    poolctl: Poolctl, config: Path, plant: Callable[..., str], docker_api: APIClient, deployment: str
) -> None:
    box = plant({}, "/bin/sleep", "600")
    made = {}
    for name, label in (("ours", f'LABEL {LABEL_EVIDENCE}="{deployment}"'), ("theirs", f'LABEL {LABEL_EVIDENCE}="x"')):
        made[name] = docker_api.commit(box, changes=f'{label} containerpool.inputs=""')["Id"]
    try:
        done = await poolctl("gc", "--json", str(config))
        left = {image["Id"] for image in docker_api.images()}
    finally:
        for image in made.values():
            with suppress(NotFound):
                docker_api.remove_image(image, force=True)

    assert [item["name"] for item in json.loads(done.out)["items"] if item["name"] == made["ours"]] == [made["ours"]]
    assert made["ours"] not in left
    assert made["theirs"] in left
