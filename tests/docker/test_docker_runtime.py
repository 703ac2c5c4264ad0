"""What only Docker can get wrong: safe defaults, engines that fail, containers of others."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from docker import APIClient
from urllib3.exceptions import ProtocolError

from pool.config import DockerOptions
from pool.errors import (
    EngineError,
    EngineTimeout,
    EngineTooOld,
    EngineUnavailable,
    NameTaken,
    PortTaken,
    ShellBroken,
)
from pool.ports import ContainerSpec, EngineContainer, EngineState
from pool.runtimes import DockerRuntime
from pool.runtimes.docker.faults import refusal, translate
from pool.runtimes.docker.local import read_processes
from pool.runtimes.docker.shell import OUTPUT_LIMIT_BYTES, Capture
from pool.runtimes.docker.streams import Address
from tests.runtime_contract import MakeSpec, run, spec_maker
from tests.support import eventually

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@pytest.fixture
def make_spec(deployment: str, sample_image: str) -> MakeSpec:
    return spec_maker(deployment, sample_image)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory whose path is short enough for a unix socket."""
    path = Path(tempfile.mkdtemp(prefix="cp"))
    yield path
    shutil.rmtree(path)


@asynccontextmanager
async def runtime_at(url: str, *, timeout_s: float = 5.0, tls_dir: Path | None = None) -> AsyncIterator[DockerRuntime]:
    runtime = DockerRuntime(DockerOptions(url=url, timeout_s=timeout_s, tls_dir=tls_dir))
    try:
        yield runtime
    finally:
        await runtime.close()


@asynccontextmanager
async def handled(serve: Serve) -> AsyncIterator[Serve]:
    """A connection handler for asyncio's servers, all of whose connections are over afterwards."""
    connections: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.ensure_future(serve(reader, writer))
        connections.add(connection)
        await asyncio.wait({connection})
        writer.close()

    yield handle
    for connection in connections:
        connection.cancel()
    await asyncio.gather(*connections, return_exceptions=True)
    await asyncio.sleep(0)


@asynccontextmanager
async def engine(path: Path, serve: Serve) -> AsyncIterator[str]:
    """A fake engine on a unix socket; returns its URL."""
    async with handled(serve) as handle, await asyncio.start_unix_server(handle, path / "engine.sock"):
        yield f"unix://{path}/engine.sock"


def answering(pages: dict[str, Any]) -> Serve:
    """Answer GETs whose path ends with a key with JSON; bytes are sent as they are, and end the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                path = head.split()[1].split("?")[0]
                page = next(page for suffix, page in pages.items() if path.endswith(suffix))
                if isinstance(page, bytes):
                    writer.write(page)
                    return
                body = json.dumps(page).encode()
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    return serve


async def start(runtime: DockerRuntime, spec: ContainerSpec) -> EngineContainer:
    return await runtime.start((await runtime.create(spec)).ref)


# Safe defaults


async def test_the_defaults_are_the_safe_ones(
    docker_runtime: DockerRuntime, docker_api: APIClient, make_spec: MakeSpec, deployment: str
) -> None:
    box = await start(docker_runtime, make_spec(port=0, memory="64m"))

    raw = docker_api.inspect_container(box.ref)
    host = raw["HostConfig"]
    network = docker_api.inspect_network(f"containerpool-{deployment}")
    assert host["CapDrop"] == ["ALL"]
    assert host["CapAdd"] in (None, [])
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Memory"] == host["MemorySwap"] == 64 << 20
    assert host["PidsLimit"] == 512
    assert host["Init"] is True
    assert host["Privileged"] is False
    assert host["AutoRemove"] is False
    assert host["RestartPolicy"]["Name"] == "no"
    assert host["PortBindings"] == {"3000/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "3", "max-size": "10m"}}
    assert host["NetworkMode"] == network["Name"]
    assert raw["Config"]["Hostname"] == "box-1"
    assert raw["Config"]["Healthcheck"] == {"Test": ["NONE"]}
    assert network["Driver"] == "bridge"
    assert network["Options"]["com.docker.network.bridge.enable_icc"] == "false"
    assert network["Labels"] == {"containerpool.deployment": deployment}


async def test_every_option_reaches_the_engine(
    docker_runtime: DockerRuntime, docker_api: APIClient, make_spec: MakeSpec, folder: Path
) -> None:
    spec = make_spec(
        command=["-c", "sleep 600"],
        entrypoint=["/bin/sh"],
        environment={"A": "b=c"},
        working_dir="/tmp",
        user="1234:1234",
        mounts=[{"source": str(folder), "target": "/data"}],
        tmpfs={"/scratch": "size=1m"},
        network="bridge",
        extra_hosts={"away": "10.1.2.3"},
        hostname="named",
        cpus=0.5,
        pids_limit=64,
        shm_size="8m",
        restart="on-failure:2",
        stop_grace_s=1.5,
        cap_add=["CHOWN"],
        read_only=True,
        init=False,
        healthcheck=True,
    )

    box = await start(docker_runtime, spec)

    raw = docker_api.inspect_container(box.ref)
    config, host = raw["Config"], raw["HostConfig"]
    assert (config["Entrypoint"], config["Cmd"]) == (["/bin/sh"], ["-c", "sleep 600"])
    assert "A=b=c" in config["Env"]
    assert (config["WorkingDir"], config["User"], config["Hostname"]) == ("/tmp", "1234:1234", "named")
    assert config["StopTimeout"] == 2
    assert "Healthcheck" not in config  # the image has none
    assert [(mount["Type"], mount["Destination"], mount["RW"]) for mount in raw["Mounts"]] == [("bind", "/data", False)]
    assert host["Tmpfs"] == {"/scratch": "size=1m"}
    assert (host["NetworkMode"], host["ExtraHosts"]) == ("bridge", ["away:10.1.2.3"])
    assert (host["NanoCpus"], host["PidsLimit"], host["ShmSize"]) == (500_000_000, 64, 8 << 20)
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
    assert (host["CapAdd"], host["ReadonlyRootfs"], host["Init"]) == (["CHOWN"], True, False)


async def test_swap_is_off_even_for_a_container_that_wants_it(
    docker_runtime: DockerRuntime, make_spec: MakeSpec
) -> None:
    box = await start(docker_runtime, make_spec(memory="16m", entrypoint=["/bin/sh", "-c", "tail /dev/zero"]))

    async def killed() -> bool:
        return (await docker_runtime.inspect(box.ref)).state is EngineState.EXITED

    await eventually(killed)


# Engines that fail


async def test_an_absent_socket_is_named_with_the_remedy(folder: Path) -> None:
    async with runtime_at(f"unix://{folder}/none.sock") as runtime:
        with pytest.raises(EngineUnavailable, match=r"none\.sock does not answer: No such file") as caught:
            await runtime.check()

    assert caught.value.hint == "start it with: systemctl start docker"


async def test_a_closed_port_is_named(free_port: int) -> None:
    async with runtime_at(f"tcp://127.0.0.1:{free_port}") as runtime:
        with pytest.raises(EngineUnavailable, match=f"127.0.0.1:{free_port} does not answer: .*refused"):
            await runtime.list("any")


def test_a_forbidden_socket_names_the_group() -> None:
    error = requests.ConnectionError(ProtocolError("Connection aborted.", PermissionError(13, "Permission denied")))

    translated = translate(error, doing="x", url="unix:///var/run/docker.sock")

    assert isinstance(translated, EngineUnavailable)
    assert "group docker" in translated.hint


async def test_an_old_engine_is_refused(folder: Path) -> None:
    old = {"/version": {"Version": "1.12.6", "ApiVersion": "1.24", "MinAPIVersion": "1.12"}}
    async with engine(folder, answering(old)) as url, runtime_at(url) as runtime:
        with pytest.raises(EngineTooOld, match=r"API 1\.24; the pool needs 1\.41"):
            await runtime.check()


async def test_a_newer_engine_is_spoken_to_in_the_oldest_version_it_takes(folder: Path) -> None:
    new = {
        "/version": {"Version": "29.0.0", "ApiVersion": "1.52", "MinAPIVersion": "1.44"},
        "/v1.44/containers/json": [],
    }
    async with engine(folder, answering(new)) as url, runtime_at(url) as runtime:
        assert await runtime.check() == "Docker Engine 29.0.0 (API 1.52)"
        assert await runtime.list("any") == []


async def test_something_else_that_speaks_http_is_no_engine(folder: Path) -> None:
    async with engine(folder, answering({"/version": {"hello": "world"}})) as url, runtime_at(url) as runtime:
        with pytest.raises(EngineTooOld):
            await runtime.check()


async def test_a_hung_engine_is_given_up_at_the_deadline(folder: Path) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    loop = asyncio.get_running_loop()
    async with engine(folder, hang) as url, runtime_at(url, timeout_s=0.3) as runtime:
        before = loop.time()
        with pytest.raises(EngineTimeout, match=r"within 0\.3 s"):
            await runtime.check()

        assert loop.time() - before < 3


async def test_a_broken_event_stream_says_so(folder: Path) -> None:
    event = {
        "Action": "die",
        "Actor": {"ID": "abc", "Attributes": {"team": "x", "image": "i", "name": "n"}},
        "timeNano": 5_000_000_000,
    }
    line = json.dumps(event).encode() + b"\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    pages = {
        "/version": {"Version": "24", "ApiVersion": "1.43", "MinAPIVersion": "1.12"},
        "/events": head + b"%x\r\n%b\r\n" % (len(line), line),
    }
    async with engine(folder, answering(pages)) as url, runtime_at(url) as runtime:
        events = runtime.events("any")
        first = await anext(events)

        with pytest.raises(EngineUnavailable, match="event stream"):
            await anext(events)

    assert (first.ref, first.action, first.at, first.labels) == ("abc", "die", 5.0, {"team": "x"})


async def test_ssh_in_docker_host_is_refused_with_the_way_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "ssh://somewhere")
    runtime = DockerRuntime(DockerOptions())
    with pytest.raises(EngineUnavailable, match="unix:// and tcp://") as caught:
        await runtime.check()
    await runtime.close()

    assert "ssh -nNT -L" in caught.value.hint


async def test_missing_certificates_are_named(folder: Path) -> None:
    async with runtime_at("tcp://127.0.0.1:1", tls_dir=folder) as runtime:
        with pytest.raises(EngineUnavailable) as caught:
            await runtime.check()

    assert "ca.pem, cert.pem and key.pem" in caught.value.hint


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ("endpoint x (0a): Bind for 127.0.0.1:3001 failed: port is already allocated", "port 3001 on 127.0.0.1"),
        ("userland proxy: listen tcp4 127.0.0.1:3001: bind: address already in use", "port 3001 on 127.0.0.1"),
        (
            "failed to bind host port for 127.0.0.1:3001:172.17.0.2:3000/tcp: address already in use",
            "port 3001 on 127.0.0.1",
        ),
        ("failed to bind host port 127.0.0.1:3001/tcp: address already in use", "port 3001 on 127.0.0.1"),
        ("Bind for :::3001 failed: port is already allocated", "3001"),
    ],
)
def test_every_engines_words_for_a_taken_port_are_understood(message: str, named: str) -> None:
    error = refusal(500, message, doing="starting x")

    assert isinstance(error, PortTaken)
    assert named in error.message


# Over the network


@asynccontextmanager
async def forwarded(context: ssl.SSLContext | None) -> AsyncIterator[str]:
    """The local engine on a TCP port, with or without TLS."""
    local = Address("unix:///var/run/docker.sock")

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass  # one side hung up, so the other has to
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        engine_reader, engine_writer = await local.connect()
        await asyncio.gather(pump(reader, engine_writer), pump(engine_reader, writer))

    async with handled(serve) as handle, await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context) as server:
        yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def certify(folder: Path) -> ssl.SSLContext:
    """Make a certificate that is its own authority, for both sides; return the server's context."""
    process = await asyncio.create_subprocess_exec(
        *["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"],
        *["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    shutil.copy(folder / "cert.pem", folder / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "ca.pem"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
async def test_a_remote_engine_works_like_the_local_one(
    make_spec: MakeSpec, deployment: str, folder: Path, monkeypatch: pytest.MonkeyPatch, tls: bool
) -> None:
    context = await certify(folder) if tls else None
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/ssl/certs/ca-certificates.crt")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with forwarded(context) as url, runtime_at(url, tls_dir=folder if tls else None) as runtime:
        events = runtime.events(deployment)
        box = await start(runtime, make_spec())
        shell = await runtime.open_shell(box.ref)
        answer = await run(shell, "echo from afar")
        executed = await runtime.exec(box.ref, ["echo", "too"])
        archive = b"".join([piece async for piece in runtime.copy_out(box.ref, "/bin/busybox")])
        first = await anext(events)
        await events.aclose()
        await shell.close()

    assert answer == (0, "from afar\n")
    assert executed.output == "too\n"
    assert len(archive) > 500_000
    assert (first.ref, first.action) == (box.ref, "create")


# Containers of others


@pytest.fixture
def foreign(docker_api: APIClient, deployment: str, sample_image: str) -> Iterator[str]:
    """A running container that is not the pool's."""
    name = f"{deployment}-foreign"
    created = docker_api.create_container(sample_image, entrypoint=["/bin/sleep", "600"], name=name)
    docker_api.start(created["Id"])
    yield created["Id"]
    docker_api.remove_container(created["Id"], force=True)


async def test_a_foreign_container_is_never_touched(
    docker_runtime: DockerRuntime, docker_api: APIClient, foreign: str
) -> None:
    before = docker_api.inspect_container(foreign)["State"]

    for call in (
        docker_runtime.remove(foreign),
        docker_runtime.stop(foreign, grace_s=0),
        docker_runtime.restart(foreign, grace_s=0),
        docker_runtime.start(foreign),
        docker_runtime.kill(foreign),
        docker_runtime.pause(foreign),
        docker_runtime.unpause(foreign),
        docker_runtime.exec(foreign, ["true"]),
        docker_runtime.open_shell(foreign),
    ):
        with pytest.raises(EngineError, match="is not the pool's"):
            await call

    assert docker_api.inspect_container(foreign)["State"] == before


async def test_a_name_that_a_foreign_container_has_is_told_from_ours(
    docker_runtime: DockerRuntime, make_spec: MakeSpec, deployment: str, foreign: str
) -> None:
    box = await docker_runtime.create(make_spec("box-1"))

    with pytest.raises(NameTaken, match="a container that is not the pool's"):
        await docker_runtime.create(make_spec("foreign"))
    with pytest.raises(NameTaken, match=f"container box-1 of deployment {deployment}"):
        await docker_runtime.create(make_spec("box-1"))
    assert (await docker_runtime.inspect(box.ref)).state is EngineState.CREATED


async def test_a_container_of_a_committed_image_is_not_ours(
    docker_runtime: DockerRuntime, docker_api: APIClient, make_spec: MakeSpec, deployment: str
) -> None:
    box = await start(docker_runtime, make_spec())
    tag = f"containerpool-{deployment}:kept"
    try:
        await docker_runtime.commit(box.ref, tag=tag)
        copy = docker_api.create_container(tag)["Id"]
        try:
            listed = await docker_runtime.list(deployment)
            with pytest.raises(EngineError, match="is not the pool's"):
                await docker_runtime.remove(copy)
        finally:
            docker_api.remove_container(copy, force=True)
    finally:
        docker_api.remove_image(tag, force=True)

    assert [container.ref for container in listed] == [box.ref]


async def test_a_foreign_network_of_that_name_is_refused_and_kept(
    docker_runtime: DockerRuntime, docker_api: APIClient, deployment: str
) -> None:
    name = f"containerpool-{deployment}"
    network = docker_api.create_network(name)["Id"]
    try:
        with pytest.raises(EngineError, match="exists and is not the pool's"):
            await docker_runtime.ensure_network(deployment)
        await docker_runtime.remove_network(deployment)

        assert docker_api.inspect_network(network)["Name"] == name
    finally:
        docker_api.remove_network(network)


async def test_networks_made_at_the_same_time_end_as_one(
    docker_api: APIClient, deployment: str, make_spec: MakeSpec
) -> None:
    runtimes = [DockerRuntime() for _ in range(4)]

    await asyncio.gather(*(runtime.ensure_network(deployment) for runtime in runtimes * 2))

    networks = docker_api.networks(filters={"label": f"containerpool.deployment={deployment}"})
    box = await start(runtimes[0], make_spec())
    for runtime in runtimes:
        await runtime.close()
    assert len(networks) == 1
    assert box.running


async def test_twin_networks_are_mended(
    docker_runtime: DockerRuntime, docker_api: APIClient, deployment: str, make_spec: MakeSpec
) -> None:
    name = f"containerpool-{deployment}"
    for _ in range(2):
        docker_api.create_network(name, labels={"containerpool.deployment": deployment}, check_duplicate=False)

    box = await start(docker_runtime, make_spec())

    assert box.running
    assert len(docker_api.networks(names=[name])) == 1


async def test_processes_look_the_same_from_the_kernel_and_from_the_engine(
    docker_runtime: DockerRuntime, docker_api: APIClient, make_spec: MakeSpec
) -> None:
    box = await start(docker_runtime, make_spec(entrypoint=["/bin/sh", "-c", "sleep 1000 & sleep 2000 & wait"]))

    async def all_run() -> bool:
        return len(await docker_runtime.processes(box.ref)) == 4

    await eventually(all_run)
    ours = [(process.pid, process.command) for process in await docker_runtime.processes(box.ref)]
    theirs = [(int(pid), command) for pid, command in docker_api.top(box.ref, "-eo pid,args")["Processes"]]
    assert sorted(ours) == sorted(theirs)


def test_processes_of_another_host_are_not_looked_for_on_this_one() -> None:
    assert read_processes("0" * 64, os.getpid()) is None
    assert read_processes("0" * 64, 2**30) is None


async def test_a_container_whose_port_was_taken_starts_once_it_is_free(
    docker_runtime: DockerRuntime, make_spec: MakeSpec, free_port: int
) -> None:
    first = await start(docker_runtime, make_spec("box-1", port=free_port))
    second = await docker_runtime.create(make_spec("box-2", port=free_port))

    with pytest.raises(PortTaken, match=f"port {free_port} on 127.0.0.1 is taken"):
        await docker_runtime.start(second.ref)
    still = await docker_runtime.inspect(first.ref)
    await docker_runtime.remove(first.ref)
    started = await docker_runtime.start(second.ref)

    assert still.running
    assert started.ports == {3000: free_port}


async def test_containers_of_a_deployment_cannot_reach_each_other(
    docker_runtime: DockerRuntime, docker_api: APIClient, make_spec: MakeSpec, deployment: str
) -> None:
    server = await start(docker_runtime, make_spec("box-1", entrypoint=None))
    client = await start(docker_runtime, make_spec("box-2"))
    networks = docker_api.inspect_container(server.ref)["NetworkSettings"]["Networks"]
    address = networks[f"containerpool-{deployment}"]["IPAddress"]
    ask = ["sh", "-c", f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 1 {address} 3000"]

    async def answers_itself() -> bool:
        return "400" in (await docker_runtime.exec(server.ref, ask)).output

    await eventually(answers_itself)
    assert "timed out" in (await docker_runtime.exec(client.ref, ask)).output


# Shells


async def test_the_shell_runs_as_the_user_asked_for(docker_runtime: DockerRuntime, make_spec: MakeSpec) -> None:
    box = await start(docker_runtime, make_spec())
    shells = [await docker_runtime.open_shell(box.ref, user=user) for user in (None, "root", "4321")]

    users = [(await run(shell, "id -u"))[1].strip() for shell in shells]

    for shell in shells:
        await shell.close()
    assert users == ["1000", "0", "4321"]


async def test_late_output_of_a_child_is_not_taken_for_the_next_run(
    docker_runtime: DockerRuntime, make_spec: MakeSpec
) -> None:
    box = await start(docker_runtime, make_spec())
    shell = await docker_runtime.open_shell(box.ref)

    await run(shell, "mkfifo /tmp/go; (read x </tmp/go; echo LATE; : >/tmp/done) &")
    await docker_runtime.exec(box.ref, ["sh", "-c", "echo >/tmp/go; until [ -e /tmp/done ]; do :; done"])
    answer = await run(shell, "echo mine")

    await shell.close()
    assert answer == (0, "mine\n")


async def test_output_beyond_the_limit_is_cut_and_the_end_still_found(
    docker_runtime: DockerRuntime, make_spec: MakeSpec
) -> None:
    box = await start(docker_runtime, make_spec())
    shell = await docker_runtime.open_shell(box.ref)

    code, output = await run(shell, "head -c 3000000 /dev/zero | tr '\\0' x; exit 5")
    after = await run(shell, "echo still here")

    await shell.close()
    assert (code, len(output)) == (5, OUTPUT_LIMIT_BYTES)
    assert after == (0, "still here\n")


async def test_a_missing_shell_says_what_the_engine_said(docker_runtime: DockerRuntime, make_spec: MakeSpec) -> None:
    box = await start(docker_runtime, make_spec())

    with pytest.raises(ShellBroken, match=r"/bin/bash.*no such file") as caught:
        await docker_runtime.open_shell(box.ref, shell="/bin/bash")

    assert "reset.recipe.shell" in caught.value.hint


def test_the_end_mark_is_found_wherever_the_pieces_are_cut() -> None:
    printed = b"late leftovers\nN+\nout\nN-x\n\nN-12\nmore"

    for size in range(1, len(printed)):
        capture = Capture("N")
        pieces = [printed[at : at + size] for at in range(0, len(printed), size)]
        results = [result for piece in pieces if (result := capture.feed(piece))]
        assert (results[0].exit_code, results[0].output) == (12, "out\nN-x\n")


def test_a_tenants_guess_is_not_taken_for_the_end() -> None:
    capture = Capture("secret")

    assert capture.feed(b"secret+\n\nguess-0\n") is None


async def test_an_exec_of_a_missing_command_shows_what_the_engine_said(
    docker_runtime: DockerRuntime, make_spec: MakeSpec
) -> None:
    box = await start(docker_runtime, make_spec())

    result = await docker_runtime.exec(box.ref, ["/bin/no-such-command"])

    assert result.exit_code in (126, 127)
    assert "no such file" in result.output


async def test_an_engine_error_without_a_meaning_of_its_own_keeps_its_words(
    docker_runtime: DockerRuntime, make_spec: MakeSpec
) -> None:
    box = await docker_runtime.create(make_spec(entrypoint=["/bin/no-such-command"], init=False))

    with pytest.raises(EngineError, match="no such file") as caught:
        await docker_runtime.start(box.ref)

    assert caught.type is EngineError
