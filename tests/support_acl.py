"""A Redis as `deploy/redis/start` starts it, with the users of `deploy/redis/users.acl` and one who looks at it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from pool.embedded import find_binary

REDIS = Path(__file__).parents[1] / "deploy" / "redis"
PASSWORDS = {name: f"{name}-password" for name in ("manager", "client", "monitor")}
#: Sees what was refused. It is none of the file's: those cannot.
_WATCHER = "watcher"


@dataclass(frozen=True)
class Guarded:
    """A server whose users are those of the file."""

    socket: Path
    port: int = 0

    def url(self, user: str) -> str:
        if self.port:
            return f"redis://{user}:{PASSWORDS[user]}@127.0.0.1:{self.port}/0"
        return f"unix://{user}:{PASSWORDS[user]}@{self.socket}"

    def ask(self, user: str | None, *command: str) -> Any:
        """Send one command as a user; as nobody, without a name, if None."""
        password = None if user is None else PASSWORDS.get(user, user)
        once = Retry(NoBackoff(), 0)  # the library would take a refusal for an outage
        with Redis(
            unix_socket_path=str(self.socket),
            username=user,
            password=password,
            decode_responses=True,
            protocol=2,
            retry=once,
        ) as redis:
            return redis.execute_command(*command)

    def refused(self) -> list[str]:
        """Who was refused what since the last time."""
        entries = [dict(zip(entry[::2], entry[1::2], strict=True)) for entry in self.ask(_WATCHER, "ACL", "LOG")]
        self.ask(_WATCHER, "ACL", "LOG", "RESET")
        return [f"{entry['username']}: {entry['reason']} {entry['object']}" for entry in entries]

    def setting(self, name: str) -> str:
        return str(self.ask(_WATCHER, "CONFIG", "GET", name)[1])


def environment(directory: Path, **passwords: str) -> dict[str, str]:
    """What `deploy/redis/start` finds in its environment."""
    given = {f"REDIS_{name.upper()}_PASSWORD": value for name, value in passwords.items()}
    return os.environ | given | {"REDIS_ACL_FILE": str(directory / "users.acl")}


@contextmanager
def guarded_server(*, port: int = 0) -> Iterator[Guarded]:
    """Start a server on a unix socket, and on a port of loopback if one is given, for as long as the block lasts."""
    directory = Path(tempfile.mkdtemp(prefix="cp"))
    socket, log = directory / "redis.sock", directory / "log"
    ours = shutil.copytree(REDIS, directory / "redis")
    with (ours / "users.acl").open("a") as users:
        users.write(f"\nuser {_WATCHER} on >{_WATCHER} ~* &* +@all\n")
    words = [
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--unixsocket",
        str(socket),
        "--dir",
        str(directory),
        "--logfile",
        str(log),
    ]
    path = f"{find_binary().parent}:{os.environ['PATH']}"
    process = subprocess.Popen(["sh", ours / "start", *words], env=environment(directory, **PASSWORDS) | {"PATH": path})
    server, until = Guarded(socket, port), time.monotonic() + 20
    try:
        while not _answers(server):
            assert process.poll() is None, log.read_text() if log.exists() else "it did not start"
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.01)
        yield server
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _answers(server: Guarded) -> bool:
    try:
        return bool(server.ask("monitor", "PING"))
    except (RedisError, OSError):
        return False
