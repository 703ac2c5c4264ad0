"""`poolctl doctor`, check by check: what it says of a configuration, of this host, of what Redis says of itself."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pool.cli import app
from pool.cli.doctor import redis
from pool.cli.doctor.configuration import check_configuration
from pool.cli.doctor.engine import _listening, _ports
from pool.cli.doctor.finding import Finding, Verdict, worst
from pool.cli.doctor.host import check_host
from pool.config import Config
from pool.runtimes import PublishedPort

POOL = "pools: {web: {size: 2, container: {image: i, ports: [{container: 80, host: 8000}]%s}%s}}"


def verdicts(findings: list[Finding]) -> dict[str, str]:
    return {finding.check: finding.verdict.label for finding in findings}


def config(text: str = POOL % ("", "")) -> Config:
    return Config.model_validate(yaml.safe_load(text))


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "state"
    monkeypatch.setenv("POOL_STATE_DIR", str(directory))
    return directory


# Configuration


def test_without_a_configuration_the_rest_is_checked_all_the_same() -> None:
    [finding], nothing = check_configuration(None)

    assert (finding.verdict, nothing) == (Verdict.WARN, None)


def test_a_configuration_that_cannot_be_used_fails_problem_by_problem(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("pools: {web: {size: -1, sise: 2, container: {image: i}}}")

    findings, nothing = check_configuration(path)

    assert nothing is None
    assert [finding.verdict for finding in findings] == [Verdict.FAIL] * 2
    assert all(str(path) in finding.remedy for finding in findings)


@pytest.mark.parametrize(
    ("container", "pool", "said"),
    [
        (", privileged: true", "", "privileged"),
        ("", "", "no memory limit"),
        ("", ", health: {tcp: null}", "nothing asks the server"),
        ("", "", "only a TCP probe"),
        ("", ", reset: {verify: off}", "not verified"),
    ],
)
def test_what_is_allowed_and_seldom_meant_is_a_warning(tmp_path: Path, container: str, pool: str, said: str) -> None:
    path = tmp_path / "doubtful.yaml"
    path.write_text(POOL % (container, pool))

    findings, _ = check_configuration(path)

    [finding] = [finding for finding in findings if said in finding.seen]
    assert finding.verdict is Verdict.WARN
    assert finding.remedy


def test_ports_that_everybody_reaches_are_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "open.yaml"
    path.write_text(POOL.replace("host: 8000", "host: 8000, host_ip: 0.0.0.0") % ("", ""))

    assert any("open to other machines (0.0.0.0)" in finding.seen for finding in check_configuration(path)[0])


def test_a_key_that_others_can_read_is_a_warning_and_one_that_is_not_there_a_failure(tmp_path: Path) -> None:
    key, path = tmp_path / "key.pem", tmp_path / "tls.yaml"
    key.write_text("key")
    key.chmod(0o644)
    path.write_text(POOL % ("", "") + f"\nhttp: {{tls_cert: {tmp_path}/none.pem, tls_key: {key}}}")

    found = verdicts(check_configuration(path)[0])

    assert found["configuration.http.tls_cert"] == "fail"
    assert found["configuration.http.tls_key"] == "warn"


# Host


def test_a_state_directory_that_others_can_write_to_fails(state_dir: Path) -> None:
    assert verdicts(list(check_host(None)))["host.state_dir"] == "ok"
    assert not state_dir.exists()

    state_dir.mkdir()
    state_dir.chmod(0o777)
    [finding] = [finding for finding in check_host(None) if finding.check == "host.state_dir"]

    assert finding.verdict is Verdict.FAIL
    assert f"chmod go-w {state_dir}" in finding.remedy


def test_a_file_where_the_state_directory_should_be_fails(state_dir: Path) -> None:
    state_dir.write_text("")

    assert verdicts(list(check_host(None)))["host.state_dir"] == "fail"


# Redis


@pytest.mark.parametrize(
    ("facts", "check", "verdict"),
    [
        ({"aof_enabled": 1}, "redis.aof", "ok"),
        ({"aof_enabled": 0}, "redis.aof", "warn"),
        ({"aof_last_write_status": "err"}, "redis.persistence", "fail"),
        ({"rdb_last_bgsave_status": "ok"}, "redis.persistence", "ok"),
        ({"maxmemory_policy": "noeviction"}, "redis.eviction", "ok"),
        ({"maxmemory_policy": "allkeys-lru"}, "redis.eviction", "warn"),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 10}, "redis.eviction", "fail"),
        ({"used_memory": 95, "maxmemory": 100}, "redis.memory", "warn"),
        ({"used_memory": 95}, "redis.memory", "ok"),
    ],
)
def test_redis_is_judged_by_what_it_says_of_itself(facts: dict[str, object], check: str, verdict: str) -> None:
    found = verdicts([*redis._durability(facts), *redis._memory(facts)])

    assert found[check] == verdict


@pytest.mark.parametrize(("ahead_s", "verdict"), [(0.01, "ok"), (-1.5, "ok"), (3.0, "warn"), (-3.0, "warn")])
def test_a_clock_may_differ_a_little(ahead_s: float, verdict: str) -> None:
    assert redis.skew("redis.clock", ahead_s).verdict.label == verdict


# Ports


def test_a_port_is_free_ours_or_somebody_elses() -> None:
    mine = PublishedPort("127.0.0.1", 8000, "default-web-1", "default")
    theirs = PublishedPort("127.0.0.1", 8001, "nginx", "")

    free = list(_ports(config(), [mine], {}))
    taken = list(_ports(config(), [mine, theirs], {}))
    used = list(_ports(config(), [mine], {8001: "all addresses"}))

    assert [finding.verdict for finding in free] == [Verdict.OK]
    assert "1 of them ours" in free[0].seen
    assert (taken[0].verdict, taken[0].seen) == (Verdict.FAIL, "8001, of web-2: container nginx has it")
    assert (used[0].verdict, used[0].seen) == (Verdict.FAIL, "8001, of web-2: a process listens there on all addresses")


def test_who_listens_is_read_from_the_kernel(free_socket: int) -> None:
    assert _listening()[free_socket] == "an address"


@pytest.fixture
def free_socket() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


# The command


def test_the_worst_verdict_counts() -> None:
    assert worst([]) is Verdict.OK
    assert worst([Finding("a", Verdict.WARN, ""), Finding("b", Verdict.OK, "")]) is Verdict.WARN


def test_the_exit_code_says_the_worst_also_without_engine_redis_and_configuration(
    state_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runner = CliRunner(env={"POOL_CONFIG": None, "POOL_URL": None, "DOCKER_HOST": f"unix://{tmp_path}/none.sock"})

    ended = runner.invoke(app, ["doctor", "--json"])

    document = json.loads(ended.stdout)
    found = {check["check"]: check for check in document["checks"]}
    assert (ended.exit_code, document["verdict"]) == (1, "fail")
    assert found["engine"]["verdict"] == "fail"
    assert found["engine"]["remedy"]
    assert found["configuration"]["verdict"] == "warn"
    assert not state_dir.exists()
