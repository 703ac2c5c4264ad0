"""What is kept of a container before it is recovered, what is not, and for how long."""

from __future__ import annotations

import asyncio
import io
import json
import os
import tarfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis

from pool.config import Config
from pool.errors import EngineError, EngineUnavailable, InvalidRequest, StoreUnavailable
from pool.evidence import Bundle, EvidenceKeeper, Shelf, copy_bundle, find_bundles
from pool.models import ContainerRecord, Outcome, ResetLevel, ResetReason, State
from pool.ports import ContainerSpec, EngineContainer, EngineState
from pool.store import Connection, PoolStore, read_events
from pool.testing import MemoryContainer, MemoryRuntime
from tests.support import eventually, info, pool_config, settings

POOL = "web"
DEPLOYMENT = "d"


@dataclass
class Scene:
    """A running container, and who keeps evidence of it."""

    runtime: MemoryRuntime
    config: Config
    store: PoolStore
    keeper: EvidenceKeeper
    root: Path
    seen: EngineContainer

    @property
    def container(self) -> MemoryContainer:
        return self.runtime.containers[self.seen.ref]

    @property
    def shelf(self) -> Shelf:
        return Shelf(self.root, DEPLOYMENT, POOL)

    async def keep(self, cause: Any = "unhealthy", **changes: Any) -> Bundle | None:
        return await self.keeper.keep(cause, record(**changes), await self.runtime.inspect(self.seen.ref), "it fell")

    async def kept(self, **changes: Any) -> Bundle:
        bundle = await self.keep(**changes)
        assert bundle is not None
        return bundle


def record(**changes: Any) -> ContainerRecord:
    made = ContainerRecord(
        info("web-1"), State.RESETTING, revision=1, fence=7, since=0, last_owner="run-42", last_request_id="r1"
    )
    return replace(made, **changes)


class Make:
    def __init__(self, root: Path, connection: Connection) -> None:
        self._root = root
        self._connection = connection

    async def __call__(self, runtime: MemoryRuntime | None = None, **evidence: Any) -> Scene:
        runtime = runtime or MemoryRuntime()
        evidence = {"dir": str(self._root), "causes": ["unhealthy", "expired", "not_clean", "failed"]} | evidence
        config = pool_config(DEPLOYMENT, POOL, evidence=evidence)
        store = PoolStore(self._connection, POOL)
        await store.open(settings(), "first")
        slot = config.slots(POOL)[0]
        seen = await runtime.start((await runtime.create(ContainerSpec.of(config, slot, generation=3))).ref)
        keeper = EvidenceKeeper(config, POOL, runtime, store)
        return Scene(runtime, config, store, keeper, self._root, seen)


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    connection = Connection("redis://fake", patience_s=0, redis=FakeAsyncRedis(decode_responses=True))
    yield Make(tmp_path / "kept", connection)
    await connection.close()


# What is in a bundle


async def test_a_bundle_says_what_happened_to_whom_and_has_what_could_be_had(make: Make) -> None:
    scene = await make(artifacts=["/tmp/out"])
    scene.container.logs.append("last words")
    scene.runtime.dirty(scene.seen.ref, process="stray", file="/tmp/out", content=b"picture")

    bundle = await scene.kept(outcome=Outcome.FAILED)

    facts = json.loads((bundle.path / "evidence.json").read_text())
    assert facts["id"] == bundle.id == bundle.path.name
    assert (facts["deployment"], facts["pool"], facts["container"]) == (DEPLOYMENT, POOL, "web-1")
    assert (facts["name"], facts["generation"], facts["cause"], facts["note"]) == ("d-web-1", 3, "unhealthy", "it fell")
    assert facts["lease"] == {"request_id": "r1", "owner": "run-42", "outcome": "failed"}
    assert facts["missing"] == []
    assert "last words" in (bundle.path / "logs.txt").read_text()
    assert "stray" in (bundle.path / "processes.txt").read_text()
    assert (bundle.path / "changes.txt").read_text() == "added     /tmp/out\n"
    assert (bundle.path / "artifacts/tmp/out").read_bytes() == b"picture"
    assert json.loads((bundle.path / "stats.json").read_text())["pids"] == 2
    assert json.loads((bundle.path / "inspect.json").read_text())["Id"] == scene.seen.ref


async def test_values_of_environment_variables_are_in_no_file_of_a_bundle(make: Make) -> None:
    scene = await make()
    options = scene.container.spec.options.model_copy(update={"environment": {"API_TOKEN": "hush-hush"}})
    scene.container.spec = replace(scene.container.spec, options=options)

    bundle = await scene.kept()

    text = "".join(file.read_text() for file in bundle.path.iterdir())
    assert "API_TOKEN" in text
    assert "hush-hush" not in text


async def test_only_the_owner_can_read_a_bundle(make: Make) -> None:
    scene = await make()

    bundle = await scene.kept()

    modes = {path.stat().st_mode & 0o777 for path in [scene.root, bundle.path, *bundle.path.iterdir()]}
    assert modes == {0o700, 0o600}


async def test_a_bundle_is_an_event_that_names_it(make: Make) -> None:
    scene = await make()

    bundle = await scene.kept()

    [event] = [e for e in await read_events(scene.store.connection, POOL) if e.type == "container.evidence"]
    assert event.fields["evidence"] == bundle.id
    assert (event.fields["container"], event.fields["cause"]) == ("web-1", "unhealthy")


async def test_an_image_is_kept_when_wanted_and_goes_with_its_bundle(make: Make) -> None:
    scene = await make(image=True, keep_days=1)

    bundle = await scene.kept()
    assert bundle.image in scene.runtime.kept
    age(bundle, days=2)
    await scene.keeper.prune()

    assert scene.runtime.kept == {}
    assert scene.shelf.bundles() == []


# What cannot be had


async def test_what_a_dead_container_no_longer_has_is_noted(make: Make) -> None:
    scene = await make()
    scene.runtime.crash(scene.seen.ref, exit_code=3)

    bundle = await scene.kept()

    missing = {gap["what"]: gap["why"] for gap in bundle.facts["missing"]}
    assert missing == {"processes": "the container is exited", "stats": "the container is exited"}
    assert (bundle.facts["state"], bundle.facts["exit_code"]) == ("exited", 3)
    assert (bundle.path / "logs.txt").exists()


@pytest.mark.parametrize("call", ["logs", "describe", "processes", "stats", "changes", "copy_out"])
async def test_a_part_that_fails_is_noted_and_the_rest_is_kept(make: Make, call: str) -> None:
    scene = await make(artifacts=["/tmp/out"])
    scene.runtime.dirty(scene.seen.ref, file="/tmp/out")
    scene.runtime.fail_next(call, EngineError("the engine had hiccups"))

    bundle = await scene.kept()

    assert [gap["why"] for gap in bundle.facts["missing"]] == ["the engine had hiccups"]
    assert len(list(bundle.path.iterdir())) >= 5


async def test_an_artifact_that_is_not_there_is_noted(make: Make) -> None:
    scene = await make(artifacts=["/tmp/out", "/tmp/trace"])
    scene.runtime.dirty(scene.seen.ref, file="/tmp/trace")

    bundle = await scene.kept()

    assert [gap["what"] for gap in bundle.facts["missing"]] == ["/tmp/out"]
    assert (bundle.path / "artifacts/tmp/trace").exists()


class Silent(MemoryRuntime):
    """An engine that never answers what it is asked about a container's stats."""

    async def stats(self, ref: str) -> Any:
        await asyncio.Event().wait()


async def test_what_is_not_had_within_the_deadline_is_noted_and_the_rest_is_kept(make: Make) -> None:
    scene = await make(Silent(), timeout_s=0.05)

    bundle = await scene.kept()

    assert bundle.facts["missing"] == [{"what": "stats", "why": "not had within 0.05 s"}]
    assert (bundle.path / "processes.txt").exists()


async def test_a_hostile_archive_is_unpacked_inside_its_folder_and_what_is_left_out_is_noted(make: Make) -> None:
    scene = await make(artifacts=["/tmp/out"])
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, kind, target in [
            ("out/way", tarfile.SYMTYPE, "/etc"),
            ("out/way/evil", tarfile.REGTYPE, ""),
            ("../../../../evil", tarfile.REGTYPE, ""),
            ("out/null", tarfile.CHRTYPE, ""),
        ]:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            tar.addfile(member)
    scene.container.archives["/tmp/out"] = archive.getvalue()

    bundle = await scene.kept()

    assert [gap["what"] for gap in bundle.facts["missing"]] == ["/tmp/out"] * 3
    inside = sorted(str(path.relative_to(bundle.path)) for path in bundle.path.rglob("*") if path.is_file())
    assert "artifacts/tmp/out/way/evil" in inside
    assert [path for path in scene.root.parent.rglob("evil") if bundle.path not in path.parents] == []


async def test_artifacts_share_a_limit_and_what_is_beyond_is_noted(make: Make) -> None:
    scene = await make(artifacts=["/a", "/b"], artifacts_mb=1)
    for path in ("/a", "/b"):
        scene.runtime.dirty(scene.seen.ref, file=path, content=b"x" * 700_000)

    bundle = await scene.kept()

    assert [gap["what"] for gap in bundle.facts["missing"]] == ["/b"]
    assert sum(path.stat().st_size for path in (bundle.path / "artifacts").iterdir()) <= 1 << 20


async def test_an_endless_archive_is_cut_off(make: Make) -> None:
    class Endless(MemoryRuntime):
        async def copy_out(self, ref: str, path: str) -> AsyncIterator[bytes]:  # type: ignore[override]
            member = tarfile.TarInfo("endless")
            member.size = 1 << 50
            yield member.tobuf()
            while True:
                yield b"x" * (1 << 20)

    scene = await make(Endless(), artifacts=["/a"], artifacts_mb=2)

    bundle = await scene.kept()

    assert bundle.size_bytes < 3 << 20
    assert "more than 2 MB" in bundle.facts["missing"][0]["why"]


# Failing without harm


async def test_a_directory_that_cannot_be_made_costs_the_evidence_but_nothing_else(make: Make) -> None:
    scene = await make()
    scene.root.parent.mkdir(exist_ok=True)
    scene.root.write_text("a file is in the way")

    assert await scene.keep() is None


async def test_an_engine_that_is_away_costs_what_it_has_but_nothing_else(make: Make) -> None:
    scene = await make()
    scene.runtime.fail_next("list", EngineUnavailable("away"))

    assert await scene.keeper.keep("unhealthy", record(), None, "it fell") is None


async def test_a_bundle_is_whole_although_redis_is_away(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = await make()

    async def away(*_: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(scene.store, "tell", away)
    await scene.keep()

    assert len(scene.shelf.bundles()) == 1


async def test_collecting_that_is_cancelled_leaves_nothing_behind(make: Make) -> None:
    scene = await make(Silent(), timeout_s=60)
    keeping = asyncio.create_task(scene.keep())

    async def begun() -> bool:
        return bool(list(scene.root.rglob("logs.txt")))

    await eventually(begun)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)

    assert keeping.cancelled()
    assert list((scene.root / DEPLOYMENT / POOL).iterdir()) == []


# When


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"reason": ResetReason.ON_HEALTH_FAILURE}, "unhealthy"),
        ({"reason": ResetReason.ON_EXPIRY}, "expired"),
        ({"state": State.CLEANING, "reason": ResetReason.ON_RELEASE, "outcome": Outcome.FAILED}, "failed"),
        ({"state": State.CLEANING, "reason": ResetReason.ON_RELEASE, "outcome": Outcome.ERROR}, None),
        ({"state": State.CLEANING, "reason": ResetReason.ON_RELEASE, "outcome": Outcome.PASSED}, None),
        ({"reason": ResetReason.MANUAL, "level": ResetLevel.HARD}, None),
        ({"state": State.STARTING}, None),
        ({"reason": ResetReason.ON_EXPIRY, "level": ResetLevel.RECREATE}, None),
    ],
)
async def test_evidence_is_kept_before_the_first_attempt_of_a_recovery_that_is_configured(
    make: Make, changes: dict[str, Any], cause: str | None
) -> None:
    scene = await make()

    for _ in range(2):  # a step that is done again, since the engine was away, keeps nothing more
        await scene.keeper.before_reset(record(**changes), scene.seen)

    assert [bundle.facts["cause"] for bundle in scene.shelf.bundles()] == ([cause] if cause else [])


async def test_nothing_is_asked_of_the_engine_before_a_passed_leases_reset(make: Make) -> None:
    scene = await make()
    asked = len(scene.runtime.calls)
    passed = record(state=State.CLEANING, reason=ResetReason.ON_RELEASE, outcome=Outcome.PASSED)

    await scene.keeper.before_reset(passed, scene.seen)

    assert len(scene.runtime.calls) == asked
    assert not scene.root.exists()


async def test_a_reset_that_does_not_get_clean_is_kept_once_and_the_next_reset_again(make: Make) -> None:
    scene = await make()

    for revision in (1, 9):
        first = record(state=State.CLEANING, reason=ResetReason.ON_RELEASE, outcome=Outcome.PASSED, revision=revision)
        await scene.keeper.before_reset(first, scene.seen)
        for _ in range(3):
            await scene.keeper.not_clean(first, scene.seen, "left behind: /opt/x")

    kept = [(bundle.facts["cause"], bundle.facts["note"]) for bundle in scene.shelf.bundles()]
    assert kept == [("not_clean", "left behind: /opt/x")] * 2


async def test_a_container_that_an_attempt_made_and_lost_is_found(make: Make) -> None:
    scene = await make()
    scene.runtime.crash(scene.seen.ref)

    await scene.keeper.not_clean(record(state=State.STARTING), None, "it exited with code 137")

    [bundle] = scene.shelf.bundles()
    assert bundle.facts["state"] == EngineState.EXITED


async def test_causes_that_are_not_configured_keep_nothing(make: Make) -> None:
    scene = await make(causes=[])

    assert await scene.keep() is None
    assert not scene.root.exists()


# How long


def age(bundle: Bundle, *, days: float) -> None:
    """Make a bundle look older than it is: its id says when it was collected."""
    moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime(bundle.at - days * 86_400))
    bundle.path.rename(bundle.path.with_name(moment + bundle.id[len(moment) :]))


async def test_old_bundles_go_when_a_new_one_is_kept(make: Make) -> None:
    scene = await make(keep_days=3)
    for days in (4, 2):
        age(await scene.kept(), days=days)

    newest = await scene.kept()

    bundles = scene.shelf.bundles()
    assert len(bundles) == 2
    assert bundles[-1].id == newest.id


async def test_the_oldest_go_when_there_is_too_much_but_never_the_newest(make: Make) -> None:
    scene = await make(max_mb=1, artifacts_mb=1, artifacts=["/a"])
    scene.runtime.dirty(scene.seen.ref, file="/a", content=b"x" * 600_000)
    for _ in range(3):
        newest = await scene.kept()

    assert [bundle.id for bundle in scene.shelf.bundles()] == [newest.id]


async def test_what_is_not_a_bundle_is_left_alone(make: Make, tmp_path: Path) -> None:
    scene = await make(keep_days=1)
    age(await scene.kept(), days=9)
    shelf = scene.root / DEPLOYMENT / POOL
    (shelf / "notes.txt").write_text("mine")
    (shelf / "20200101T000000000-web-1-abcdef").symlink_to(tmp_path)
    (shelf / "20200101T000000000").mkdir()

    await scene.keeper.prune()

    assert sorted(path.name for path in shelf.iterdir()) == [
        "20200101T000000000",
        "20200101T000000000-web-1-abcdef",
        "notes.txt",
    ]
    assert scene.root.exists()


async def test_what_a_dead_manager_left_half_collected_is_removed_once_it_is_old(make: Make) -> None:
    scene = await make()
    _, old = scene.shelf.begin("web-1", time.time())
    _, recent = scene.shelf.begin("web-1", time.time())
    os.utime(old, (1, 1))

    await scene.keeper.prune()

    assert (old.exists(), recent.exists()) == (False, True)
    assert scene.shelf.bundles() == []


# Getting at it


async def test_bundles_of_all_pools_are_found_oldest_first(make: Make) -> None:
    scene = await make()
    kept = [await scene.kept() for _ in range(3)]
    other = Shelf(scene.root, "other", "mail")
    bundle_id, folder = other.begin("mail-1", 1.0)
    other.finish(bundle_id, folder, {"pool": "mail"})

    found = find_bundles([scene.root, scene.root])

    assert [bundle.id for bundle in found] == [bundle_id, *sorted(bundle.id for bundle in kept)]


async def test_a_bundle_is_copied_whole(make: Make, tmp_path: Path) -> None:
    scene = await make(artifacts=["/tmp/out"])
    scene.runtime.dirty(scene.seen.ref, file="/tmp/out", content=b"picture")
    bundle = await scene.kept()

    copied = copy_bundle(bundle, tmp_path / "new" / "place")

    assert copied == tmp_path / "new" / "place" / bundle.id
    assert {str(p.relative_to(copied)) for p in copied.rglob("*")} == {
        str(p.relative_to(bundle.path)) for p in bundle.path.rglob("*")
    }
    assert (copied / "artifacts/tmp/out").read_bytes() == b"picture"


async def test_a_copy_goes_through_no_symbolic_link_and_replaces_nothing(make: Make, tmp_path: Path) -> None:
    scene = await make()
    bundle = await scene.kept()
    secret = tmp_path / "secret"
    secret.mkdir()
    (tmp_path / "link").symlink_to(secret)
    (tmp_path / "busy").mkdir()
    (tmp_path / "busy" / bundle.id).symlink_to(secret)
    (tmp_path / "file").write_text("")

    for target, why in (("link", "symbolic link"), ("busy", "there already"), ("file", "give a directory")):
        with pytest.raises(InvalidRequest, match=why) as caught:
            copy_bundle(bundle, tmp_path / target)
        assert caught.value.field == "dir"

    assert list(secret.iterdir()) == []


async def test_a_bundle_whose_facts_cannot_be_read_is_still_one(make: Make) -> None:
    scene = await make()
    bundle = await scene.kept()
    (bundle.path / "evidence.json").write_text("[not json")

    [found] = find_bundles([scene.root])

    assert (found.id, found.facts, found.image) == (bundle.id, {}, "")
