"""The manager keeps evidence before each recovery, of the right container and once; and of no lease that passed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pool.client import AsyncLease
from pool.evidence import find_bundles
from pool.models import State
from pool.ports import EngineContainer
from pool.testing import MemoryContainer, MemoryRuntime
from tests.support import eventually, obedient_shell, report_stages
from tests.support_manager import Bench, MakeBench, make_bench

__all__ = ["make_bench"]


def options(tmp_path: Path, **more: object) -> dict[str, object]:
    return {"dir": str(tmp_path), **more}


async def use(bench: Bench, how: str) -> str:
    """Let a lease end, or a container die; returns the container's id."""
    lease = await bench.client.acquire(bench.pool, owner="run-42", timeout_s=0.2 if how == "expired" else None)
    if how == "unhealthy":
        bench.runtime.crash(bench.inside(lease.container.id).ref, exit_code=3)
    if how in ("unhealthy", "expired"):
        await eventually(lambda: _lost(lease))
    else:
        await lease.release(how)
    return lease.container.id


async def _lost(lease: AsyncLease) -> bool:
    return lease.lost


@pytest.mark.parametrize("how", ["passed", "failed", "error", "expired", "unhealthy"])
async def test_a_bundle_is_kept_before_a_recovery_and_after_nothing_else(
    make_bench: MakeBench, tmp_path: Path, how: str
) -> None:
    bench = await make_bench(evidence=options(tmp_path))
    await bench.ready()

    container_id = await use(bench, how)
    await eventually(bench.all_available)

    bundles = find_bundles([tmp_path])
    if how == "passed":
        assert bundles == []
    else:
        [bundle] = bundles
        assert (bundle.facts["cause"], bundle.facts["container"]) == (how, container_id)
        assert bundle.facts["lease"]["owner"] == "run-42"
        [told] = await bench.facts("container.evidence")
        assert told["evidence"] == bundle.id
    await bench.stop()


async def test_what_a_reset_left_is_kept_before_the_next_level_destroys_it(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    def lazy_shell(container: MemoryContainer, script: str) -> object:
        return report_stages(script)

    runtime = MemoryRuntime(shell_handler=lazy_shell)  # type: ignore[arg-type]  # returns an ExecResult
    bench = await make_bench(runtime, evidence=options(tmp_path, artifacts=["/opt/left"]))
    await bench.ready()
    lease = await bench.client.acquire(bench.pool)
    bench.runtime.dirty(bench.inside(lease.container.id).ref, file="/opt/left", content=b"mine")
    await lease.release()
    await eventually(bench.all_available)

    [bundle] = find_bundles([tmp_path])
    assert bundle.facts["cause"] == "not_clean"
    assert "/opt/left" in bundle.facts["note"]
    assert (bundle.path / "artifacts/opt/left").read_bytes() == b"mine"
    await bench.stop()


class ShortLived(MemoryRuntime):
    """An engine whose containers end as soon as they are started."""

    async def start(self, ref: str) -> EngineContainer:
        await super().start(ref)
        self.crash(ref, exit_code=1)
        return await self.inspect(ref)


async def test_a_container_that_does_not_start_leaves_its_last_words(make_bench: MakeBench, tmp_path: Path) -> None:
    runtime = ShortLived(shell_handler=obedient_shell)
    bench = await make_bench(runtime, size=1, reset={"quarantine_after": 1}, evidence=options(tmp_path))
    bench.start()

    async def quarantined() -> bool:
        record = await bench.store.container(f"{bench.pool}-1")
        return record is not None and record.state is State.QUARANTINED

    await eventually(quarantined, deadline_s=20)

    [bundle] = find_bundles([tmp_path])
    assert (bundle.facts["cause"], bundle.facts["exit_code"]) == ("not_clean", 1)
    assert "started any" in (bundle.path / "logs.txt").read_text()
    await bench.stop()


async def test_a_recovery_goes_on_although_no_evidence_can_be_kept(make_bench: MakeBench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    bench = await make_bench(evidence=options(tmp_path / "file"))
    await bench.ready()

    await use(bench, "failed")

    await eventually(bench.all_available)
    await bench.stop()


class Silent(MemoryRuntime):
    """An engine that answers nothing about the container that is hung."""

    hung = ""

    async def logs(self, ref: str, *, tail: int = 200) -> str:
        if self.containers[ref].spec.id == self.hung:
            await asyncio.Event().wait()
        return await super().logs(ref, tail=tail)


async def test_collecting_of_one_container_keeps_no_other_waiting(make_bench: MakeBench, tmp_path: Path) -> None:
    runtime = Silent(shell_handler=obedient_shell)
    bench = await make_bench(runtime, evidence=options(tmp_path, timeout_s=30))
    await bench.ready()
    runtime.hung = f"{bench.pool}-1"
    leases = [await bench.client.acquire(bench.pool) for _ in range(2)]

    for lease in leases:
        await lease.release("failed")

    async def other_is_back() -> bool:
        return (await bench.record(f"{bench.pool}-2")).state is State.AVAILABLE

    await eventually(other_is_back)
    assert (await bench.record(f"{bench.pool}-1")).state is State.CLEANING
    bench.managers[0].cancel()
    await asyncio.gather(*bench.managers, return_exceptions=True)
    bench.managers.clear()
    assert [bundle.facts["container"] for bundle in find_bundles([tmp_path])] == [f"{bench.pool}-2"]
