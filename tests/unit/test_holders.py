"""The holder of a slot: made once, kept while it serves, replaced when it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pool.config import Config, Slot
from pool.errors import EngineError, NameTaken, PortTaken
from pool.ports import ContainerSpec, EngineContainer, EngineState
from pool.reset.holders import Holders
from pool.testing import MemoryRuntime
from tests.support import pool_config

CONFIG = pool_config("d", "web", slot="held")
(SLOT, _) = CONFIG.slots("web")


@pytest.fixture
def runtime() -> MemoryRuntime:
    return MemoryRuntime()


def holders(runtime: MemoryRuntime, config: Config = CONFIG) -> Holders:
    return Holders(config, "web", runtime)


async def join(runtime: MemoryRuntime, ref: str, slot: Slot = SLOT) -> EngineContainer:
    spec = ContainerSpec.of(CONFIG, slot, generation=1, joins=ref)
    return await runtime.start((await runtime.create(spec)).ref)


async def test_a_holder_is_made_once(runtime: MemoryRuntime) -> None:
    some = holders(runtime)

    first = await some.prepare(SLOT)
    second = await some.prepare(SLOT)

    assert first == second
    assert [each.spec.name for each in runtime.containers.values()] == [f"{SLOT.name}-net"]


async def test_a_plain_pool_makes_none_and_removes_the_one_there_is(runtime: MemoryRuntime) -> None:
    ref = await holders(runtime).prepare(SLOT)
    plain = holders(runtime, pool_config("d", "web"))
    plain.note(await runtime.inspect(ref))

    assert await plain.prepare(SLOT) == ""
    assert runtime.containers == {}


async def test_one_that_another_attempt_left_is_replaced(runtime: MemoryRuntime) -> None:
    left = (await runtime.create(ContainerSpec.of_holder(CONFIG, SLOT))).ref

    ref = await holders(runtime).prepare(SLOT)

    assert left not in runtime.containers
    assert (await runtime.inspect(ref)).running


async def test_a_foreign_container_of_its_name_is_left_alone(runtime: MemoryRuntime) -> None:
    foreign = replace(ContainerSpec.of_holder(CONFIG, SLOT), holds=False, pool="other")
    ref = (await runtime.create(foreign)).ref

    with pytest.raises(NameTaken):
        await holders(runtime).prepare(SLOT)
    assert ref in runtime.containers


async def test_one_that_cannot_be_started_leaves_nothing_behind(runtime: MemoryRuntime) -> None:
    runtime.fail_next("start", PortTaken("port 3001 is taken"))

    with pytest.raises(PortTaken):
        await holders(runtime).prepare(SLOT)
    assert runtime.containers == {}


async def test_one_of_other_options_or_in_doubt_is_replaced(runtime: MemoryRuntime) -> None:
    some = holders(runtime)
    first = await some.prepare(SLOT)
    changed = holders(runtime, pool_config("d", "web", slot="held", container={"image": "other", "ports": []}))
    changed.note(await runtime.inspect(first))

    second = await changed.prepare(SLOT)
    changed.doubt(SLOT.id)
    third = await changed.prepare(SLOT)

    assert len({first, second, third}) == 3
    assert await changed.prepare(SLOT) == third
    assert list(runtime.containers) == [third]


async def test_a_container_is_cut_off_when_its_holder_ends_or_is_started_anew(runtime: MemoryRuntime) -> None:
    some = holders(runtime)
    ref = await some.prepare(SLOT)
    box = await join(runtime, ref)
    problems = [await some.problem(box)]

    await runtime.restart(ref, grace_s=0)
    problems.append(await some.problem(box))
    runtime.crash(ref)
    problems.append(await some.problem(box))
    await runtime.remove(ref)
    problems.append(await some.problem(box))

    of_it = "the holder of its network is"
    assert problems == [
        "",
        "the holder of its network was started anew by somebody else",
        f"{of_it} exited",
        f"{of_it} gone",
    ]


async def test_a_start_after_that_of_the_container_is_seen_by_who_did_not_know_it_before(
    runtime: MemoryRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = await holders(runtime).prepare(SLOT)
    seen = replace(await runtime.inspect(ref), started_at="2026-11-21T07:00:00.5Z")
    box = replace(await join(runtime, ref), started_at="2026-11-21T07:00:00.25Z")

    async def inspect(_: str) -> EngineContainer:
        return seen

    monkeypatch.setattr(runtime, "inspect", inspect)

    assert "started anew" in await holders(runtime).problem(box)
    assert await holders(runtime).problem(replace(box, started_at="2026-11-21T07:00:01Z")) == ""


async def test_a_holder_is_started_again_with_what_it_had(runtime: MemoryRuntime) -> None:
    some = holders(runtime)
    ref = await some.prepare(SLOT)
    runtime.crash(ref)

    assert await some.prepare(SLOT) == ref
    assert (await runtime.inspect(ref)).state is EngineState.RUNNING

    runtime.crash(ref)
    runtime.fail_next("start", EngineError("no"))
    assert await some.prepare(SLOT) != ref
