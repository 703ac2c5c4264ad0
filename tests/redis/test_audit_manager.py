"""A manager audits its pool while it leads, and once more when it ends."""

from __future__ import annotations

import json
from pathlib import Path

from pool.audit import Reader, chain_names, verify_chain, verify_file
from pool.config import AuditOptions, Config
from pool.models import ResetLevel
from pool.store import find_orphans
from tests.support import eventually
from tests.support_manager import Bench, MakeBench, make_bench, running

__all__ = ["make_bench"]


async def types(bench: Bench) -> list[str]:
    return [entry["type"] for entry in await Reader(bench.connection, [bench.pool]).read()]


def audited(config: Config, file: Path) -> Config:
    return config.model_copy(update={"audit": AuditOptions(file=file)})


async def test_what_happens_under_a_manager_is_audited_with_who_and_why(make_bench: MakeBench) -> None:
    async with running(make_bench) as bench:
        async with await bench.client.acquire(bench.pool, owner="ci"):
            pass
        await eventually(bench.all_available)
        await bench.client.reset(bench.pool, f"{bench.pool}-2", level=ResetLevel.HARD, reason="it looks odd")

        async def written() -> bool:
            return "lease.released" in await types(bench) and any(
                entry["why"] == "it looks odd" for entry in await Reader(bench.connection, [bench.pool]).read()
            )

        await eventually(written)
        entries = await Reader(bench.connection, [bench.pool]).read()
        [ordered] = [entry for entry in entries if entry["why"] == "it looks odd"]
        assert "@" in ordered["who"]
        assert (await verify_chain(bench.connection, bench.pool)).fault is None


async def test_a_manager_that_ends_leaves_nothing_unaudited(make_bench: MakeBench, tmp_path: Path) -> None:
    bench = await make_bench()
    bench.config = audited(bench.config, tmp_path / "audit.jsonl")
    await bench.ready()
    async with await bench.client.acquire(bench.pool, owner="last"):
        pass

    await bench.stop()

    assert "lease.released" in await types(bench)
    [own] = [verdict for verdict in verify_file(tmp_path / "audit.jsonl") if verdict.pool == bench.pool]
    assert own.head == (await verify_chain(bench.connection, bench.pool)).head


async def test_a_removed_pool_leaves_its_audit_which_is_no_garbage(make_bench: MakeBench) -> None:
    bench = await make_bench()
    await bench.ready()

    bench.endings[-1].request(remove=True)
    await bench.managers[-1]
    bench.managers.clear()
    bench.endings.clear()

    assert "pool.created" in await types(bench)
    assert bench.pool in await chain_names(bench.connection)
    assert bench.pool not in await find_orphans(bench.connection)


async def test_a_manager_goes_on_in_the_file_of_the_one_before(make_bench: MakeBench, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    bench = await make_bench()
    bench.config = audited(bench.config, path)
    for _ in range(2):
        await bench.ready()
        async with await bench.client.acquire(bench.pool):
            pass
        await bench.stop()

    entries = [line["entry"] for line in map(json.loads, path.read_text().splitlines())]
    numbers = [entry["n"] for entry in entries if entry["pool"] == bench.pool]
    [own] = [verdict for verdict in verify_file(path) if verdict.pool == bench.pool]
    assert own.fault is None
    assert numbers == list(range(1, len(numbers) + 1))
    assert [entry["type"] for entry in entries].count("lease.granted") >= 2
