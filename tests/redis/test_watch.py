"""What the watch does about each fault, and what it leaves alone. The engine is in memory, the crew idle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import pytest

from pool.config import HealthOptions
from pool.errors import EngineTimeout, EngineUnavailable
from pool.health import HealthReport, Prober
from pool.manager.crew import Crew
from pool.manager.listener import EngineListener
from pool.manager.watch import HealthWatch
from pool.models import ContainerInfo, ContainerRecord, ResetReason, State
from pool.observed import Condition
from pool.ports import EngineContainer, EngineEvent
from pool.store import Connection, PoolStore, read_events
from pool.testing import MemoryRuntime
from tests.idle_crew import idle_crew
from tests.support import eventually, pool_config, wish

DEPLOYMENT = "d"
AWAY = EngineUnavailable("the engine at unix:///x does not answer")


class Patient(Prober):
    """A prober that finds what a test tells it."""

    def __init__(self, runtime: MemoryRuntime, options: HealthOptions) -> None:
        super().__init__(runtime, options)
        self.report = HealthReport()
        self.asked = 0

    async def check(self, ref: str, info: ContainerInfo) -> HealthReport:
        self.asked += 1
        return self.report


@dataclass
class Scene:
    """A pool of the containers a and b, watched."""

    store: PoolStore
    runtime: MemoryRuntime
    prober: Patient
    crew: Crew
    watch: HealthWatch
    told: list[str]

    async def record(self, container_id: str = "a") -> ContainerRecord:
        record = await self.store.container(container_id)
        assert record is not None
        return record

    def ref(self, container_id: str = "a") -> str:
        return self.crew.containers[container_id].ref

    async def hear(self, action: str, container_id: str = "a") -> None:
        event = EngineEvent(self.ref(container_id), action, 0.0, {})
        await self.watch.hear(event, container_id)

    async def lease(self) -> str:
        """Lease a container; returns its id."""
        await self.store.acquire(wish("r", owner="tester"))
        return next(record.id for record in (await self.store.status()).containers if record.owner)

    async def events(self, kind: str) -> list[Mapping[str, str]]:
        return [
            event.fields for event in await read_events(self.store.connection, self.store.pool) if event.type == kind
        ]


@pytest.fixture
async def scene(connection: Connection, store: PoolStore) -> AsyncIterator[Scene]:
    slots = [{"id": "a"}, {"id": "b"}]
    config = pool_config(
        DEPLOYMENT, store.pool, size=None, containers=slots, health={"tcp": None, "failures": 2, "interval_s": 1}
    )
    runtime = MemoryRuntime()
    prober = Patient(runtime, config.pools[store.pool].health)
    crew = await idle_crew(config, store, runtime)
    watch = HealthWatch(config.pools[store.pool].health, store, runtime, prober, crew)
    yield Scene(store, runtime, prober, crew, watch, [])
    await crew.finish(grace_s=0)


@pytest.mark.parametrize("how", ["die", "stop", "destroy"])
async def test_a_dead_idle_container_is_out_of_rotation_without_being_probed(scene: Scene, how: str) -> None:
    match how:
        case "die":
            scene.runtime.crash(scene.ref())
        case "stop":
            await scene.runtime.stop(scene.ref(), grace_s=0)
        case "destroy":
            await scene.runtime.remove(scene.ref())

    await scene.hear(how)

    record = await scene.record()
    assert record.state is State.UNHEALTHY
    assert record.reason is ResetReason.ON_HEALTH_FAILURE
    assert ("gone" if how == "destroy" else "exited with code") in record.note
    assert (await scene.events("container.moved"))[-1]["fault"] == "crash"
    assert scene.prober.asked == 0


async def test_a_dead_leased_container_ends_its_lease(scene: Scene) -> None:
    container_id = await scene.lease()
    scene.runtime.crash(scene.ref(container_id))

    await scene.hear("die", container_id)

    assert (await scene.record(container_id)).state is State.UNHEALTHY
    assert [lost["request"] for lost in await scene.events("lease.lost")] == ["r"]


async def test_a_container_that_somebody_restarted_counts_as_dead_since_its_content_is_gone(scene: Scene) -> None:
    container_id = await scene.lease()
    await scene.runtime.restart(scene.ref(container_id), grace_s=0)

    await scene.hear("die", container_id)

    assert (await scene.record(container_id)).state is State.UNHEALTHY
    assert "started anew" in (await scene.record(container_id)).note


async def test_an_event_of_a_container_that_runs_changes_nothing(scene: Scene) -> None:
    before = await scene.record()

    for action in ("die", "kill", "start", "unpause", "destroy"):
        await scene.hear(action)

    assert await scene.record() == before


async def test_an_event_of_a_former_generation_is_passed_over(scene: Scene) -> None:
    event = EngineEvent("the-one-before", "oom", 0.0, {})

    await scene.watch.hear(event, "a")

    assert (await scene.record()).state is State.AVAILABLE


async def test_an_idle_container_that_somebody_paused_is_out_of_rotation(scene: Scene) -> None:
    await scene.runtime.pause(scene.ref())

    await scene.hear("pause")

    assert (await scene.record()).state is State.UNHEALTHY
    assert "paused" in (await scene.record()).note


async def test_a_leased_container_that_somebody_paused_is_thawed_and_stays_leased(scene: Scene) -> None:
    container_id = await scene.lease()
    await scene.runtime.pause(scene.ref(container_id))

    await scene.hear("pause", container_id)

    assert (await scene.runtime.inspect(scene.ref(container_id))).running
    assert (await scene.record(container_id)).state is State.ALLOCATED
    assert [fact["owner"] for fact in await scene.events("container.paused")] == ["tester"]
    assert len(await scene.events("container.paused_over")) == 1


async def test_a_leased_container_that_cannot_be_thawed_is_told_of_and_tried_again(scene: Scene) -> None:
    container_id = await scene.lease()
    await scene.runtime.pause(scene.ref(container_id))
    scene.runtime.fail_next("unpause", AWAY)
    await scene.hear("pause", container_id)
    assert "does not answer" in (await scene.events("container.paused"))[0]["note"]
    scene.prober.report = HealthReport("engine", "the container is paused")

    await scene.watch.check_now(container_id)

    assert (await scene.runtime.inspect(scene.ref(container_id))).running
    assert (await scene.record(container_id)).conditions == frozenset()


async def test_an_idle_container_that_ran_out_of_memory_is_recovered_and_a_leased_one_told_of(scene: Scene) -> None:
    leased = await scene.lease()
    idle = "b" if leased == "a" else "a"

    await scene.hear("oom", leased)
    await scene.hear("oom", idle)

    assert (await scene.record(leased)).state is State.ALLOCATED
    assert (await scene.record(leased)).conditions == {Condition.OUT_OF_MEMORY}
    assert (await scene.record(idle)).state is State.UNHEALTHY
    assert [fact["container"] for fact in await scene.events("container.out_of_memory")] == [leased]


async def test_a_container_whose_own_health_check_fails_is_recovered(scene: Scene) -> None:
    await scene.hear("health_status: unhealthy")

    assert (await scene.record()).state is State.UNHEALTHY
    assert "health check" in (await scene.record()).note


async def test_a_race_lost_against_a_grant_does_not_hide_the_death(scene: Scene) -> None:
    await scene.store.acquire(wish("other"))
    scene.runtime.crash(scene.ref("a"))
    scene.runtime.crash(scene.ref("b"))
    inspect = scene.runtime.inspect

    async def granted_meanwhile(ref: str) -> EngineContainer:
        scene.runtime.inspect = inspect  # type: ignore[method-assign]  # once
        await scene.store.acquire(wish("r"))
        return await inspect(ref)

    idle = next(record.id for record in (await scene.store.status()).containers if record.state is State.AVAILABLE)
    scene.runtime.inspect = granted_meanwhile  # type: ignore[method-assign]  # so that the state changes in between

    await scene.hear("die", idle)

    assert (await scene.record(idle)).state is State.UNHEALTHY
    assert [lost["request"] for lost in await scene.events("lease.lost")] == ["r"]


async def test_an_idle_container_is_out_of_rotation_after_failures_in_a_row_only(scene: Scene) -> None:
    bad = HealthReport("http", "silent")
    for report in (bad, HealthReport(), bad):
        scene.prober.report = report
        await scene.watch.check_now("a")
    assert (await scene.record()).state is State.AVAILABLE

    await scene.watch.check_now("a")

    assert (await scene.record()).note == "http: silent"
    assert (await scene.events("container.moved"))[-1]["fault"] == "hang"


async def test_a_silent_leased_container_stays_leased_and_is_told_of_until_it_answers(scene: Scene) -> None:
    container_id = await scene.lease()
    scene.prober.report = HealthReport("http", "silent")
    for _ in range(4):
        await scene.watch.check_now(container_id)
    assert (await scene.record(container_id)).state is State.ALLOCATED
    assert len(await scene.events("container.unresponsive")) == 1

    scene.prober.report = HealthReport()
    await scene.watch.check_now(container_id)

    assert len(await scene.events("container.unresponsive_over")) == 1
    assert (await scene.record(container_id)).conditions == frozenset()


async def test_failures_during_a_lease_do_not_count_afterwards(scene: Scene) -> None:
    container_id = await scene.lease()
    scene.prober.report = HealthReport("http", "silent")
    await scene.watch.check_now(container_id)
    assert await scene.store.cancel("r", "token-r") == "released"
    record = await scene.record(container_id)
    assert await scene.store.transition(record, State.AVAILABLE)

    await scene.watch.check_now(container_id)

    assert (await scene.record(container_id)).state is State.AVAILABLE


async def test_a_silent_container_of_a_silent_engine_is_quarantined_and_comes_back_with_it(scene: Scene) -> None:
    scene.prober.report = HealthReport("http", "silent")
    for _ in range(4):
        scene.runtime.fail_next("inspect", AWAY)
    await scene.watch.check_now("a")
    await scene.watch.check_now("a")
    lost = await scene.record()
    assert lost.state is State.QUARANTINED
    assert lost.conditions == {Condition.HOST_LOST}
    assert "host lost" in lost.note
    scene.prober.report = HealthReport()

    scene.runtime.fail_next("check", EngineTimeout("asking for its version"))
    await scene.watch.check_all()
    assert (await scene.record()).state is State.QUARANTINED

    await scene.watch.check_all()

    back = await scene.record()
    assert (back.state, back.reason) == (State.RESETTING, ResetReason.ON_HEALTH_FAILURE)
    assert not back.conditions
    assert (await scene.events("container.moved"))[-1]["fault"] == "host_lost"


async def test_a_container_that_answers_is_lent_on_although_its_engine_does_not(scene: Scene) -> None:
    for _ in range(4):
        scene.runtime.fail_next("inspect", AWAY)

    await scene.watch.check_all()
    await scene.watch.check_all()

    assert (await scene.store.status()).count(State.AVAILABLE) == 2


async def test_what_an_operator_quarantined_is_left_alone(scene: Scene) -> None:
    assert await scene.store.transition(await scene.record(), State.QUARANTINED)
    scene.runtime.crash(scene.ref())

    await scene.hear("die")
    await scene.watch.check_all()
    await scene.watch.look_all()

    assert (await scene.record()).state is State.QUARANTINED


async def test_what_happened_while_nobody_listened_is_found_when_the_stream_is_back(scene: Scene) -> None:
    listener = EngineListener(
        scene.runtime, DEPLOYMENT, scene.store.pool, scene.watch, lambda _, why: scene.told.append(why)
    )
    await scene.runtime.pause(scene.ref("a"))
    scene.runtime.crash(scene.ref("b"))

    listening = asyncio.create_task(listener.run())

    async def both_seen_to() -> bool:
        return (await scene.store.status()).count(State.UNHEALTHY) == 2

    await eventually(both_seen_to)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def test_a_stream_that_breaks_is_told_of_and_opened_again(scene: Scene) -> None:
    listener = EngineListener(
        scene.runtime, DEPLOYMENT, scene.store.pool, scene.watch, lambda _, why: scene.told.append(why)
    )
    scene.runtime.fail_next("events", AWAY)
    listening = asyncio.create_task(listener.run())

    async def told() -> bool:
        return scene.told == ["", AWAY.message, ""]

    await eventually(told)
    scene.runtime.crash(scene.ref())

    async def seen_to() -> bool:
        return (await scene.record()).state is State.UNHEALTHY

    await eventually(seen_to)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def test_a_check_that_hangs_keeps_no_other_container_from_being_checked(scene: Scene) -> None:
    asked: dict[str, int] = {"a": 0, "b": 0}

    async def hang_for_a(ref: str, info: ContainerInfo) -> HealthReport:
        asked[info.id] += 1
        if info.id == "a":
            await asyncio.Event().wait()
        return HealthReport()

    scene.prober.check = hang_for_a  # type: ignore[method-assign]  # one of them never answers, nor times out

    for _ in range(2):
        await scene.watch.check_all()

    assert asked == {"a": 1, "b": 2}
    await scene.watch.close()


async def test_one_container_that_hangs_does_not_keep_another_waiting(scene: Scene) -> None:
    listener = EngineListener(scene.runtime, DEPLOYMENT, scene.store.pool, scene.watch, lambda _, __: None)
    inspect, hanging, go_on = scene.runtime.inspect, asyncio.Event(), asyncio.Event()

    async def hang_for_a(ref: str) -> EngineContainer:
        if ref == scene.ref("a") and listening_since.is_set():
            hanging.set()
            await go_on.wait()
        return await inspect(ref)

    listening_since = asyncio.Event()
    scene.runtime.inspect = hang_for_a  # type: ignore[method-assign]  # an engine that is slow for one of them
    listening = asyncio.create_task(listener.run())

    async def listens() -> bool:
        return ("events", DEPLOYMENT) in scene.runtime.calls and scene.runtime.calls.count(
            ("inspect", scene.ref("b"))
        ) > 0

    await eventually(listens)
    listening_since.set()
    scene.runtime.crash(scene.ref("a"))
    await hanging.wait()
    scene.runtime.crash(scene.ref("b"))

    async def seen_to() -> bool:
        return (await scene.record("b")).state is State.UNHEALTHY

    await eventually(seen_to)
    go_on.set()
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
