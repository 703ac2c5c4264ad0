"""The in-memory runtime does what every runtime does, and fails when told to."""

from __future__ import annotations

import asyncio
import tempfile
import uuid

import pytest

from pool.config import PortOptions
from pool.errors import ContainerGone, EngineError, EngineTimeout, EngineUnavailable
from pool.ports import Change, ChangeKind, ExecResult
from pool.testing import MemoryContainer, MemoryRuntime
from tests.runtime_contract import RuntimeContract, spec_maker

IMAGE = "any-image"


async def local_shell(container: MemoryContainer, script: str) -> ExecResult:
    """Run a script on this machine, as if in the container; files are the container's."""
    if script.startswith("touch "):
        container.files[script.split()[1]] = b""
        return ExecResult(0, "")
    with tempfile.TemporaryFile() as output:  # not a pipe, which a background child would hold open
        process = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", script, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        output.seek(0)
        return ExecResult(code, output.read().decode(errors="replace"))


@pytest.fixture
def runtime() -> MemoryRuntime:
    return MemoryRuntime(images={IMAGE}, shell_handler=local_shell)


@pytest.fixture
def deployment() -> str:
    return f"t-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def image() -> str:
    return IMAGE


@pytest.fixture
def tag() -> str:
    return "kept:1"


@pytest.fixture
def free_port() -> int:
    return 3001


@pytest.fixture
async def taken_port(runtime: MemoryRuntime) -> int:
    holder = await runtime.create(spec_maker("other", IMAGE)(port=3002))
    return (await runtime.start(holder.ref)).ports[3000]


class TestMemoryRuntime(RuntimeContract):
    """The contract in memory."""


async def test_an_ordered_fault_strikes_once() -> None:
    runtime = MemoryRuntime()
    runtime.fail_next("list", EngineTimeout("slow"))

    with pytest.raises(EngineTimeout, match="slow"):
        await runtime.list("d")
    assert await runtime.list("d") == []


async def test_an_ordered_fault_breaks_an_open_event_stream() -> None:
    runtime = MemoryRuntime()
    listening = asyncio.ensure_future(anext(runtime.events("d")))
    await asyncio.sleep(0)

    runtime.fail_next("events", EngineUnavailable("cut"))

    with pytest.raises(EngineUnavailable, match="cut"):
        await listening


async def test_dirt_shows_and_the_default_shell_wipes_it() -> None:
    runtime = MemoryRuntime()
    box = await runtime.start((await runtime.create(spec_maker("d", IMAGE)())).ref)
    shell = await runtime.open_shell(box.ref)
    clean = list(await runtime.processes(box.ref))

    runtime.dirty(box.ref, process="chromium", file="/tmp/left")
    dirty = [process.command for process in await runtime.processes(box.ref)]
    changes = await runtime.changes(box.ref)
    await shell.run("anything", deadline_s=1)

    assert "chromium" in dirty
    assert changes == [Change(ChangeKind.ADDED, "/tmp/left")]
    assert await runtime.processes(box.ref) == clean
    assert await runtime.changes(box.ref) == []


async def test_files_survive_a_restart_and_processes_do_not() -> None:
    runtime = MemoryRuntime()
    box = await runtime.start((await runtime.create(spec_maker("d", IMAGE)())).ref)
    runtime.dirty(box.ref, process="chromium", file="/tmp/left")

    await runtime.restart(box.ref, grace_s=0)

    assert len(await runtime.processes(box.ref)) == 1
    assert await runtime.changes(box.ref) != []


async def test_a_crash_tells_why() -> None:
    runtime = MemoryRuntime()
    box = await runtime.start((await runtime.create(spec_maker("d", IMAGE)())).ref)

    runtime.crash(box.ref, exit_code=139, oom=True)

    crashed = await runtime.inspect(box.ref)
    assert (crashed.exit_code, crashed.oom_killed, crashed.running) == (139, True, False)


async def test_chosen_ports_differ() -> None:
    runtime = MemoryRuntime()
    make = spec_maker("d", IMAGE)

    first = await runtime.start((await runtime.create(make("box-1", port=0))).ref)
    second = await runtime.start((await runtime.create(make("box-2", port=0))).ref)

    assert first.ports[3000] != second.ports[3000]


async def test_calls_are_recorded() -> None:
    runtime = MemoryRuntime()

    await runtime.ensure_network("d")
    with pytest.raises(ContainerGone):
        await runtime.inspect("nowhere")

    assert runtime.calls == [("ensure_network", "d"), ("inspect", "nowhere")]


async def test_a_failing_handler_is_no_engine_error_in_disguise() -> None:
    def broken(container: MemoryContainer, script: str) -> ExecResult:
        raise EngineError(f"{container.spec.name}: {script}")

    runtime = MemoryRuntime(shell_handler=broken)
    spec = spec_maker("d", IMAGE)(ports=[PortOptions(container=3000)])
    box = await runtime.start((await runtime.create(spec)).ref)

    with pytest.raises(EngineError, match="d-box-1: boom"):
        await runtime.exec(box.ref, ["boom"])
