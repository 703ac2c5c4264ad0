"""A private real server for each test session, started the way the pool starts its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pool.embedded import ensure_server, stop_server


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    state_dir = Path(tempfile.mkdtemp(prefix="cp"))
    try:
        yield ensure_server(state_dir).url
    finally:
        stop_server(state_dir)
        shutil.rmtree(state_dir, ignore_errors=True)
