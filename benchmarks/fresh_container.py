"""What tests do who have no pool: a fresh container for each, removed after it. A pytest plugin in place of ours.

The container has the image, the server's arguments and the limits of `config/playwright-mcp.yaml`.
"""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import docker
import pytest

from tests.e2e.browsers import pool_options

LABEL = "containerpool.benchmark"
#: Variable that says what the label is to be, so that whoever runs this can remove what a killed test left.
RUN = "CONTAINERPOOL_BENCHMARK"
_READY_S = 60.0
_READY = 400  # nothing is wrong but the session is missing
_POLL_S = 0.02


@dataclass
class Fresh:
    """A container, with what the shop's tests ask of a lease."""

    url: str
    name: str
    container: SimpleNamespace = field(init=False)

    def __post_init__(self) -> None:
        self.container = SimpleNamespace(id=self.name, name=self.name)


def pytest_configure(config: pytest.Config) -> None:
    """Take the pool's marker and settings, which mean nothing here."""
    config.addinivalue_line("markers", "pool(**ignored): as of the pool's plugin")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Likewise."""
    for name in ("pool_name", "pool_wait"):
        parser.addini(name, "as of the pool's plugin")


@pytest.fixture
def pool_container(record_property: Callable[[str, object], None]) -> Iterator[Fresh]:
    """A container for this test alone."""
    options = pool_options()["container"]
    client = docker.from_env()
    client.api.trust_env = False
    began = time.time()
    made = client.containers.run(options["image"], options["command"], detach=True, **_as_in_the_pool(options))
    try:
        made.reload()
        port = int(made.attrs["NetworkSettings"]["Ports"]["3000/tcp"][0]["HostPort"])
        _wait(port)
        record_property("fresh_started_s", time.time() - began)
        yield Fresh(f"http://127.0.0.1:{port}", str(made.name))
    finally:
        made.remove(force=True)
        client.close()
        record_property("fresh_began", began)
        record_property("fresh_ended", time.time())


def _as_in_the_pool(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "entrypoint": options["entrypoint"],
        "user": options["user"],
        "environment": options["environment"] | {"PLAYWRIGHT_MCP_ALLOWED_HOSTS": "*"},
        "ports": {"3000/tcp": ("127.0.0.1", None)},
        "tmpfs": options["tmpfs"],
        "mem_limit": options["memory"],
        "memswap_limit": options["memory"],
        "nano_cpus": round(options["cpus"] * 1e9),
        "pids_limit": options["pids_limit"],
        "read_only": True,
        "init": True,
        "cap_drop": ["ALL"],
        "cap_add": ["SETUID", "SETGID"],
        "security_opt": ["no-new-privileges"],
        "extra_hosts": options["extra_hosts"],
        "healthcheck": {"test": ["NONE"]},
        "labels": {LABEL: os.environ.get(RUN, "")},
    }


def _wait(port: int) -> None:
    until = time.monotonic() + _READY_S
    while (status := _status(port)) != _READY:
        if time.monotonic() > until:
            raise TimeoutError(f"a fresh container does not answer: {status}")
        time.sleep(_POLL_S)


def _status(port: int) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    except OSError as error:
        return error
    except http.client.HTTPException as error:
        return error
    finally:
        connection.close()
