"""Resets on a real server and an engine in memory: levels, deadlines, stages, what is compared, who waits for whom."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from pool.errors import EngineError
from pool.models import ResetLevel, State
from pool.ports import EngineContainer, ExecResult
from pool.reset import turns
from pool.reset.recipe import MEDIUM_STAGES, STAGES
from pool.shapes import status_json
from pool.testing import MemoryContainer, MemoryRuntime
from tests.support import eventually, obedient_shell, report_stages
from tests.support_manager import Bench, MakeBench, make_bench, running, when

__all__ = ["make_bench"]

WORKERS = {"recipe": {"medium_kill": ["worker"], "restart": ["worker"]}}


async def dirty_lease(bench: Bench, *, outcome: str = "passed", process: str = "stray", file: str | None = None) -> str:
    """Take a container, leave something in it, give it back; returns its id."""
    lease = await bench.client.acquire(bench.pool)
    bench.runtime.dirty(bench.inside(lease.container.id).ref, process=process, file=file)
    await lease.release(outcome)
    return lease.container.id


async def resets(bench: Bench, container_id: str) -> list[dict[str, str]]:
    moves = [move for move in await bench.facts("container.moved") if move["container"] == container_id]
    return [move for move in moves if "reset_level" in move]


def of_medium(container: MemoryContainer, script: str) -> ExecResult:
    """A shell in which only the stages of a medium reset achieve anything."""
    return obedient_shell(container, script) if "kill_workers" in script else report_stages(script)


async def test_what_soft_leaves_behind_goes_on_to_medium_where_the_recipe_has_it(make_bench: MakeBench) -> None:
    async with running(make_bench, runtime=MemoryRuntime(shell_handler=of_medium), reset=WORKERS) as bench:
        container_id = await dirty_lease(bench)
        await eventually(bench.all_available)

        soft, medium = await resets(bench, container_id)

    assert (soft["reset_level"], soft["to"]) == ("soft", "resetting")
    assert "process stray" in soft["note"]
    assert (medium["reset_level"], medium["to"]) == ("medium", "available")
    assert list(json.loads(medium["stages"])) == list(MEDIUM_STAGES)
    assert bench.calls("restart") == 0


async def test_every_stage_is_told_with_its_exit_code_and_its_time(make_bench: MakeBench) -> None:
    async with running(make_bench) as bench:
        container_id = await dirty_lease(bench)
        await eventually(bench.all_available)

        (reset,) = await resets(bench, container_id)

    stages = json.loads(reset["stages"])
    assert list(stages) == list(STAGES)
    assert all(code == 0 and ms >= 0 for code, ms in stages.values())


async def test_a_stage_that_fails_is_named_with_what_it_printed(make_bench: MakeBench) -> None:
    def complaining(container: MemoryContainer, script: str) -> ExecResult:
        output = obedient_shell(container, script).output
        return ExecResult(0, re.sub(r"(\w+ stage clear_caches) 0", r"rm: disk on fire\n\1 3", output))

    async with running(make_bench, runtime=MemoryRuntime(shell_handler=complaining)) as bench:
        container_id = await dirty_lease(bench)
        await eventually(lambda: when(lambda: bench.calls("restart") > 0))

        soft = (await resets(bench, container_id))[0]

    assert soft["note"] == "stage clear_caches ended with code 3: rm: disk on fire"
    assert json.loads(soft["stages"])["clear_caches"][0] == 3


@pytest.mark.parametrize(("outcome", "level"), [("passed", "soft"), ("failed", "medium"), ("error", "hard")])
async def test_each_outcome_is_followed_by_its_level(make_bench: MakeBench, outcome: str, level: str) -> None:
    options = {**WORKERS, "on_failure": "medium", "on_error": "hard"}
    async with running(make_bench, reset=options) as bench:
        container_id = await dirty_lease(bench, outcome=outcome)
        await eventually(bench.all_available)

        (reset,) = await resets(bench, container_id)

    assert (reset["reset_level"], reset["reset_reason"]) == (level, "on_release")


@pytest.mark.parametrize(("verify", "told", "asked"), [("full", "yes", True), ("fast", "fast", False)])
async def test_a_fast_verification_does_not_ask_for_changed_files(
    make_bench: MakeBench, verify: str, told: str, asked: bool
) -> None:
    async with running(make_bench, reset={"verify": verify}) as bench:
        bench.runtime.calls.clear()
        container_id = await dirty_lease(bench, file="/opt/left")
        await eventually(bench.all_available)

        assert (await resets(bench, container_id))[-1]["verified"] == told
        assert bench.calls("processes") > 0
        assert (bench.calls("changes") > 0) is asked


async def test_a_fast_verification_still_finds_a_process(make_bench: MakeBench) -> None:
    lazy = MemoryRuntime(shell_handler=lambda _, script: report_stages(script))
    async with running(make_bench, runtime=lazy, reset={"verify": "fast"}) as bench:
        container_id = await dirty_lease(bench, file="/opt/left")
        await eventually(bench.all_available)

        assert [(r["reset_level"], r.get("note", "")) for r in await resets(bench, container_id)] == [
            ("soft", "left behind: process stray"),
            ("hard", ""),
        ]


async def test_without_verification_only_the_probes_are_asked(make_bench: MakeBench) -> None:
    lazy = MemoryRuntime(shell_handler=lambda _, script: report_stages(script))
    async with running(make_bench, runtime=lazy, reset={"verify": "off"}) as bench:
        bench.runtime.calls.clear()
        container_id = await dirty_lease(bench)
        await eventually(bench.all_available)

        (reset,) = await resets(bench, container_id)

    assert (reset["reset_level"], reset["verified"]) == ("soft", "off")
    assert bench.calls("processes") == bench.calls("changes") == 0


async def test_a_baseline_is_whole_whatever_was_compared_when_it_was_taken(make_bench: MakeBench) -> None:
    bench = await make_bench(reset={"verify": "off"})
    await bench.ready()
    await bench.stop()
    options = bench.config.pools[bench.pool]
    full = options.model_copy(update={"reset": options.reset.model_copy(update={"verify": "full"})})
    bench.config = bench.config.model_copy(update={"pools": {bench.pool: full}})
    await bench.ready()

    container_id = await dirty_lease(bench)
    await eventually(bench.all_available)

    (reset,) = await resets(bench, container_id)
    assert (reset["reset_level"], reset["verified"]) == ("soft", "yes")
    await bench.stop()


class Gate:
    """A shell that keeps resets of a lease waiting until it is opened."""

    def __init__(self) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()

    async def __call__(self, container: MemoryContainer, script: str) -> ExecResult:
        if "rm -rf" in script:
            self.reached.set()
            await self.open.wait()
        return obedient_shell(container, script)


async def test_the_timeout_of_a_lease_does_not_cut_its_cleaning_short(make_bench: MakeBench) -> None:
    gate = Gate()
    async with running(make_bench, runtime=MemoryRuntime(shell_handler=gate)) as bench:
        lease = await bench.client.acquire(bench.pool, timeout_s=0.3)
        await lease.release()
        await gate.reached.wait()

        async def overdue() -> bool:
            return (await bench.store.status()).at > lease.data.deadline_at + 0.2

        await eventually(overdue)
        assert (await bench.record(lease.container.id)).state is State.CLEANING
        gate.open.set()
        await eventually(bench.all_available)

        (reset,) = await resets(bench, lease.container.id)

    assert (reset["reset_level"], reset["reset_reason"], reset["from"]) == ("soft", "on_release", "cleaning")
    assert await bench.facts("lease.lost") == []


async def test_a_container_that_was_frozen_while_it_is_cleaned_is_not_waited_for(make_bench: MakeBench) -> None:
    gate = Gate()
    async with running(make_bench, runtime=MemoryRuntime(shell_handler=gate), reset={"soft_timeout_s": 3600}) as bench:
        lease = await bench.client.acquire(bench.pool)
        await lease.release()
        await gate.reached.wait()

        await bench.runtime.pause(bench.inside(lease.container.id).ref)

        async def given_up() -> bool:
            return bool(await resets(bench, lease.container.id))

        await eventually(given_up)
        gate.open.set()
        await eventually(bench.all_available)
        soft, hard = await resets(bench, lease.container.id)

    assert (soft["reset_level"], soft["note"]) == ("soft", "the container is paused")
    assert (hard["reset_level"], hard["to"]) == ("hard", "available")


@pytest.mark.parametrize(
    ("level", "then"), [("soft", "medium"), ("medium", "hard"), ("hard", "recreate"), ("recreate", "recreate")]
)
async def test_each_level_has_a_deadline_of_its_own(make_bench: MakeBench, level: str, then: str) -> None:
    options: dict[str, Any] = {**WORKERS, f"{level}_timeout_s": 0.3}
    runtime = Hanging(level)
    bench = await make_bench(runtime, reset=options)
    await bench.ready()
    runtime.victim = bench.inside().ref

    await bench.client.reset(bench.pool, f"{bench.pool}-1", level=ResetLevel[level.upper()])

    async def given_up() -> bool:
        return bool(await resets(bench, f"{bench.pool}-1"))

    await eventually(given_up)
    runtime.victim = ""
    await eventually(bench.all_available)
    first, *rest = await resets(bench, f"{bench.pool}-1")
    assert first["reset_level"] == level
    assert first["note"].startswith("not finished within 0.3 s: ")
    assert rest[0]["reset_level"] == then
    await bench.stop()


class Hanging(MemoryRuntime):
    """An engine on which one level of reset never ends, for the container that is the victim."""

    def __init__(self, level: str) -> None:
        super().__init__(shell_handler=self._shell)
        self.level = level
        self.victim = ""
        self.go_on = asyncio.Event()

    async def _shell(self, container: MemoryContainer, script: str) -> ExecResult:
        wanted = {"soft": "terminate_processes", "medium": "kill_workers"}.get(self.level, "no such stage")
        if (
            container.ref == self.victim
            and wanted in script
            and (self.level == "medium" or "kill_workers" not in script)
        ):
            await self.go_on.wait()
        return obedient_shell(container, script)

    async def restart(self, ref: str, *, grace_s: float) -> EngineContainer:
        if ref == self.victim and self.level == "hard":
            await self.go_on.wait()
        return await super().restart(ref, grace_s=grace_s)

    async def remove(self, ref: str) -> None:
        if ref == self.victim and self.level == "recreate":
            await self.go_on.wait()
        await super().remove(ref)


@pytest.mark.parametrize("level", ["soft", "hard"])
async def test_a_reset_that_hangs_delays_no_other_container(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    monkeypatch.setattr(turns, "LONGEST_TURN_S", 0.1)
    runtime = Hanging(level)
    bench = await make_bench(runtime)
    bench.config = bench.config.model_copy(
        update={"docker": bench.config.docker.model_copy(update={"start_concurrency": 1})}
    )
    await bench.ready()
    one, other = f"{bench.pool}-1", f"{bench.pool}-2"
    runtime.victim = bench.inside(one).ref
    await bench.client.reset(bench.pool, one, level=ResetLevel[level.upper()])
    before = (await bench.record(other)).revision

    await bench.client.reset(bench.pool, other, level=ResetLevel.HARD)

    async def back() -> bool:
        record = await bench.record(other)
        return record.state is State.AVAILABLE and record.revision > before

    await eventually(back)
    assert (await bench.record(one)).state is State.RESETTING
    assert await resets(bench, one) == []
    runtime.go_on.set()
    await bench.stop()


async def test_the_reason_of_a_quarantine_survives_the_manager_and_shows_in_the_status(make_bench: MakeBench) -> None:
    bench = await make_bench(reset={"quarantine_after": 1})
    await bench.ready()
    bench.runtime.fail_next("create", EngineError("the disk is full"))
    await bench.client.reset(bench.pool, f"{bench.pool}-1", level=ResetLevel.RECREATE)

    async def quarantined() -> bool:
        return (await bench.record()).state is State.QUARANTINED

    await eventually(quarantined)
    await bench.stop()
    await bench.ready()

    (shown, _) = status_json(await bench.store.status())["containers"]
    assert (shown["state"], shown["note"], shown["failures"]) == ("quarantined", "the disk is full", 1)
    await bench.stop()


async def test_a_container_that_stood_idle_for_long_is_reset_before_it_is_lent(make_bench: MakeBench) -> None:
    async with running(make_bench, reset={"on_allocation": "soft", "on_allocation_after_s": 0.1}) as bench:
        for n in (1, 2):
            bench.runtime.dirty(bench.inside(f"{bench.pool}-{n}").ref, process="crept in")

        async def renewed() -> bool:
            done = [await resets(bench, f"{bench.pool}-{n}") for n in (1, 2)]
            return all(done) and all(reset[0]["reset_reason"] == "on_allocation" for reset in done)

        await eventually(renewed)
        await eventually(bench.all_available)
        assert [len(inside.stray) for inside in bench.runtime.containers.values()] == [0, 0]
        assert (await bench.record()).uses == 0


@pytest.mark.parametrize("meanwhile", ["paused", "running", "dead", "gone"])
async def test_a_paused_container_is_thawed_or_healed_by_the_next_manager(
    make_bench: MakeBench, meanwhile: str
) -> None:
    bench = await make_bench()
    await bench.ready()
    await bench.stop()
    record, container = await bench.record(), bench.inside()
    await bench.runtime.pause(container.ref)
    assert await bench.store.transition(record, State.PAUSED)
    match meanwhile:
        case "running":
            await bench.runtime.unpause(container.ref)
        case "dead":
            bench.runtime.crash(container.ref)
        case "gone":
            await bench.runtime.remove(container.ref)

    await bench.ready()

    await eventually(bench.all_available)
    assert bench.inside().view().running
    healed = meanwhile in ("dead", "gone")
    assert bool(await resets(bench, record.id)) is healed
    await bench.stop()


async def test_a_paused_container_can_be_reset_by_hand(make_bench: MakeBench) -> None:
    async with running(make_bench) as bench:
        record = await bench.record()
        assert await bench.store.transition(record, State.PAUSED)
        await bench.runtime.pause(bench.inside().ref)

        await bench.client.reset(bench.pool, record.id)

        await eventually(bench.all_available)
        assert bench.inside().view().running
