"""When an idle container is reset before it is lent, and what the configuration shows of verification."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from pool.config import ResetOptions, parse_config, render_config
from pool.models import (
    ContainerInfo,
    ContainerRecord,
    PoolStatus,
    Priority,
    ResetLevel,
    ResetReason,
    State,
    WaitingRequest,
)
from pool.reset import stale_container, turns
from pool.reset.turns import Turns
from tests.config_text import pool

AFTER = ResetOptions(on_allocation=ResetLevel.SOFT, on_allocation_after_s=60)


def record(name: str, since: float, state: State = State.AVAILABLE, **fields: object) -> ContainerRecord:
    info = ContainerInfo(name, name, "127.0.0.1", {}, "")
    return ContainerRecord(info, state, 1, 0, since, **fields)  # type: ignore[arg-type]  # fields of the record


def status(*records: ContainerRecord, **fields: object) -> PoolStatus:
    basis = PoolStatus("p", 1000.0, "i", draining=False, manager="m", containers=records, queue=())
    return replace(basis, **fields)  # type: ignore[arg-type]  # fields of the status


def test_the_container_that_stood_idle_longest_is_reset_first() -> None:
    found = stale_container(status(record("a", 930), record("b", 900), record("c", 960)), AFTER)

    assert found is not None
    assert found.id == "b"


@pytest.mark.parametrize(
    "now",
    [
        status(record("a", 960)),
        status(record("a", 900, State.ALLOCATED), record("b", 900, State.PAUSED)),
        status(record("a", 900), record("b", 999, State.RESETTING, reason=ResetReason.ON_ALLOCATION)),
        status(record("a", 900), degraded="queue"),
        status(record("a", 900), queue=(WaitingRequest("r", "o", Priority.LOW, 1, 1.0, Priority.LOW),)),
        status(),
    ],
    ids=["not yet", "none idle", "another one is", "degraded", "somebody waits", "no containers"],
)
def test_an_idle_container_stays_as_it_is_while(now: PoolStatus) -> None:
    assert stale_container(now, AFTER) is None


def test_idle_containers_stay_as_they_are_by_default() -> None:
    assert stale_container(status(record("a", 0)), ResetOptions()) is None


def test_one_that_is_kept_for_inspection_after_such_a_reset_stops_no_other() -> None:
    kept = record("a", 900, State.QUARANTINED, reason=ResetReason.ON_ALLOCATION)

    assert stale_container(status(kept, record("b", 900)), AFTER) is not None


def test_what_verification_ignores_is_shown_with_the_configuration() -> None:
    config = parse_config(pool("reset: {verify: fast, ignore_files: [/opt/*], ignore_processes: [cron*]}"))

    shown = render_config(config)["pools"]["p"]["reset"]

    assert (shown["verify"], shown["ignore_files"], shown["ignore_processes"]) == ("fast", ["/opt/*"], ["cron*"])


@pytest.mark.parametrize(("written", "meant"), [("off", "off"), ("false", "off"), ("fast", "fast"), ("full", "full")])
def test_off_means_off_although_yaml_reads_it_as_false(written: str, meant: str) -> None:
    assert parse_config(pool(f"reset: {{verify: {written}}}")).pools["p"].reset.verify == meant


async def test_turns_are_taken_one_after_the_other() -> None:
    order: list[str] = []
    only = Turns(1)

    async def work(name: str) -> None:
        async with only.take():
            order.append(f"{name} begins")
            await asyncio.sleep(0)
            order.append(f"{name} ends")

    await asyncio.gather(work("a"), work("b"))

    assert order == ["a begins", "a ends", "b begins", "b ends"]


async def test_a_turn_that_takes_too_long_is_passed_on_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "LONGEST_TURN_S", 0.01)
    only, end = Turns(1), asyncio.Event()

    async def hang() -> None:
        async with only.take():
            await end.wait()

    hanging = asyncio.create_task(hang())
    await asyncio.sleep(0)
    async with only.take():
        end.set()
        await hanging
        monkeypatch.setattr(turns, "LONGEST_TURN_S", 60)
        third = asyncio.create_task(hang())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not third.done(), "there is one turn, not two"
    await third
