"""Garbage: what former configurations of this deployment left, and nothing else."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pool.config import Config, ContainerOptions
from pool.errors import EngineError, UnknownPool
from pool.evidence import Shelf, find_bundles
from pool.manager.garbage import Garbage, Item
from pool.models import State
from pool.ports import LABEL_EVIDENCE, ContainerSpec, EngineContainer
from pool.store import Connection, Grant, PoolSettings, PoolStore, pool_names
from pool.testing import MemoryRuntime
from tests.support import add_available, eventually, pool_config, wish
from tests.support_manager import MakeBench, make_bench

__all__ = ["make_bench"]


@dataclass
class Scene:
    """A configured pool `<name>`, and what is left of a former one, `<name>-old`."""

    name: str
    runtime: MemoryRuntime
    config: Config
    connection: Connection
    pools: list[str] = field(default_factory=list)

    @property
    def old(self) -> str:
        return f"{self.name}-old"

    @property
    def garbage(self) -> Garbage:
        return Garbage(self.config, self.runtime, self.connection)

    async def plant(self, pool: str, container_id: str, *, deployment: str | None = None) -> EngineContainer:
        options = ContainerOptions(image="any")
        deployment = deployment or self.config.deployment
        spec = ContainerSpec(deployment, pool, container_id, f"{deployment}-{container_id}", 1, "s", {}, options)
        return await self.runtime.start((await self.runtime.create(spec)).ref)

    async def open(self, pool: str, *container_ids: str, deployment: str | None = None) -> PoolStore:
        store = PoolStore(self.connection, pool)
        owner = self.config.deployment if deployment is None else deployment
        settings = PoolSettings.of(self.config.pools[self.name], owner)
        await store.open(settings, "first")
        self.pools.append(pool)
        await add_available(store, *container_ids)
        return store

    async def collected(self) -> list[tuple[str, str, str]]:
        items = await self.garbage.remove(await self.look())
        return [(item.fate, item.kind, item.name) for item in items]

    async def look(self) -> list[Item]:
        """What is seen, without what other tests on the same server are doing."""
        return [item for item in await self.garbage.look() if item.kind != "keys" or self.name in item.name]


@pytest.fixture
async def scene(redis_url: str, tmp_path: Path) -> AsyncIterator[Scene]:
    connection = Connection(redis_url, patience_s=1)
    name = f"g{uuid.uuid4().hex[:8]}"
    evidence = {"dir": str(tmp_path / "kept"), "causes": ["removed"], "keep_days": 1}
    config = pool_config(f"d{name}", name, evidence=evidence)
    made = Scene(name, MemoryRuntime(), config, connection)
    yield made
    for pool in made.pools:
        await PoolStore(connection, pool).forget()
    async with connection.plain() as redis:
        if keys := await redis.keys(f"cp:{{{name}*"):
            await redis.delete(*keys)
    await connection.close()


# What is garbage


async def test_a_container_that_no_configuration_knows_is_stopped_kept_as_evidence_and_removed(scene: Scene) -> None:
    belongs = await scene.plant(scene.name, f"{scene.name}-1")
    left = await scene.plant(scene.name, f"{scene.name}-9")
    former = await scene.plant(scene.old, "x-1")

    assert await scene.collected() == [("removed", "container", left.name), ("removed", "container", former.name)]

    assert list(scene.runtime.containers) == [belongs.ref]
    calls = [(call, ref) for call, ref in scene.runtime.calls if ref == former.ref]
    assert [call for call, _ in calls if call in ("logs", "stop", "remove")] == ["logs", "stop", "remove"]
    kept = find_bundles([scene.config.pools[scene.name].evidence.dir or Path()])
    assert sorted(bundle.facts["container"] for bundle in kept) == sorted([f"{scene.name}-9", "x-1"])
    assert {bundle.facts["cause"] for bundle in kept} == {"removed"}


async def test_what_is_not_of_this_deployment_is_not_even_seen(scene: Scene) -> None:
    foreign = await scene.plant(scene.name, f"{scene.name}-7", deployment=f"{scene.config.deployment}-other")
    scene.runtime.networks["containerpool-elsewhere"] = "elsewhere"
    scene.runtime.kept["containerpool-evidence:20200101T000000000-a-1-abcdef"] = {LABEL_EVIDENCE: "elsewhere"}
    scene.runtime.kept[""] = {LABEL_EVIDENCE: "elsewhere"}
    await scene.open(f"{scene.name}-theirs", deployment="elsewhere")

    assert await scene.look() == []
    assert await scene.collected() == []

    assert list(scene.runtime.containers) == [foreign.ref]
    assert f"{scene.name}-theirs" in await pool_names(scene.connection)


async def test_looking_changes_nothing(scene: Scene) -> None:
    await scene.plant(scene.old, "x-1")
    store = await scene.open(scene.old, "x-1")
    calls = len(scene.runtime.calls)

    items = await scene.look()

    assert [(item.kind, item.name, item.fate) for item in items] == [
        ("container", f"{scene.config.deployment}-x-1", "garbage"),
        ("pool", scene.old, "garbage"),
    ]
    assert all("the configuration has no" in item.why for item in items)
    assert {call for call, _ in scene.runtime.calls[calls:]} <= {"list", "list_networks", "list_images"}
    assert (await store.status()).count(State.AVAILABLE) == 1


async def test_a_former_pool_goes_from_the_books_once_its_containers_are_gone(scene: Scene) -> None:
    await scene.plant(scene.old, "x-1")
    store = await scene.open(scene.old, "x-1", "x-2")

    assert await scene.collected() == [
        ("removed", "container", f"{scene.config.deployment}-x-1"),
        ("removed", "pool", scene.old),
    ]

    with pytest.raises(UnknownPool):
        await store.status()
    assert scene.old not in await pool_names(scene.connection)
    assert scene.runtime.containers == {}


async def test_a_pool_of_a_deployment_that_was_never_named_goes_only_with_a_container_of_ours(scene: Scene) -> None:
    await scene.open(f"{scene.name}-unnamed", deployment="")

    assert await scene.look() == []

    await scene.plant(f"{scene.name}-unnamed", "x-1")
    assert [item.kind for item in await scene.look()] == ["container", "pool"]


async def test_networks_that_no_pool_uses_go_once_nothing_is_connected(scene: Scene) -> None:
    own = f"containerpool-{scene.config.deployment}"
    scene.runtime.networks |= {own: scene.config.deployment, "stray": scene.config.deployment}

    assert await scene.collected() == [("removed", "network", "stray")]
    assert set(scene.runtime.networks) == {own}

    await scene.plant(scene.name, f"{scene.name}-1")
    scene.runtime.networks["stray"] = scene.config.deployment
    assert await scene.collected() == [("kept", "network", "stray")]


async def test_dangling_images_of_ours_go_and_evidence_images_when_they_are_old(scene: Scene) -> None:
    now = time.strftime("%Y%m%dT%H%M%S000", time.gmtime())
    images = {
        "": {"containerpool.inputs": "abc"},
        "containerpool-sample:latest": {"containerpool.inputs": "abc"},
        f"containerpool-evidence:{now}-x-1-abcdef": {LABEL_EVIDENCE: scene.config.deployment},
        "containerpool-evidence:20200101T000000000-x-1-abcdef": {LABEL_EVIDENCE: scene.config.deployment},
        "mine:kept": {LABEL_EVIDENCE: scene.config.deployment},
    }
    scene.runtime.kept |= images

    assert await scene.collected() == [
        ("removed", "image", "dangling"),
        ("removed", "image", "containerpool-evidence:20200101T000000000-x-1-abcdef"),
    ]

    assert len(scene.runtime.kept) == 3


async def test_old_evidence_goes_that_of_former_pools_too(scene: Scene) -> None:
    root = scene.config.pools[scene.name].evidence.dir
    assert root is not None
    old, now = time.time() - 3 * 86_400, time.time()
    for pool, at in ((scene.name, old), (scene.name, now), (scene.old, old), (scene.old, now)):
        shelf = Shelf(root, scene.config.deployment, pool)
        bundle_id, folder = shelf.begin("x-1", at)
        shelf.finish(bundle_id, folder, {"pool": pool})
    theirs = Shelf(root, "elsewhere", scene.old)
    theirs.finish(*theirs.begin("x-1", old), {})

    assert [(fate, kind) for fate, kind, _ in await scene.collected()] == [("removed", "evidence")] * 2

    left = [(bundle.path.parent.parent.name, bundle.at > now - 60) for bundle in find_bundles([root])]
    assert sorted(left) == [(scene.config.deployment, True)] * 2 + [("elsewhere", False)]


async def test_keys_of_a_pool_that_is_gone_go_but_not_what_tells_its_requests_story(scene: Scene) -> None:
    prefix = f"cp:{{{scene.old}}}:"
    async with scene.connection.plain() as redis:
        await redis.zadd(f"{prefix}own", {"somebody": 1})
        await redis.hset(f"{prefix}t:label", mapping={"seen": "1"})
        await redis.hset(f"{prefix}c:x-1", mapping={"state": "available"})
        await redis.rpush(f"{prefix}in:somebody", "r1")
        await redis.hset(f"{prefix}r:r1", mapping={"state": "lost"})
        await redis.pexpire(f"{prefix}r:r1", 60_000)
        await redis.sadd("cp:pools", scene.old)

    assert await scene.collected() == [("removed", "keys", f"{prefix}*")]

    async with scene.connection.plain() as redis:
        assert await redis.keys(f"{prefix}*") == [f"{prefix}r:r1"]
    assert scene.old not in await pool_names(scene.connection)


async def test_keys_of_a_pool_that_is_known_again_are_kept(scene: Scene) -> None:
    async with scene.connection.plain() as redis:
        await redis.zadd(f"cp:{{{scene.old}}}:own", {"somebody": 1})
    [item] = await scene.look()
    store = await scene.open(scene.old, "x-1")

    [done] = await scene.garbage.remove([item])

    assert done.fate == "kept"
    assert (await store.status()).count(State.AVAILABLE) == 1


# What stays


@pytest.mark.parametrize("why", ["leased", "quarantined", "managed"])
async def test_a_container_that_somebody_needs_is_kept_with_its_pool(scene: Scene, why: str) -> None:
    box = await scene.plant(scene.old, "x-1")
    store = await scene.open(scene.old, "x-1")
    match why:
        case "leased":
            assert isinstance(await store.acquire(wish("r1")), Grant)
        case "quarantined":
            record = await store.container("x-1")
            assert record is not None
            await store.transition(record, State.QUARANTINED, store={"note": "a look at it"})
        case "managed":
            await store.lead("m", ttl_s=60, info="another host")

    items = await scene.garbage.remove(await scene.look())

    assert [(item.fate, item.kind) for item in items] == [("kept", "container"), ("kept", "pool")]
    expected = {"leased": "leased by 'owner'", "quarantined": "a look at it", "managed": "managed by another host"}
    assert all(expected[why] in item.why for item in items)
    assert list(scene.runtime.containers) == [box.ref]
    assert len((await store.status()).containers) == 1


async def test_what_is_taken_between_looking_and_removing_is_kept(scene: Scene) -> None:
    box = await scene.plant(scene.old, "x-1")
    store = await scene.open(scene.old, "x-1")
    items = await scene.look()
    assert isinstance(await store.acquire(wish("r1")), Grant)

    done = await scene.garbage.remove(items)

    assert [item.fate for item in done] == ["kept", "kept"]
    assert list(scene.runtime.containers) == [box.ref]


async def test_what_the_engine_refuses_is_told_and_the_rest_goes(scene: Scene) -> None:
    for number in (1, 2):
        await scene.plant(scene.old, f"x-{number}")
    items = await scene.look()
    scene.runtime.fail_next("remove", EngineError("the engine had hiccups"))

    done = await scene.garbage.remove(items)

    assert sorted(item.fate for item in done) == ["failed", "removed"]
    assert [item.why for item in done if item.fate == "failed"] == ["the engine had hiccups"]


async def test_a_container_that_does_not_stop_is_removed_all_the_same(scene: Scene) -> None:
    await scene.plant(scene.old, "x-1")
    scene.runtime.fail_next("stop", EngineError("it did not stop in time"))

    assert [fate for fate, _, _ in await scene.collected()] == ["removed"]


# By itself


async def test_a_manager_removes_only_what_was_garbage_the_last_time_already(scene: Scene) -> None:
    garbage = scene.garbage
    await scene.plant(scene.old, "x-1")

    await garbage.sweep()
    assert len(scene.runtime.containers) == 1
    await scene.plant(scene.old, "x-2")
    await garbage.sweep()

    assert [container.spec.id for container in scene.runtime.containers.values()] == ["x-2"]


async def test_a_manager_looks_for_garbage_by_itself(make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pool.manager.pool_manager._GARBAGE_INTERVAL_S", 0.05)
    bench = await make_bench()
    await bench.ready()
    spec = ContainerSpec(bench.config.deployment, "former", "x-1", "n", 1, "s", {}, ContainerOptions(image="any"))
    left = await bench.runtime.start((await bench.runtime.create(spec)).ref)

    async def gone() -> bool:
        return left.ref not in bench.runtime.containers

    await eventually(gone)
    assert await bench.all_available()
    await bench.stop()


async def test_labels_that_make_no_sense_are_no_reason_to_fail(scene: Scene) -> None:
    await scene.plant("No Such Name!", "")

    await asyncio.wait_for(scene.collected(), 10)

    assert scene.runtime.containers == {}
