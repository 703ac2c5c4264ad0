"""What is read from the kernel on the engine's host is what the engine itself says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from docker import APIClient

from pool.ports import Change, ChangeKind, EngineContainer
from pool.runtimes import DockerRuntime
from pool.runtimes.docker.local import LocalHost
from pool.runtimes.docker.overlay import read_overlay
from pool.runtimes.docker.payloads import read_changes
from tests.runtime_contract import spec_maker
from tests.support import eventually

#: What a tenant does to the files of the sample image, one after the other in one container.
DEEDS = {
    "nothing": ":",
    "a new file": "echo x > /home/app/new",
    "a new tree": "mkdir -p /opt/a/b/c && echo x > /opt/a/b/c/d",
    "a changed file": "echo x >> /srv/idle",
    "changed permissions": "chmod 4711 /srv/hog",
    "changed back": "chmod 755 /srv/hog && touch -r /srv/stray /tmp/as-before",
    "changed permissions of a directory": "chmod 700 /var/tmp",
    "another owner": "chown 1000:1000 /srv/stray",
    "a deleted file": "rm /srv/chromium",
    "a deleted directory": "rm -r /home/app/cache",
    "a directory deleted and made again": "cd /home/app && rm -r profile && mkdir profile && touch profile/x",
    "a file in place of a directory": "rm -r /home/app/logs && echo x > /home/app/logs",
    "a directory in place of a file": "rm /srv/idle && mkdir /srv/idle",
    "a renamed file": "mv /srv/hog /srv/boar",
    "a renamed directory": "mv /opt/a /opt/z",
    "links": "ln -s / /opt/root; ln -s /nowhere /opt/nowhere; ln /home/app/new /home/app/twin",
    "a link in place of a directory": "rm -r /home/app/profile && ln -s /etc /home/app/profile",
    "a fifo": "mkfifo /tmp/fifo",
    "odd names": r"""cd /tmp && touch "$(printf 'a\377b')" 'c d' "$(printf 'e\nf')" '*' ü""",
    "an old time stamp": "touch -t 200001010000 /tmp/old /tmp",
    "undone": "rm -rf /opt/z /opt/root /opt/nowhere /tmp/*",
    "many files": "i=0; while [ $i -lt 300 ]; do : > /tmp/$i; i=$((i+1)); done",
    "deep directories": "d=/tmp; i=0; while [ $i -lt 60 ]; do d=$d/d; i=$((i+1)); done; mkdir -p $d",
}

#: The same on an image that was made of what they leave behind.
ON_TOP = {
    "nothing": ":",
    "a file that the image deleted": "echo x > /srv/chromium",
    "a directory that the image deleted": "mkdir -p /home/app/cache/new",
    "a directory in place of a link": "cd /home/app && rm profile && mkdir profile && touch profile/y",
    "a file in a directory that the image put in place of a file": "touch /srv/idle/x",
    "all deleted": "rm -r /tmp/* /srv/boar /home/app/new",
    "deleted and made again on top of that": "rm -r /srv/idle && mkdir /srv/idle && touch /srv/idle/z",
    "as it was before": "cd /srv && rm -r idle && mkdir idle",
}


@pytest.fixture
async def box(docker_runtime: DockerRuntime, deployment: str, sample_image: str) -> EngineContainer:
    options: dict[str, Any] = {"user": "root", "entrypoint": ["/bin/sleep", "1000"]}
    capabilities = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"]
    spec = spec_maker(deployment, sample_image)(**options, cap_add=capabilities)
    return await docker_runtime.start((await docker_runtime.create(spec)).ref)


def by_engine(api: APIClient, ref: str) -> set[Change]:
    return set(read_changes(api.diff(ref)))


def may_look(api: APIClient, ref: str) -> bool:
    return os.access(api.inspect_container(ref)["GraphDriver"]["Data"]["UpperDir"], os.R_OK | os.X_OK)


async def compare(
    runtime: DockerRuntime, api: APIClient, ref: str, deeds: dict[str, str]
) -> dict[str, tuple[set[Change], set[Change]]]:
    """Do one deed after the other; returns where layers and engine differ, and in what."""
    host = LocalHost()
    host.note(api.inspect_container(ref))
    looks = may_look(api, ref)
    differing = {}
    for deed, script in deeds.items():
        done = await runtime.exec(ref, ["/bin/sh", "-c", script])
        assert done.exit_code == 0, (deed, done.output)
        ours, theirs = host.changes(ref), by_engine(api, ref)
        assert (ours is not None) is looks
        if ours is not None and (len(ours) != len(theirs) or set(ours) != theirs):
            differing[deed] = (set(ours) - theirs, theirs - set(ours))
    return differing


async def test_changed_files_are_the_same_from_the_layers_and_from_the_engine(
    docker_runtime: DockerRuntime, docker_api: APIClient, box: EngineContainer
) -> None:
    assert await compare(docker_runtime, docker_api, box.ref, DEEDS) == {}
    assert {change.kind for change in by_engine(docker_api, box.ref)} == set(ChangeKind)


async def test_they_are_the_same_on_an_image_that_has_deletions_in_its_own_layers(
    docker_runtime: DockerRuntime, docker_api: APIClient, box: EngineContainer, deployment: str
) -> None:
    await compare(docker_runtime, docker_api, box.ref, DEEDS)
    image = f"containerpool-{deployment}:layers"
    await docker_runtime.commit(box.ref, tag=image)
    try:
        spec = spec_maker(deployment, image)("box-2", user="root", cap_add=["DAC_OVERRIDE", "FOWNER"])
        second = await docker_runtime.start((await docker_runtime.create(spec)).ref)

        assert await compare(docker_runtime, docker_api, second.ref, ON_TOP) == {}

        await docker_runtime.remove(second.ref)
    finally:
        docker_api.remove_image(image, force=True)


async def test_changed_files_of_a_container_that_was_restarted_or_stopped_are_found_all_the_same(
    docker_runtime: DockerRuntime, docker_api: APIClient, box: EngineContainer
) -> None:
    await docker_runtime.exec(box.ref, ["touch", "/tmp/x"])
    before = set(await docker_runtime.changes(box.ref))

    docker_api.restart(box.ref, timeout=0)
    restarted = set(await docker_runtime.changes(box.ref))
    await eventually(lambda: lists_as_the_engine(docker_runtime, docker_api, box.ref))
    docker_api.stop(box.ref, timeout=0)
    stopped = set(await docker_runtime.changes(box.ref))

    assert Change(ChangeKind.ADDED, "/tmp/x") in before
    assert before == restarted == stopped == by_engine(docker_api, box.ref)


async def lists_as_the_engine(runtime: DockerRuntime, api: APIClient, ref: str) -> bool:
    """Just after a start there is still the engine's own process in the place of the container's."""
    processes = {(process.pid, process.command) for process in await runtime.processes(ref)}
    return processes == {(int(pid), command) for pid, command in api.top(ref, "-eo pid,args")["Processes"]}


async def test_a_container_of_another_host_is_not_looked_for_on_this_one(
    docker_api: APIClient, box: EngineContainer
) -> None:
    raw = docker_api.inspect_container(box.ref)
    elsewhere = {**raw, "State": {**raw["State"], "Pid": os.getpid()}}
    host = LocalHost()

    host.note(elsewhere)
    host.give_up(box.ref)

    assert host.changes(box.ref) is None
    assert host.processes(box.ref) is None
    assert host.given_up(box.ref)
    host.note(raw)
    assert not host.given_up(box.ref), "it was started anew since"
    assert host.processes(box.ref)


async def test_files_that_the_container_does_not_run_on_are_not_taken_for_its_own(
    docker_api: APIClient, box: EngineContainer, tmp_path: Path
) -> None:
    raw = docker_api.inspect_container(box.ref)
    layers = {**raw["GraphDriver"]["Data"], "UpperDir": str(tmp_path)}
    host = LocalHost()

    host.note({**raw, "GraphDriver": {**raw["GraphDriver"], "Data": layers}})

    assert host.changes(box.ref) is None


def test_a_tree_that_is_too_deep_is_left_to_the_engine(tmp_path: Path) -> None:
    (tmp_path / "upper" / "/".join(["d"] * 200)).mkdir(parents=True)

    with pytest.raises(OSError, match="levels"):
        read_overlay(str(tmp_path / "upper"), [str(tmp_path)])


def test_a_link_in_the_layer_is_not_followed(tmp_path: Path) -> None:
    upper, outside = tmp_path / "upper", tmp_path / "outside"
    for directory in (upper, outside / "secret"):
        directory.mkdir(parents=True)
    (upper / "link").symlink_to(outside)

    assert read_overlay(str(upper), [str(tmp_path)]) == [Change(ChangeKind.ADDED, "/link")]
