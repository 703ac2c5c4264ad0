"""The two browsers of `config/playwright-mcp.yaml`, on ports and under names of their own, and what their users run."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from docker import APIClient

from pool.client import AsyncClient
from pool.embedded import find_server, stop_server
from pool.models import PoolStatus, State
from tests.docker.cleaning import left_of, remove_deployment
from tests.support import eventually

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
POOL = "playwright"
_CONFIG = ROOT / "config" / "playwright-mcp.yaml"
#: Where the system chooses no ports by itself.
_PORTS = range(20_000, 30_000)
_SUITE_S = 280


def pool_options(**changes: Any) -> dict[str, Any]:
    """The pool's options, changed in places."""
    options: dict[str, Any] = yaml.safe_load(_CONFIG.read_text())["pools"][POOL]
    for key, value in changes.items():
        options[key] = options.get(key, {}) | value if isinstance(value, dict) else value
    return options


def write_config(path: Path, deployment: str, **changes: Any) -> Path:
    """Write the configuration for a deployment that has two free ports."""
    pool = pool_options(**changes)
    first = free_ports(pool["size"])
    pool["name"] = f"{deployment}-{{n}}"
    pool["container"]["ports"][0]["host"] = first
    names = [f"{host}:{first + n}" for host in ("127.0.0.1", "localhost") for n in range(pool["size"])]
    names.append("localhost:3000")  # by the gateway's host_header
    pool["container"]["environment"]["PLAYWRIGHT_MCP_ALLOWED_HOSTS"] = ",".join(names)
    document = {"deployment": deployment, "http": {"port": 0}, "pools": {POOL: pool}}
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def free_ports(count: int) -> int:
    """Return the first of so many ports in a row that were free a moment ago."""
    while True:
        first = random.choice(_PORTS)
        with suppress(OSError):
            for port in range(first, first + count):
                with socket.create_server(("127.0.0.1", port)):
                    pass
            return first


@dataclass(frozen=True)
class Served:
    """Two browsers that a manager process has.

    Attributes:
        url: Redis, for clients of the pool.
        http_url: The manager's HTTP server.
    """

    url: str
    http_url: str
    client: AsyncClient

    async def status(self) -> PoolStatus:
        return await self.client.status(POOL)

    async def whole(self) -> bool:
        status = await self.status()
        return status.count(State.AVAILABLE) == len(status.containers)

    def environment(self, **variables: str) -> dict[str, str]:
        """What a user's process gets."""
        given = {name: value for name, value in os.environ.items() if not name.startswith(("POOL_", "PYTEST_"))}
        path = f"{Path(sys.executable).parent}{os.pathsep}{given['PATH']}"
        return given | {"PATH": path, "POOL_URL": self.url} | variables

    async def run(self, *command: str, deadline_s: float = _SUITE_S, **variables: str) -> Ended:
        """Run a command to its end."""
        async with self.running(*command, deadline_s=deadline_s, **variables) as process:
            out, _ = await process.communicate()
            return Ended(process.returncode or 0, out.decode())

    @asynccontextmanager
    async def running(
        self, *command: str, deadline_s: float = _SUITE_S, **variables: str
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a command in a session of its own; all of it has ended when the block has."""
        process = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            cwd=ROOT, env=self.environment(**variables),
        )  # fmt: skip
        try:
            async with asyncio.timeout(deadline_s):
                yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.communicate()


@dataclass(frozen=True)
class Ended:
    """A command that ended."""

    code: int
    out: str


@asynccontextmanager
async def served(api: APIClient, **changes: Any) -> AsyncIterator[Served]:
    """Have `poolctl serve` manage the browsers until the block is over, and leave nothing of them behind.

    Args:
        api: The engine.
        changes: What is different from the pool's options.
    """
    state_dir = Path(tempfile.mkdtemp(prefix="cp"))
    deployment = f"e2e-{random.randrange(16**6):06x}"
    config = write_config(state_dir / "pool.yaml", deployment, **{"limits": {"ttl_s": 5}} | changes)
    log = state_dir / "serve.log"
    with log.open("wb") as stream:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pool.cli", "serve", "--remove", "--log-format", "json", str(config),
            env=os.environ | {"POOL_STATE_DIR": str(state_dir)}, stdin=DEVNULL, stdout=stream, stderr=stream,
        )  # fmt: skip
    try:

        async def ready() -> bool:
            assert process.returncode is None, log.read_text()
            return any(entry["event"] == "pool.ready" for entry in _entries(log))

        await eventually(ready, deadline_s=120)
        http_url = next(entry["url"] for entry in _entries(log) if entry["event"] == "http.listening")
        server = find_server(state_dir)
        assert server is not None
        async with AsyncClient(server.url, owner="watcher") as client:
            yield Served(server.url, http_url, client)
        process.terminate()
        await asyncio.wait_for(process.wait(), 90)
        assert left_of(api, deployment) == []
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await asyncio.to_thread(remove_deployment, api, deployment)
        await asyncio.to_thread(stop_server, state_dir)
        shutil.rmtree(state_dir, ignore_errors=True)


def _entries(log: Path) -> Iterator[Mapping[str, Any]]:
    for line in log.read_text().splitlines():
        with suppress(json.JSONDecodeError):  # the last line may be half there
            yield json.loads(line)


def shop(*options: str, report: Path) -> list[str]:
    """The command that runs the shop's tests."""
    return [
        sys.executable, "-m", "pytest", str(EXAMPLES / "shop"), "-v", "-p", "no:cacheprovider", "-W", "ignore",
        f"--junit-xml={report}", *options,
    ]  # fmt: skip


def properties(report: Path, name: str) -> list[str]:
    """Read a property of all tests from a JUnit report."""
    found = (item for item in ET.parse(report).iter("property") if item.get("name") == name)
    return [str(item.get("value")) for item in found]


def outcomes(report: Path) -> dict[str, str]:
    """Read how each test ended, and what it said if it did not pass, from a JUnit report."""
    ended: dict[str, str] = {}
    for case in ET.parse(report).iter("testcase"):
        problems = [child for child in case if child.tag in ("failure", "error")]
        said = "\n".join(f"{child.get('message')}\n{child.text}" for child in problems)
        name = f"{case.get('classname')}::{case.get('name')}"
        ended[name] = ended.get(name, "") + said
    return ended
