"""An engine of a test's own, to be stopped and started: in a directory, without networks, gone afterwards."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import docker
from docker import APIClient
from docker.errors import DockerException

from tests.support import eventually

#: It leaves the host's packet filters alone. Without a bridge, though, it removes any `docker0` that it finds as it
#: starts, even another engine's: so it also gets a network namespace of its own.
_APART = ("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false")


class PrivateEngine:
    """A dockerd in a directory of its own.

    Attributes:
        url: Where it listens.
    """

    def __init__(self, home: Path, *, live_restore: bool) -> None:
        self.url = f"unix://{home}/sock"
        self._home = home
        (home / "daemon.json").write_text(json.dumps({"live-restore": live_restore}))
        self._process: asyncio.subprocess.Process | None = None
        self.api = APIClient(base_url=self.url, version="1.41", timeout=30)
        self.api.trust_env = False

    async def start(self) -> None:
        places = {name: str(self._home / name) for name in ("data-root", "exec-root", "pidfile")}
        options = [f"--{name}={place}" for name, place in places.items()]
        options += [f"--config-file={self._home}/daemon.json", f"--host={self.url}", *_APART]
        with (self._home / "log").open("ab") as log:
            command = ["unshare", "--net", "dockerd", *options]
            self._process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        await eventually(self._answers, deadline_s=30)

    async def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, (self._home / "log").read_text()[-1000:]
        try:
            await asyncio.to_thread(self.api.ping)
        except DockerException:
            return False
        except OSError:  # not there yet
            return False
        return True

    async def stop(self) -> None:
        """As a service manager does it. Without live restore, its containers end, too."""
        assert self._process is not None
        self._process.terminate()
        await self._process.wait()

    async def close(self) -> None:
        """Remove what it has, and end it."""
        assert self._process is not None
        if self._process.returncode is not None:
            await self.start()
        for container in await asyncio.to_thread(self.api.containers, all=True):
            await asyncio.to_thread(self.api.remove_container, container["Id"], v=True, force=True)
        await self.stop()
        self.api.close()


@asynccontextmanager
async def private_engine(image: str, *, live_restore: bool) -> AsyncIterator[PrivateEngine]:
    """Run an engine that has one image of the machine's own engine."""
    home = Path(tempfile.mkdtemp(prefix="cpd"))
    engine = PrivateEngine(home, live_restore=live_restore)
    try:
        await engine.start()
        try:
            await asyncio.to_thread(_copy, image, engine.api)
            yield engine
        finally:
            await engine.close()
    finally:
        await asyncio.to_thread(_clear, home)


def _clear(home: Path) -> None:
    """Delete the directory: an engine mounts its data upon itself and leaves that behind."""
    while f" {home}/data-root " in Path("/proc/self/mounts").read_text(encoding="utf-8"):
        subprocess.run(["umount", f"{home}/data-root"], check=True)
    shutil.rmtree(home)


def _copy(image: str, to: APIClient) -> None:
    machine = docker.from_env(version="1.41")
    machine.api.trust_env = False
    try:
        archive = b"".join(machine.api.get_image(image))
        to.load_image(archive)  # type: ignore[no-untyped-call] # the stubs leave it untyped
    finally:
        machine.close()
