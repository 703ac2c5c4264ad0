"""The benchmark over HTTP: that it measures everything and leaves nothing. No time is ever asserted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pool.bench import run_http
from pool.store import Connection, pool_names


async def _pools(url: str) -> list[str]:
    connection = Connection(url)
    try:
        return [name for name in await pool_names(connection) if name.startswith("bench-")]
    finally:
        await connection.close()


def test_every_kind_of_call_is_measured_and_redis_is_left_as_it_was(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    told: list[str] = []

    rows = run_http(url=redis_url, rounds=5, tell=told.append)

    kinds = [row.name.split(",")[0].split(" ")[0] for row in rows]
    assert kinds == [
        "EVALSHA",
        "empty",
        *["acquire"] * 4,
        "heartbeat",
        "heartbeat",
        "heartbeats",
        "release",
        "GET",
        "16",
    ]
    assert [row.name for row in rows if row.goal is not None] == ["acquire, over HTTP"]
    assert all(row.p50_ms > 0 for row in rows)
    assert told == ["acquire, heartbeat and release", "the gateway"]
    assert asyncio.run(_pools(redis_url)) == []
