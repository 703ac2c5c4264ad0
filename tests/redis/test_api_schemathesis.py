"""Random requests of all kinds, good and bad, against a live server: what it does is what its document says."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pool.allocator import request_restore, request_resume
from pool.embedded import temporary_server
from pool.errors import PoolError
from pool.manager import Ending, PoolManager
from pool.models import State
from pool.store import Connection, PoolStore
from pool.testing import MemoryRuntime
from tests.support import obedient_shell, pool_config
from tests.support_api import serving

pytestmark = pytest.mark.long

_ROOT = Path(__file__).parents[2]
#: What never ends is not for a tool that waits for the end of each answer.
_ENDLESS = ("get_events",)


@pytest.fixture
def private_redis() -> Iterator[str]:
    """A server without the pools of other tests."""
    with temporary_server() as url:
        yield url


@asynccontextmanager
async def _managed(url: str) -> AsyncIterator[str]:
    """A pool with its manager on an engine in memory, whose containers come back whatever operators do; its server."""
    config = pool_config("fuzz", "browsers", size=4, limits={"max_wait_s": 1.0, "max_queued": 1000})
    runtime = MemoryRuntime(shell_handler=obedient_shell)
    connection, ending = Connection(url, patience_s=1), Ending()
    manager = PoolManager(config, "browsers", runtime, connection)
    running = asyncio.create_task(manager.run(ending))
    try:
        await asyncio.wait_for(manager.ready.wait(), 20)
        async with serving(url, config=config, runtime=runtime, max_poll_s=0.1, liveness_s=1) as api:
            healing = asyncio.create_task(_heal(PoolStore(connection, "browsers")))
            try:
                yield api.server.url
            finally:
                healing.cancel()
                await asyncio.wait([healing])
    finally:
        ending.request()
        await running
        await connection.close()


async def _heal(store: PoolStore) -> None:
    """Undo what operators did, so that there is always something to take."""
    while True:
        await asyncio.sleep(0.1)
        status = await store.status()
        if status.draining:
            await request_resume(store)
        for record in status.containers:
            try:
                if record.draining:
                    await request_resume(store, record.id)
                if record.state is State.QUARANTINED:
                    await request_restore(store, record.id)
            except PoolError:  # somebody else was faster
                continue


async def _fuzz(url: str, *options: str) -> tuple[int, str]:
    """Run schemathesis; returns its exit code, and what it wrote."""
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(_ROOT / "tests/schemathesis.toml")]
    command += ["run", f"{url}/openapi.json", "--url", url]
    command += [part for name in _ENDLESS for part in ("--exclude-operation-id", name)]
    command += ["--checks", "all", "--request-timeout", "10", "--no-color", *options]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=_ROOT,
        env=os.environ | {"SCHEMATHESIS_HOOKS": "tests.api_hooks", "PYTHONPATH": str(_ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace")


@pytest.mark.timeout(180)
async def test_the_server_does_what_its_document_says(private_redis: str) -> None:
    async with _managed(private_redis) as url:
        code, output = await _fuzz(url, "--max-time", "25", "--max-examples", "20", "--continue-on-failure")

    print(output)
    assert code == 0, output
