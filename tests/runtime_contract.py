"""What every implementation of the runtime port has to do. Subclasses say which implementation that is."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from ipaddress import ip_address

import pytest

from pool.config import ContainerOptions, PortOptions
from pool.errors import (
    ContainerGone,
    EngineError,
    EngineTimeout,
    ImageMissing,
    NameTaken,
    PortTaken,
    ShellBroken,
)
from pool.ports import (
    LABEL_DEPLOYMENT,
    LABEL_EVIDENCE,
    Change,
    ChangeKind,
    ContainerSpec,
    EngineContainer,
    EngineEvent,
    EngineState,
    Runtime,
    ShellSession,
)
from tests.support import eventually

MakeSpec = Callable[..., ContainerSpec]

#: An image name that nobody serves: the registry would be a closed port of the engine's own host.
NO_IMAGE = "localhost:1/containerpool-no-such-image:latest"


def spec_maker(deployment: str, image: str) -> MakeSpec:
    """Return a function that makes specs of one deployment; keywords change the container's options."""

    def make(container_id: str = "box-1", *, port: int | None = None, **options: object) -> ContainerSpec:
        fields: dict[str, object] = {"image": image, "entrypoint": ["/bin/sleep", "600"], "stop_grace_s": 0} | options
        if port is not None:
            fields["ports"] = [PortOptions(container=3000, host=port)]
        return ContainerSpec(
            deployment=deployment,
            pool="box",
            id=container_id,
            name=f"{deployment}-{container_id}",
            generation=1,
            spec="fingerprint",
            ports={} if port is None else {3000: port},
            options=ContainerOptions.model_validate(fields),
        )

    return make


async def run(shell: ShellSession, script: str) -> tuple[int, str]:
    result = await shell.run(script, deadline_s=10)
    return result.exit_code, result.output


class RuntimeContract:
    """The suite. A subclass's module has the fixtures `runtime`, `deployment`, `image`, `taken_port` and `tag`."""

    @pytest.fixture
    def make_spec(self, deployment: str, image: str) -> MakeSpec:
        return spec_maker(deployment, image)

    @pytest.fixture
    async def box(self, runtime: Runtime, make_spec: MakeSpec) -> EngineContainer:
        """A running container."""
        return await runtime.start((await runtime.create(make_spec())).ref)

    @pytest.fixture
    async def shell(self, runtime: Runtime, box: EngineContainer) -> AsyncIterator[ShellSession]:
        session = await runtime.open_shell(box.ref)
        yield session
        await session.close()

    async def test_check_names_the_engine(self, runtime: Runtime) -> None:
        assert await runtime.check()

    async def test_a_container_is_created_started_stopped_and_removed(
        self, runtime: Runtime, make_spec: MakeSpec
    ) -> None:
        created = await runtime.create(make_spec(port=0))
        started = await runtime.start(created.ref)
        await runtime.stop(created.ref, grace_s=0)
        stopped = await runtime.inspect(created.ref)
        await runtime.remove(created.ref)

        assert (created.state, created.ports, created.started_at) == (EngineState.CREATED, {}, "")
        assert started.running
        assert started.ports[3000] > 0
        assert started.started_at
        assert (stopped.state, stopped.ports) == (EngineState.EXITED, {})
        assert stopped.exit_code is not None
        with pytest.raises(ContainerGone):
            await runtime.inspect(created.ref)

    async def test_a_fixed_port_is_published_as_asked(
        self, runtime: Runtime, make_spec: MakeSpec, free_port: int
    ) -> None:
        created = await runtime.create(make_spec(port=free_port))

        started = await runtime.start(created.ref)

        assert started.ports == {3000: free_port}

    async def test_labels_survive_the_engine(self, runtime: Runtime, make_spec: MakeSpec) -> None:
        spec = make_spec(labels={"team": "checkout"})

        created = await runtime.create(spec)

        assert spec.labels.items() <= created.labels.items()
        assert created.labels["team"] == "checkout"

    async def test_a_container_that_joins_another_has_no_ports_and_needs_it_to_run(
        self, runtime: Runtime, make_spec: MakeSpec
    ) -> None:
        holder = await runtime.start((await runtime.create(replace(make_spec(port=0), holds=True))).ref)
        box = await runtime.create(replace(make_spec("box-2", port=0), joins=holder.ref))

        started = await runtime.start(box.ref)
        await runtime.stop(holder.ref, grace_s=0)

        assert (holder.id, holder.holds, holder.joins) == ("", "box-1", "")
        assert (started.id, started.holds, started.joins) == ("box-2", "", holder.ref)
        assert (box.address, started.address) == ("", "")
        assert holder.ports[3000] > 0
        assert started.ports == {}
        with pytest.raises(EngineError, match="network"):
            await runtime.restart(box.ref, grace_s=0)
        await runtime.start(holder.ref)
        assert (await runtime.restart(box.ref, grace_s=0)).running

    async def test_a_container_has_an_address_while_it_runs(self, runtime: Runtime, make_spec: MakeSpec) -> None:
        created = await runtime.create(replace(make_spec("box-1", port=0), ports={}))
        started = await runtime.start(created.ref)
        await runtime.stop(created.ref, grace_s=0)

        assert created.address == ""
        assert ip_address(started.address)
        assert (started.ports, (await runtime.inspect(created.ref)).address) == ({}, "")

    async def test_nobody_joins_a_container_that_is_gone(
        self, runtime: Runtime, make_spec: MakeSpec, box: EngineContainer
    ) -> None:
        await runtime.remove(box.ref)

        with pytest.raises(ContainerGone):
            await runtime.create(replace(make_spec("box-2"), joins=box.ref))

    async def test_only_the_own_deployment_is_listed(
        self, runtime: Runtime, make_spec: MakeSpec, deployment: str
    ) -> None:
        box = await runtime.create(make_spec())

        assert await runtime.list(deployment) == [box]
        assert await runtime.list(f"{deployment}-other") == []

    async def test_the_list_shows_each_container_as_inspect_does(
        self, runtime: Runtime, box: EngineContainer, deployment: str
    ) -> None:
        listed = await runtime.list(deployment)

        assert listed == [await runtime.inspect(box.ref)]

    async def test_a_taken_name_is_refused_and_its_holder_left_alone(
        self, runtime: Runtime, box: EngineContainer, make_spec: MakeSpec
    ) -> None:
        with pytest.raises(NameTaken, match=box.name):
            await runtime.create(make_spec())

        assert await runtime.inspect(box.ref) == box

    async def test_a_taken_port_is_refused_and_named(
        self, runtime: Runtime, make_spec: MakeSpec, taken_port: int
    ) -> None:
        created = await runtime.create(make_spec(port=taken_port))

        with pytest.raises(PortTaken, match=str(taken_port)):
            await runtime.start(created.ref)

        assert not (await runtime.inspect(created.ref)).running

    async def test_a_missing_image_is_named(self, runtime: Runtime, make_spec: MakeSpec, image: str) -> None:
        await runtime.ensure_image(image)

        with pytest.raises(ImageMissing, match=NO_IMAGE):
            await runtime.ensure_image(NO_IMAGE)
        with pytest.raises(ImageMissing, match=NO_IMAGE):
            await runtime.create(make_spec(image=NO_IMAGE))

    async def test_every_call_on_a_container_that_is_gone_says_so(self, runtime: Runtime, box: EngineContainer) -> None:
        ref = box.ref
        await runtime.remove(ref)

        for call in (
            runtime.inspect(ref),
            runtime.start(ref),
            runtime.stop(ref, grace_s=0),
            runtime.restart(ref, grace_s=0),
            runtime.kill(ref),
            runtime.pause(ref),
            runtime.unpause(ref),
            runtime.stats(ref),
            runtime.processes(ref),
            runtime.changes(ref),
            runtime.logs(ref),
            anext(runtime.copy_out(ref, "/etc")),
            runtime.describe(ref),
            runtime.exec(ref, ["true"]),
            runtime.open_shell(ref),
            runtime.commit(ref, tag="containerpool-no-such:tag"),
        ):
            with pytest.raises(ContainerGone):
                await call

    async def test_a_container_may_be_removed_twice_and_by_two_at_once(
        self, runtime: Runtime, box: EngineContainer
    ) -> None:
        await asyncio.gather(runtime.remove(box.ref), runtime.remove(box.ref))
        await runtime.remove(box.ref)

        with pytest.raises(ContainerGone):
            await runtime.inspect(box.ref)

    async def test_a_restart_shows_in_started_at(self, runtime: Runtime, box: EngineContainer) -> None:
        restarted = await runtime.restart(box.ref, grace_s=0)

        assert restarted.running
        assert restarted.started_at != box.started_at

    async def test_a_paused_container_is_frozen_until_it_is_thawed(
        self, runtime: Runtime, box: EngineContainer
    ) -> None:
        await runtime.pause(box.ref)
        frozen = await runtime.inspect(box.ref)
        await runtime.unpause(box.ref)
        thawed = await runtime.inspect(box.ref)

        assert frozen.state is EngineState.PAUSED
        assert thawed.running
        assert thawed.started_at == box.started_at

    async def test_a_paused_container_can_be_restarted_and_removed(
        self, runtime: Runtime, box: EngineContainer
    ) -> None:
        await runtime.pause(box.ref)
        restarted = await runtime.restart(box.ref, grace_s=0)
        await runtime.pause(box.ref)
        await runtime.remove(box.ref)

        assert restarted.running

    async def test_a_killed_container_shows_its_exit_code(self, runtime: Runtime, box: EngineContainer) -> None:
        await runtime.kill(box.ref)

        async def dead() -> bool:
            return (await runtime.inspect(box.ref)).state is EngineState.EXITED

        await eventually(dead)
        assert (await runtime.inspect(box.ref)).exit_code == 137

    async def test_what_needs_a_running_container_refuses_a_stopped_one(
        self, runtime: Runtime, box: EngineContainer
    ) -> None:
        await runtime.stop(box.ref, grace_s=0)

        for call in (
            runtime.exec(box.ref, ["true"]),
            runtime.open_shell(box.ref),
            runtime.processes(box.ref),
            runtime.stats(box.ref),
            runtime.pause(box.ref),
            runtime.kill(box.ref),
        ):
            with pytest.raises(EngineError):
                await call

    async def test_exec_returns_output_and_exit_code(self, runtime: Runtime, box: EngineContainer) -> None:
        result = await runtime.exec(box.ref, ["sh", "-c", "echo 'it is'; echo \"$1\" >&2; exit 3", "sh", "it's"])

        assert result.exit_code == 3
        assert sorted(result.output.splitlines()) == ["it is", "it's"]

    async def test_an_exec_that_takes_too_long_is_given_up(self, runtime: Runtime, box: EngineContainer) -> None:
        with pytest.raises(EngineTimeout):
            await runtime.exec(box.ref, ["sleep", "30"], deadline_s=0.3)

    async def test_the_shell_returns_output_and_exit_code(self, shell: ShellSession) -> None:
        assert await run(shell, "echo hello; echo oops >&2; exit 7") == (7, "hello\noops\n")
        assert await run(shell, "printf 'no newline'") == (0, "no newline")
        assert await run(shell, ":") == (0, "")
        assert (await run(shell, "false"))[0] == 1

    async def test_output_is_handed_on_as_it_comes(
        self, runtime: Runtime, box: EngineContainer, shell: ShellSession
    ) -> None:
        heard: list[bytes] = []
        long = "i=0; while [ $i -lt 3 ]; do echo line $i; i=$((i+1)); done"

        told = await shell.run(long, deadline_s=20, on_output=heard.append)
        ran = await runtime.exec(box.ref, ["sh", "-c", long], on_output=heard.append)

        assert told.output == ran.output
        assert b"".join(heard).decode().count(told.output) == 2

    async def test_the_shell_takes_any_script(self, shell: ShellSession) -> None:
        script = "cat <<'END'\nit's \"quoted\" $HOME `date` \\\\\nEND\nfor i in 1 2; do\n  echo $i\ndone # a comment"

        assert await run(shell, script) == (0, 'it\'s "quoted" $HOME `date` \\\\\n1\n2\n')

    async def test_a_script_with_a_syntax_error_fails_alone(self, shell: ShellSession) -> None:
        code, _ = await run(shell, "if then")

        assert code != 0
        assert await run(shell, "echo alive") == (0, "alive\n")

    async def test_the_shell_itself_does_what_comes_before_a_script(self, shell: ShellSession) -> None:
        result = await shell.run("echo script; exit 3", before="echo before >&2; false", deadline_s=10)

        assert (result.exit_code, result.output) == (3, "before\nscript\n")
        assert await run(shell, "echo alive") == (0, "alive\n")

    async def test_a_script_cannot_change_the_session(self, shell: ShellSession) -> None:
        await run(shell, "cd /usr; LEFT=behind; exec >/dev/null")

        assert await run(shell, 'echo "$LEFT"') == (0, "\n")

    async def test_a_script_finds_its_stdin_empty(self, shell: ShellSession) -> None:
        assert await run(shell, "cat") == (0, "")

    async def test_the_shell_bears_big_output(self, shell: ShellSession) -> None:
        count = 20_000

        code, output = await run(shell, f"i=0; while [ $i -lt {count} ]; do echo $i; i=$((i+1)); done")

        assert code == 0
        assert output == "".join(f"{i}\n" for i in range(count))

    async def test_bytes_that_are_no_text_are_replaced(self, shell: ShellSession) -> None:
        assert await run(shell, r"printf 'a\377b'") == (0, "a\ufffdb")

    async def test_a_background_child_does_not_hold_up_the_shell(self, shell: ShellSession) -> None:
        code, output = await run(shell, "sleep 30 & echo done")

        assert (code, output) == (0, "done\n")

    async def test_runs_of_one_shell_wait_for_each_other(self, shell: ShellSession) -> None:
        results = await asyncio.gather(*(run(shell, f"echo {i}") for i in range(10)))

        assert results == [(0, f"{i}\n") for i in range(10)]

    async def test_a_script_that_takes_too_long_breaks_the_shell(self, shell: ShellSession) -> None:
        with pytest.raises(ShellBroken):
            await shell.run("sleep 30", deadline_s=0.2)

        assert not shell.alive
        with pytest.raises(ShellBroken):
            await shell.run(":", deadline_s=5)

    async def test_a_cancelled_run_closes_the_shell(self, shell: ShellSession) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await shell.run("sleep 30", deadline_s=20)

        assert not shell.alive

    async def test_a_killed_container_breaks_its_shell(
        self, runtime: Runtime, box: EngineContainer, shell: ShellSession
    ) -> None:
        waiting = asyncio.ensure_future(shell.run("sleep 30", deadline_s=20))
        await asyncio.sleep(0)
        await runtime.kill(box.ref)

        with pytest.raises(ShellBroken):
            await waiting
        assert not shell.alive

    async def test_an_idle_shell_knows_that_its_container_ended(
        self, runtime: Runtime, box: EngineContainer, shell: ShellSession
    ) -> None:
        await runtime.kill(box.ref)

        async def noticed() -> bool:
            return not shell.alive

        await eventually(noticed)

    async def test_the_shell_of_a_paused_container_is_given_up_at_the_deadline(
        self, runtime: Runtime, box: EngineContainer, shell: ShellSession
    ) -> None:
        await runtime.pause(box.ref)

        with pytest.raises(ShellBroken):
            await shell.run(":", deadline_s=0.2)
        assert not shell.alive

    async def test_an_image_without_the_shell_is_refused(self, runtime: Runtime, box: EngineContainer) -> None:
        with pytest.raises(ShellBroken):
            await runtime.open_shell(box.ref, shell="/bin/no-such-shell")

    async def test_the_shell_is_among_the_processes_until_it_is_closed(
        self, runtime: Runtime, box: EngineContainer, shell: ShellSession
    ) -> None:
        async def pids() -> set[int]:
            return {process.pid for process in await runtime.processes(box.ref)}

        during = await pids()
        await shell.close()
        await shell.close()

        async def gone() -> bool:
            return shell.pid not in await pids()

        assert shell.pid in during
        await eventually(gone)

    async def test_processes_show_the_main_command(self, runtime: Runtime, box: EngineContainer) -> None:
        commands = [process.command for process in await runtime.processes(box.ref)]

        assert "/bin/sleep 600" in commands

    async def test_changes_show_a_new_file(self, runtime: Runtime, box: EngineContainer) -> None:
        before = set(await runtime.changes(box.ref))

        await runtime.exec(box.ref, ["touch", "/tmp/contract"])

        assert Change(ChangeKind.ADDED, "/tmp/contract") in set(await runtime.changes(box.ref)) - before

    async def test_logs_are_the_last_lines(self, runtime: Runtime, make_spec: MakeSpec) -> None:
        spec = make_spec(entrypoint=["/bin/sh", "-c", "echo first; echo last; exec sleep 600"])
        box = await runtime.start((await runtime.create(spec)).ref)

        async def logged() -> bool:
            return "last" in await runtime.logs(box.ref)

        await eventually(logged)
        assert len((await runtime.logs(box.ref, tail=1)).splitlines()) == 1

    async def test_a_file_is_copied_out_as_tar(self, runtime: Runtime, box: EngineContainer) -> None:
        await runtime.exec(box.ref, ["touch", "/tmp/contract"])

        archive = b"".join([piece async for piece in runtime.copy_out(box.ref, "/tmp/contract")])

        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            assert tar.getnames() == ["contract"]
        with pytest.raises(ContainerGone):
            await anext(runtime.copy_out(box.ref, "/tmp/no-such-file"))

    async def test_a_description_names_environment_variables_without_their_values(
        self, runtime: Runtime, make_spec: MakeSpec
    ) -> None:
        box = await runtime.start((await runtime.create(make_spec(environment={"TOKEN": "hush"}))).ref)

        described = await runtime.describe(box.ref)

        assert described["Id"] == box.ref
        assert "TOKEN=•••" in described["Config"]["Env"]
        assert "hush" not in json.dumps(described)

    async def test_a_committed_container_is_an_image(self, runtime: Runtime, box: EngineContainer, tag: str) -> None:
        await runtime.commit(box.ref, tag=tag)

        await runtime.ensure_image(tag)

    async def test_an_image_with_a_label_of_ours_is_listed_and_discarded(
        self, runtime: Runtime, box: EngineContainer, tag: str
    ) -> None:
        await runtime.commit(box.ref, tag=tag, labels={LABEL_EVIDENCE: "somebody"})

        [image] = [image for image in await runtime.list_images() if tag in image.tags]
        assert image.labels[LABEL_EVIDENCE] == "somebody"
        assert await runtime.discard_image(tag)
        assert not [image for image in await runtime.list_images() if tag in image.tags]
        assert await runtime.discard_image(tag), "one that is gone already is fine"

    async def test_a_network_of_ours_is_listed_and_kept_while_something_runs_in_it(
        self, runtime: Runtime, box: EngineContainer, deployment: str
    ) -> None:
        [network] = await runtime.list_networks(deployment)
        assert network.name == f"containerpool-{deployment}"

        assert not await runtime.discard_network(network.ref)
        await runtime.remove(box.ref)
        assert await runtime.discard_network(network.ref)

        assert await runtime.list_networks(deployment) == []

    async def test_stats_have_the_limit_and_some_use(self, runtime: Runtime, make_spec: MakeSpec) -> None:
        box = await runtime.start((await runtime.create(make_spec(memory="64m"))).ref)

        stats = await runtime.stats(box.ref)

        assert stats.memory_limit_bytes == 64 << 20
        assert 0 < stats.memory_bytes < 64 << 20
        assert stats.pids > 0
        assert stats.cpu_ns > 0

    async def test_the_network_is_made_once_and_kept_while_in_use(
        self, runtime: Runtime, box: EngineContainer, deployment: str
    ) -> None:
        first, second = await asyncio.gather(runtime.ensure_network(deployment), runtime.ensure_network(deployment))
        await runtime.remove_network(deployment)
        assert (await runtime.inspect(box.ref)).running

        await runtime.remove(box.ref)
        await runtime.remove_network(deployment)
        await runtime.remove_network(deployment)

        assert first == second == f"containerpool-{deployment}"

    async def test_events_tell_of_a_death(self, runtime: Runtime, box: EngineContainer, deployment: str) -> None:
        async with asyncio.timeout(10), aclosing(runtime.events(deployment)) as events:
            await runtime.kill(box.ref)
            died = await anext(event async for event in events if event.action == "die")

        assert died.ref == box.ref
        assert died.labels[LABEL_DEPLOYMENT] == deployment
        assert died.at > 0

    async def test_events_of_other_deployments_stay_out(
        self, runtime: Runtime, box: EngineContainer, deployment: str
    ) -> None:
        foreign: list[EngineEvent] = []

        async def listen() -> None:
            foreign.extend([event async for event in runtime.events(f"{deployment}-other")])

        listening = asyncio.ensure_future(listen())
        async with asyncio.timeout(10), aclosing(runtime.events(deployment)) as events:
            await runtime.restart(box.ref, grace_s=0)
            await anext(event async for event in events if event.action == "restart")
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening

        assert foreign == []

    async def test_our_own_checks_cause_no_events(
        self, runtime: Runtime, box: EngineContainer, deployment: str
    ) -> None:
        async with asyncio.timeout(10), aclosing(runtime.events(deployment)) as events:
            await runtime.exec(box.ref, ["true"])
            await runtime.processes(box.ref)
            await runtime.pause(box.ref)
            first = await anext(events)

        assert first.action == "pause"

    async def test_listening_ends_when_it_is_cancelled(self, runtime: Runtime, deployment: str) -> None:
        async def listen() -> list[EngineEvent]:
            return [event async for event in runtime.events(deployment)]

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await listen()
