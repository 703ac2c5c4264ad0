"""A private real server for each test session, started the way the pool starts its own; a state directory, too;
`poolctl` on both."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from pool.embedded import stop_server, temporary_server
from tests.poolctl import Poolctl


@pytest.fixture(scope="session", autouse=True)
def _state_dir() -> Iterator[None]:
    """What goes to the state directory by default, evidence for one, is kept apart from the user's own."""
    state_dir, before = tempfile.mkdtemp(prefix="cp"), os.environ.get("POOL_STATE_DIR")
    os.environ["POOL_STATE_DIR"] = state_dir
    try:
        yield
    finally:
        if before is None:
            del os.environ["POOL_STATE_DIR"]
        else:
            os.environ["POOL_STATE_DIR"] = before
        stop_server(Path(state_dir))
        shutil.rmtree(state_dir, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with temporary_server() as url:
        yield url


@pytest.fixture
async def poolctl(redis_url: str, tmp_path: Path) -> AsyncIterator[Poolctl]:
    async with Poolctl(redis_url, tmp_path) as runner:
        yield runner
