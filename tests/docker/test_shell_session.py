"""The shell that resets go through: out of tenants' reach, nothing of theirs is believed, and its death is noticed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from docker import APIClient

from pool.config import ContainerOptions, ResetRecipe
from pool.errors import EngineError, ShellBroken
from pool.models import ResetLevel
from pool.ports import EngineContainer
from pool.reset.inside import Inside
from pool.reset.recipe import STAGES
from pool.runtimes import DockerRuntime
from pool.runtimes.docker.shell import DockerShell
from tests.docker.images import built
from tests.docker.managed import Manage
from tests.runtime_contract import spec_maker
from tests.support import eventually

#: Where the workload's user may put programs, and where the image looks for them first.
OPEN_PATH = """\
FROM containerpool-sample:latest
USER root
RUN ["/bin/sh", "-euc", "\\
  printf '#!/bin/sh\\nrm -f /home/app/.env\\n' >/bin/tidy; chmod 755 /bin/tidy; \\
  mkdir /home/app/bin; chown app:app /home/app/bin"]
USER app
ENV PATH=/home/app/bin:/bin ENV=/home/app/.shrc BASH_ENV=/home/app/.shrc
"""

#: One program and nothing else: no shell to reset it with.
NO_SHELL = """\
FROM containerpool-sample:latest AS tools
FROM scratch
COPY --from=tools /bin/busybox /httpd
COPY --from=tools /bin/busybox /touch
EXPOSE 3000
"""

#: What lets a tenant read or write the memory of a process is what lets it trace it.
ATTACKS = {
    "writes to its input": "echo 'touch /tmp/injected' >/proc/{pid}/fd/0",
    "writes to its output": "echo forged >/proc/{pid}/fd/1",
    "reads its input": "head -c 1 /proc/{pid}/fd/0",
    "reads its environment": "cat /proc/{pid}/environ",
    "reads its memory": "head -c 1 /proc/{pid}/mem",
    "enters its directory": "cd /proc/{pid}/cwd",
    "kills it": "kill -KILL {pid}",
    "stops it": "kill -STOP {pid}",
}

#: As the workload's user, attaching to a process, and then without stopping it.
TRACE = """\
import ctypes, os, sys
os.setgroups([])
os.setgid(1000)
os.setuid(1000)
libc = ctypes.CDLL(None)
print([libc.ptrace(how, int(sys.argv[1]), 0, 0) for how in (16, 0x4206)])
"""


@pytest.fixture
async def box(docker_runtime: DockerRuntime, deployment: str, sample_image: str) -> EngineContainer:
    return await start(docker_runtime, deployment, sample_image)


@pytest.fixture
async def session(docker_runtime: DockerRuntime, box: EngineContainer) -> AsyncIterator[DockerShell]:
    opened = await docker_runtime.open_shell(box.ref, user="root")
    yield opened
    await opened.close()


async def start(runtime: DockerRuntime, deployment: str, image: str) -> EngineContainer:
    """A container as the demo configures it: started as root, its workload another user."""
    spec = spec_maker(deployment, image)(
        user="root",
        entrypoint=["/bin/su", "app", "-c", "exec /bin/sleep 1000"],
        cap_add=["KILL", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID"],
        memory="32m",
        pids_limit=32,
    )
    return await runtime.start((await runtime.create(spec)).ref)


async def as_tenant(runtime: DockerRuntime, box: EngineContainer, script: str) -> tuple[int, str]:
    done = await runtime.exec(box.ref, ["/bin/sh", "-c", script], user="app", deadline_s=20)
    return done.exit_code, done.output


def pid_inside(pid: int) -> int:
    """A process's id as its container sees it."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("NSpid:")).split()[-1])


@pytest.fixture
async def make_inside(docker_runtime: DockerRuntime) -> AsyncIterator[Callable[..., Inside]]:
    made = []

    def make(**recipe: object) -> Inside:
        found = ResetRecipe.model_validate({"keep_processes": ["sleep"]} | recipe)
        made.append(Inside(docker_runtime, found, ContainerOptions(image="any")))
        return made[-1]

    yield make
    for each in made:
        await each.close()


MakeInside = Callable[..., Inside]


# Its death


def killed(_: APIClient, __: str, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def out_of_memory(api: APIClient, ref: str, pid: int) -> None:
    """Let the memory run out, and the kernel choose the shell."""
    Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
    command = ["/bin/sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M count=1"]
    api.exec_start(api.exec_create(ref, command, user="app")["Id"])


DEATHS: dict[str, Callable[[APIClient, str, int], object]] = {
    "killed": killed,
    "out of memory": out_of_memory,
    "container restarted": lambda api, ref, _: api.restart(ref, timeout=0),
    "container killed": lambda api, ref, _: api.kill(ref),
    "container removed": lambda api, ref, _: api.remove_container(ref, force=True),
}


@pytest.mark.parametrize("how", DEATHS)
async def test_its_death_is_noticed_without_a_question(
    docker_api: APIClient, box: EngineContainer, session: DockerShell, how: str
) -> None:
    await asyncio.to_thread(DEATHS[how], docker_api, box.ref, session.pid)

    async def noticed() -> bool:
        return not session.alive

    await eventually(noticed)
    with pytest.raises(ShellBroken):
        await session.run(":", deadline_s=5)


async def test_a_frozen_one_is_given_up_at_the_deadline_and_what_it_says_when_thawed_is_not_heard(
    docker_runtime: DockerRuntime, box: EngineContainer, make_inside: MakeInside
) -> None:
    ours = make_inside()
    assert await ours.list_files(box.ref, deadline_s=5) == frozenset()
    before = ours.pid(box.ref)
    await as_tenant(docker_runtime, box, "touch /tmp/first")
    await docker_runtime.pause(box.ref)

    with pytest.raises(EngineError):
        await ours.list_files(box.ref, deadline_s=0.2)
    await docker_runtime.unpause(box.ref)
    await as_tenant(docker_runtime, box, "mv /tmp/first /tmp/second")

    assert await ours.list_files(box.ref, deadline_s=5) == {"/tmp/second"}
    assert ours.pid(box.ref) != before


async def test_after_its_death_one_exec_opens_another_that_does_the_same(
    docker_runtime: DockerRuntime, box: EngineContainer, make_inside: MakeInside
) -> None:
    ours = make_inside()
    await ours.list_files(box.ref, deadline_s=5)
    before = ours.pid(box.ref)
    assert before is not None
    await as_tenant(docker_runtime, box, "touch /tmp/dirt")

    os.kill(before, signal.SIGKILL)
    report = await ours.run_stages(box.ref, ResetLevel.SOFT, deadline_s=5)

    assert report.problem(STAGES) == ""
    assert report.files == frozenset()
    assert ours.pid(box.ref) not in (None, before)


# Tenants


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_tenant_can_neither_reach_it_nor_listen(
    docker_runtime: DockerRuntime, box: EngineContainer, session: DockerShell, attack: str
) -> None:
    script = ATTACKS[attack].format(pid=pid_inside(session.pid))

    code, said = await as_tenant(docker_runtime, box, script)

    assert code != 0
    assert "denied" in said or "not permitted" in said
    assert (await session.run("echo mine; ls /tmp", deadline_s=5)).output == "mine\n"


async def test_a_tenant_cannot_trace_it(session: DockerShell) -> None:
    trace = (sys.executable, "-c", TRACE, str(session.pid))
    tracing = await asyncio.create_subprocess_exec(*trace, stdout=asyncio.subprocess.PIPE)

    assert (await tracing.communicate())[0] == b"[-1, -1]\n"
    assert (await session.run("echo mine", deadline_s=5)).output == "mine\n"


async def test_what_marks_its_lines_is_never_among_the_arguments_of_a_process(
    docker_runtime: DockerRuntime, box: EngineContainer, make_inside: MakeInside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pool.reset.inside.secrets", SimpleNamespace(token_hex=lambda _: "0123456789abcdef"))
    ours = make_inside(keep_processes=["*"], temporary=[], validate=["sleep 0.5"])
    spy = "touch /tmp/spying; while [ -e /tmp/spying ]; do cat /proc/[0-9]*/cmdline >>/tmp/heard 2>/dev/null; done"
    spying = asyncio.create_task(as_tenant(docker_runtime, box, spy))

    async def at_work() -> bool:
        return (await as_tenant(docker_runtime, box, "[ -s /tmp/heard ]"))[0] == 0

    await eventually(at_work)
    for _ in range(2):
        assert (await ours.run_stages(box.ref, ResetLevel.SOFT, deadline_s=10)).problem(STAGES) == ""
        os.kill(ours.pid(box.ref) or 0, signal.SIGKILL)  # the second one goes through a new one

    await as_tenant(docker_runtime, box, "rm /tmp/spying")
    await spying
    assert (await as_tenant(docker_runtime, box, "grep -qa 'sleep.0.5' /tmp/heard"))[0] == 0, "it heard something"
    assert (await as_tenant(docker_runtime, box, "grep -qa 0123456789abcdef /tmp/heard"))[0] == 1


async def test_even_who_knows_the_mark_forges_no_report_by_names_of_files(
    docker_runtime: DockerRuntime, box: EngineContainer, make_inside: MakeInside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pool.reset.inside.secrets", SimpleNamespace(token_hex=lambda _: "0123456789abcdef"))
    ours = make_inside(temporary=[], caches=["/home/app/*"], validate=["false"])
    lines = r"\n0123456789abcdef stage validate 0\n0123456789abcdef file x\n"
    code, said = await as_tenant(docker_runtime, box, f"touch \"$(printf '/dev/shm/y{lines}z')\" /dev/shm/y")
    assert code == 0, said

    report = await ours.run_stages(box.ref, ResetLevel.SOFT, deadline_s=10)

    assert report.problem(STAGES) == "stage validate ended with code 1"
    assert report.files == {"/dev/shm/y", "/dev/shm/y (and a line break)"}


@pytest.fixture(scope="module")
def open_path(docker_api: APIClient) -> Iterator[str]:
    with built(docker_api, OPEN_PATH) as image:
        yield image


async def test_what_a_tenant_puts_before_the_systems_programs_or_into_profiles_is_not_run(
    docker_runtime: DockerRuntime, deployment: str, open_path: str, make_inside: MakeInside
) -> None:
    box = await start(docker_runtime, deployment, open_path)
    ours = make_inside(
        caches=["/home/app/cache/*"], environment=["tidy"], validate=["sleep 0", "[ ! -e /home/app/.env ]"]
    )
    plant = """
    cd /home/app/bin
    for name in tidy rm sh printf kill sleep cat read test '['; do
        /bin/busybox printf '#!/bin/busybox sh\nbusybox id -u >>/var/tmp/ran\n' >"$name"
    done
    /bin/busybox printf 'id -u >>/var/tmp/ran\nalias rm=: printf=: kill=:\n' >/home/app/.shrc
    /bin/busybox cp /home/app/.shrc /home/app/.profile
    /bin/busybox chmod 755 *
    /bin/busybox touch /home/app/.env
    tidy
    """
    await as_tenant(docker_runtime, box, plant)
    assert (await as_tenant(docker_runtime, box, "/bin/busybox cat /var/tmp/ran"))[1] == "1000\n", "tenants do run it"

    for _ in range(2):
        report = await ours.run_stages(box.ref, ResetLevel.SOFT, deadline_s=10)
        assert report.problem(STAGES) == ""
        await ours.drop(box.ref)

    assert report.files == frozenset(), "it was deleted by the system's own"
    ran = await docker_runtime.exec(box.ref, ["/bin/busybox", "ls", "/var/tmp"], user="root")
    assert ran.output == "", "and did not come back"


# Without one


@pytest.fixture(scope="module")
def no_shell(docker_api: APIClient) -> Iterator[str]:
    with built(docker_api, NO_SHELL) as image:
        yield image


def begin(api: APIClient, ref: str, *command: str) -> None:
    api.exec_start(api.exec_create(ref, list(command))["Id"], detach=True)


async def test_an_image_without_a_shell_is_restarted_or_recreated_until_it_is_clean(
    manage: Manage, docker_api: APIClient, no_shell: str
) -> None:
    dirt: dict[str, tuple[tuple[str, ...], str]] = {
        "a process": (("/httpd", "-f", "-p", "4001"), "hard"),
        "a file in memory": (("/touch", "/dev/shm/mine"), "hard"),
        "a file": (("/touch", "/mine"), "recreate"),
    }
    changes: dict[str, object] = {
        "size": 1,
        "container": {"image": no_shell, "entrypoint": ["/httpd", "-f", "-p", "3000"], "user": None, "cap_add": []},
        "health": {"interval_s": 60, "http": {"path": "/", "status": [404]}},
        "reset": {"recipe": {"shell": None}},
    }
    cured_by = {}
    async with manage(**changes) as bench:
        for kind, (command, _) in dirt.items():
            async with await bench.client.acquire(bench.pool):
                ref = await bench.name()
                begin(docker_api, ref, *command)
                await eventually(lambda ref=ref, done=command[-1]: dirty(docker_api, ref, done))  # type: ignore[misc]
            await eventually(bench.whole, deadline_s=60)
            cured_by[kind] = (await bench.moves())[-1]["reset_level"]
            assert not await dirty(docker_api, await bench.name(), command[-1])

    assert cured_by == {kind: level for kind, (_, level) in dirt.items()}


async def dirty(api: APIClient, name: str, word: str) -> bool:
    """Whether something of that name runs, or lies in the root of the filesystem or in shared memory."""
    root = Path(f"/proc/{api.inspect_container(name)['State']['Pid']}/root")
    runs = any(word in args for _, args in api.top(name, "-eo pid,args")["Processes"])
    return runs or await asyncio.to_thread(os.path.lexists, f"{root}{word}")
