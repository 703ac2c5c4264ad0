"""What the kernel's files say of a container equals what the engine says."""

from __future__ import annotations

from pathlib import Path

import pytest
from docker import APIClient

from pool.runtimes import DockerRuntime
from pool.runtimes.docker import cgroups
from pool.runtimes.docker.payloads import read_stats
from tests.runtime_contract import spec_maker


async def test_a_sample_equals_the_engines_own(
    docker_runtime: DockerRuntime, docker_api: APIClient, deployment: str, sample_image: str
) -> None:
    make_spec = spec_maker(deployment, sample_image)
    spec = make_spec(memory="64m", entrypoint=["/bin/sh", "-c", "yes | head -c 20000000 >/tmp/f; sleep 600 & wait"])
    box = await docker_runtime.start((await docker_runtime.create(spec)).ref)
    await docker_runtime.exec(box.ref, ["/bin/sh", "-c", "until pidof sleep; do :; done"])
    raw = docker_api.inspect_container(box.ref)

    before = cgroups.sample(raw)
    engine = read_stats(docker_api.stats(box.ref, stream=False, one_shot=True), raw["HostConfig"]["Memory"])
    after = cgroups.sample(raw)

    assert before is not None
    assert after is not None
    assert before.pids == engine.pids == after.pids
    assert before.cpu_ns <= engine.cpu_ns <= after.cpu_ns
    assert engine.memory_limit_bytes == after.memory_limit_bytes == 64 << 20
    assert after.memory_bytes == pytest.approx(engine.memory_bytes, abs=2 << 20)


def test_a_container_of_another_host_is_left_to_its_engine() -> None:
    mine = int(Path("/proc/self/stat").read_text().split()[0])

    assert cgroups.sample({"Id": "f" * 64, "State": {"Pid": mine}, "HostConfig": {"Memory": 0}}) is None
    assert cgroups.sample({"Id": "f" * 64, "State": {"Pid": 0}, "HostConfig": {"Memory": 0}}) is None


@pytest.mark.parametrize("version", [1, 2])
def test_both_versions_of_control_groups_are_read(tmp_path: Path, version: int) -> None:
    files = {
        "memory.usage_in_bytes": "5000",
        "memory.current": "5000",
        "memory.stat": "cache 9\ntotal_inactive_file 1000\ninactive_file 1000\n",
        "cpuacct.usage": "7000000",
        "cpu.stat": "usage_usec 7000\nuser_usec 1\n",
        "pids.current": "3",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    if version == 1:
        stats = cgroups._version_1(dict.fromkeys(("memory", "cpuacct", "pids"), tmp_path), 1 << 20)
    else:
        stats = cgroups._version_2(tmp_path, 1 << 20)

    assert (stats.memory_bytes, stats.cpu_ns, stats.pids, stats.memory_limit_bytes) == (4000, 7_000_000, 3, 1 << 20)
