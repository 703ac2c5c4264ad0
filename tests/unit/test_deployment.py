"""The files under `deploy/` for Compose and systemd: valid, complete, without secrets, closed to other machines."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pool.config import HttpOptions, ManagerOptions, load_config

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
UNIT = DEPLOY / "systemd" / "containerpool.service"
#: By `systemd-analyze security`, from 0 (nothing to attack) to 10; docs/deployment.md says the figure.
EXPOSURE = 1.7


def variables(path: Path) -> dict[str, str]:
    """The lines of an environment file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def used() -> dict[str, str]:
    """The variables of the compose file, with how each is asked for."""
    return dict(re.findall(r"(?<!\$)\$\{(\w+)([^}]*)\}", COMPOSE.read_text(encoding="utf-8")))


def seconds(text: str) -> int:
    assert text.endswith("s")
    return int(text[:-1])


# Compose


def test_the_compose_file_is_valid() -> None:
    tool = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run(
        [tool, "--builtin-schema", "vendor.compose-spec", COMPOSE], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_of_the_environment_has_every_variable_and_no_secret() -> None:
    given = variables(DEPLOY / ".env.example")

    assert given.keys() == used().keys()
    for name, value in given.items():
        if "PASSWORD" in name:
            assert value == "", name


def test_what_must_be_filled_in_stops_compose_and_what_need_not_has_the_default_of_the_example() -> None:
    given = variables(DEPLOY / ".env.example")
    text = COMPOSE.read_text(encoding="utf-8")

    for name, value in given.items():
        if value:
            assert f"${{{name}:-{value}}}" in text, name
        elif name != "REDIS_CLIENT_PASSWORD":
            assert f"${{{name}:?" in text, name


def test_no_service_listens_beyond_loopback() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    on_host = {name for name, service in SERVICES.items() if service.get("network_mode") == "host"}

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert on_host == {"manager", "prometheus", "grafana"}
    assert HttpOptions().host == "127.0.0.1"
    assert "--web.listen-address=127.0.0.1:9090" in SERVICES["prometheus"]["command"]
    assert SERVICES["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_do_little_comes_back_and_says_how_it_is(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert service["logging"]["options"]["max-size"]
    assert "healthcheck" in service or name == "manager"
    for other, how in service.get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"}
        assert "healthcheck" in SERVICES[other]


def test_the_managers_own_image_says_how_it_is_and_runs_as_nobody_in_particular() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")

    assert re.search(r"^HEALTHCHECK .*\\\n +CMD .*HEALTH_URL", dockerfile, re.MULTILINE)
    assert re.search(r"^USER pool$", dockerfile, re.MULTILINE)
    assert f"HEALTH_URL={variables(DEPLOY / '.env.example')['HEALTH_URL']}" in dockerfile


def test_what_is_mounted_is_there() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), volume
    assert (DEPLOY / variables(DEPLOY / ".env.example")["POOL_CONFIG"]).exists()


def test_the_manager_gets_the_time_that_it_may_take_to_stop() -> None:
    needed = ManagerOptions().stop_grace_s + HttpOptions().shutdown_grace_s
    [limit] = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)

    assert seconds(SERVICES["manager"]["stop_grace_period"]) > needed
    assert int(limit) > needed


def test_the_image_is_built_of_files_that_are_there_and_of_no_others() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    copied = {
        word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.MULTILINE) for word in line.split()
    }
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}

    assert {word.replace("wheel[s]", "wheels") for word in copied} == kept
    assert all((ROOT / word).exists() for word in kept - {"wheels"})


# systemd


@pytest.fixture(scope="module")
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    assert found, "systemd-analyze is missing: sh deploy/setup systemd"
    return found


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with the program of this checkout in the place of the installed one."""
    path = tmp_path / UNIT.name
    program = Path(sys.executable).with_name("poolctl")
    path.write_text(UNIT.read_text(encoding="utf-8").replace("/opt/containerpool/bin/poolctl", str(program)))
    return path


def test_systemd_finds_nothing_wrong_with_the_unit(analyze: str, unit: Path) -> None:
    done = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True, check=False)

    told = [line for line in (done.stdout + done.stderr).splitlines() if UNIT.name in line]
    assert (done.returncode, told) == (0, [])


def test_the_unit_is_as_closed_as_the_documentation_says(analyze: str, unit: Path) -> None:
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", unit], capture_output=True, text=True, check=False
    )

    [level] = re.findall(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert float(level) <= EXPOSURE
    assert f"exposure of {EXPOSURE}" in (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")


def test_the_environment_of_the_unit_has_no_secret_and_names_the_manager() -> None:
    [url] = [value for name, value in variables(DEPLOY / "systemd/manager.env.example").items() if name == "POOL_URL"]

    assert url.startswith("redis://manager:PASSWORD@")


def test_the_configuration_that_compose_uses_by_default_is_valid() -> None:
    assert load_config(DEPLOY / variables(DEPLOY / ".env.example")["POOL_CONFIG"], environment={}).pools
