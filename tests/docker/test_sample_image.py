"""The sample image keeps what its handler's header promises."""

from __future__ import annotations

import http.client
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import docker
import pytest
from docker.models.containers import Container

DEADLINE_S = 20.0


@dataclass(frozen=True)
class Reply:
    status: int
    body: str
    session: str


@dataclass(frozen=True)
class Sample:
    """A running container of the sample image."""

    container: Container
    port: int

    def ask(self, method: str, path: str, *, body: bytes = b"", session: str = "", timeout_s: float = 10.0) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request(method, path, body or None, {"Mcp-Session-Id": session} if session else {})
            response = connection.getresponse()
            return Reply(response.status, response.read().decode(), response.getheader("Mcp-Session-Id") or "")
        finally:
            connection.close()

    def leftovers(self) -> list[str]:
        return self.ask("GET", "/leftovers").body.splitlines()

    def processes(self) -> list[str]:
        table = self.container.top(ps_args="-eo pid,comm")
        return sorted(row[1] for row in table["Processes"])

    def changes(self) -> object:
        return self.container.diff()

    def wait_ready(self) -> None:
        wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            return self.ask("GET", "/").status == 400
        except (OSError, http.client.HTTPException):
            return False


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)


class Start(Protocol):
    """Starts a container of the image and waits until it is ready."""

    def __call__(self, *, init: bool = True, hardened: bool = False, **environment: str) -> Sample: ...


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    client = docker.from_env(timeout=60)
    client.api.trust_env = False  # REQUESTS_CA_BUNDLE would replace the engine's own CA
    yield client
    client.close()


@pytest.fixture
def start(engine: docker.DockerClient, deployment: str, sample_image: str) -> Start:
    def start_one(*, init: bool = True, hardened: bool = False, **environment: str) -> Sample:
        container = engine.containers.run(
            sample_image,
            detach=True,
            init=init,
            environment=environment,
            labels={"containerpool.deployment": deployment},
            ports={"3000/tcp": ("127.0.0.1", 0)},
            read_only=hardened,
            tmpfs={"/tmp": "", "/home/app": ""} if hardened else {},
            cap_drop=["ALL"] if hardened else [],
            security_opt=["no-new-privileges"] if hardened else [],
        )
        return attached(container)

    return start_one


def attached(container: Container) -> Sample:
    """Return a handle on the container once it is ready; its port changes with every start."""
    container.reload()
    bindings = container.ports["3000/tcp"]
    assert bindings
    sample = Sample(container, int(bindings[0]["HostPort"]))
    sample.wait_ready()
    return sample


@pytest.fixture
def sample(start: Start) -> Sample:
    return start()


def test_a_get_without_a_session_is_answered_400(sample: Sample) -> None:
    reply = sample.ask("GET", "/any/path?x=1")

    assert (reply.status, reply.body) == (400, "Invalid request")


def test_health_checks_leave_neither_files_nor_processes(sample: Sample) -> None:
    for _ in range(20):
        sample.ask("GET", "/")

    wait_until(lambda: sample.processes() == ["docker-init", "nc"])
    assert not sample.changes()
    assert sample.leftovers() == []


def test_it_runs_hardened_with_a_read_only_root(start: Start) -> None:
    sample = start(hardened=True)

    written = sample.ask("POST", "/log?line=hello")

    assert written.status == 200
    assert sample.leftovers() == ["log hello"]


def test_a_session_has_a_browser_process_for_as_long_as_it_is_open(sample: Sample) -> None:
    session = sample.ask("POST", "/mcp", body=b"{}").session

    assert sample.processes() == ["chromium", "docker-init", "nc"]
    assert sample.ask("POST", "/mcp", body=b"{}", session=session).status == 200

    assert sample.ask("DELETE", "/mcp", session=session).status == 200
    assert sample.processes() == ["docker-init", "nc"]
    assert sample.ask("POST", "/mcp", body=b"{}", session=session).status == 404


def test_an_unknown_session_is_answered_404(sample: Sample) -> None:
    for session in ("nonsense", "1", f"{uuid.uuid4()}.1"):
        assert sample.ask("POST", "/mcp", body=b"{}", session=session).status == 404


def test_a_session_does_not_survive_a_restart(sample: Sample) -> None:
    session = sample.ask("POST", "/mcp").session

    sample.container.restart(timeout=1)
    sample = attached(sample.container)

    assert sample.ask("POST", "/mcp", session=session).status == 404
    assert sample.leftovers() == []


def test_sessions_of_two_clients_are_apart(sample: Sample) -> None:
    first, second = (sample.ask("POST", "/mcp").session for _ in range(2))

    sample.ask("DELETE", "/mcp", session=first)

    assert sample.ask("POST", "/mcp", session=second).status == 200


def test_whatever_a_user_leaves_is_seen_by_the_next_one(sample: Sample) -> None:
    sample.ask("POST", "/cookie?user=al%20ice")
    sample.ask("POST", "/file?path=%2Ftmp%2Fnote", body=b"secret")
    sample.ask("POST", "/cache?name=page")
    sample.ask("POST", "/log?line=visited")
    sample.ask("POST", "/stray")

    assert sample.leftovers() == [
        "cookie user=al ice",
        "file /tmp/note",
        "file /home/app/cache/page",
        "process stray",
        "log visited",
    ]
    assert sample.ask("GET", "/cookie").body == "user=al ice"
    assert sample.ask("GET", "/file?path=/tmp/note").body == "secret"
    assert "stray" in sample.processes()


def test_files_of_root_cannot_be_written(sample: Sample) -> None:
    reply = sample.ask("POST", "/file?path=/etc/passwd", body=b"x")

    assert reply.status == 507
    assert sample.ask("GET", "/file?path=/etc/passwd").body.startswith("root:")


def test_a_long_body_arrives_whole(sample: Sample) -> None:
    content = b"0123456789abcdef" * 20_000

    sample.ask("POST", "/file?path=/tmp/long", body=content)

    assert sample.ask("GET", "/file?path=/tmp/long").body.encode() == content


@pytest.mark.parametrize("init", [True, False])
def test_a_crash_ends_the_container_with_an_error(start: Start, init: bool) -> None:
    sample = start(init=init)

    sample.ask("POST", "/crash")

    assert sample.container.wait(timeout=DEADLINE_S)["StatusCode"] == 137


def test_a_hung_server_accepts_but_does_not_answer(sample: Sample) -> None:
    assert sample.ask("POST", "/hang").status == 200

    with pytest.raises(TimeoutError):
        sample.ask("GET", "/", timeout_s=0.3)


def test_a_grown_process_holds_its_memory(sample: Sample) -> None:
    sample.ask("POST", "/grow?mb=40")

    def resident_kb() -> int:
        return sum(int(row[0]) for row in sample.container.top(ps_args="-eo rss,pid")["Processes"])

    wait_until(lambda: resident_kb() > 40_000)


@pytest.mark.parametrize("init", [True, False])
@pytest.mark.parametrize(("ignored", "exit_code"), [("0", 143), ("1", 137)])
def test_sigterm_ends_it_unless_it_ignores_it(start: Start, ignored: str, exit_code: int, init: bool) -> None:
    sample = start(init=init, IGNORE_SIGTERM=ignored)

    sample.container.stop(timeout=1)

    assert sample.container.wait(timeout=DEADLINE_S)["StatusCode"] == exit_code


def test_a_start_delay_keeps_it_from_listening(start: Start) -> None:
    began = time.monotonic()

    start(START_DELAY_S="1")

    assert time.monotonic() - began >= 1


def test_it_speaks_mcp_as_far_as_a_client_needs(sample: Sample) -> None:
    opened = sample.ask("POST", "/mcp", body=b'{"method":"initialize","params":{},"jsonrpc":"2.0","id":0}')
    assert json.loads(opened.body)["result"]["serverInfo"]["name"] == "sample"

    calls: list[tuple[bytes, int, object]] = [
        (b'{"method":"notifications/initialized","jsonrpc":"2.0"}', 202, None),
        (b'{"method":"ping","jsonrpc":"2.0","id":1}', 200, {}),
        (b'{"method":"tools/call","params":{"arguments":{"text":"hi"}},"jsonrpc":"2.0","id":2}', 200, None),
        (b'{"method":"resources/list","jsonrpc":"2.0","id":"three"}', 200, None),
    ]
    for body, status, expected in calls:
        reply = sample.ask("POST", "/mcp", body=body, session=opened.session)
        assert reply.status == status
        if expected is not None:
            assert json.loads(reply.body)["result"] == expected
    assert json.loads(reply.body) == {
        "jsonrpc": "2.0", "id": "three", "error": {"code": -32601, "message": "no such method"}
    }  # fmt: skip
    assert sample.ask("GET", "/mcp", session=opened.session).status == 405
    assert sample.ask("POST", "/mcp", body=b'{"method":"ping","jsonrpc":"2.0","id":1}', session="no.1").status == 404
