"""Running suites that use the pytest plugin, as processes of their own, on a managed pool without an engine."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support_manager import Bench, MakeBench

#: The plugins of a run: what else is installed takes seconds to load, and proves nothing here.
PLUGINS = ("-p", "containerpool", "-p", "xdist", "-p", "asyncio", "-p", "timeout")
INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""
_LIMITS = {"ttl_s": 8.0, "claim_ttl_s": 4.0, "lease_timeout_s": 60.0}

MakeSuite = Callable[..., Awaitable["Suite"]]


class Suite:
    """A directory of tests and the pool that they use.

    Attributes:
        bench: The pool, with its manager and an engine in memory.
    """

    def __init__(self, pytester: pytest.Pytester, bench: Bench, redis_url: str) -> None:
        self.pytester = pytester
        self.bench = bench
        self.redis_url = redis_url
        self._started: list[Process] = []

    async def run(self, *arguments: str, plugins: tuple[str, ...] = PLUGINS, **tests: str) -> pytest.RunResult:
        """Run tests, given by the name of their module, to the end."""
        self.write(**tests)
        words = ("--pool", self.bench.pool, *plugins, *arguments)
        return await asyncio.to_thread(self.pytester.runpytest_subprocess, *words, timeout=90)

    def write(self, **tests: str) -> None:
        self.pytester.makepyfile(**tests)

    async def start(self, *arguments: str) -> Process:
        """Start a run in a session of its own, so that Ctrl-C, or a kill, reaches it with its workers."""
        words = ["--pool", self.bench.pool, *PLUGINS, *arguments]
        process = await asyncio.create_subprocess_exec(
            *("env", "--default-signal=INT", sys.executable, "-m", "pytest", *words),
            cwd=self.pytester.path,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    async def end(self, process: Process) -> str:
        """Return what a run that was started has written, once it is over."""
        async with asyncio.timeout(60):
            out, _ = await process.communicate()
        return out.decode()

    def kill(self) -> None:
        for process in self._started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    async def outcomes(self) -> list[str]:
        """Return how leases ended, in the order of their ends."""
        return [fact["outcome"] for fact in await self.bench.facts("lease.released")]

    @property
    def folder(self) -> Path:
        return self.pytester.path


@pytest.fixture
async def make_suite(
    pytester: pytest.Pytester, make_bench: MakeBench, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[MakeSuite]:
    """Make suites; what they leave running is ended."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID", "PYTEST_ADDOPTS", "POOL_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("POOL_URL", redis_url)
    made: list[Suite] = []

    async def make(**options: object) -> Suite:
        limits = options.pop("limits", {})
        assert isinstance(limits, dict)
        bench = await make_bench(limits=_LIMITS | limits, **options)
        await bench.ready()
        pytester.makefile(".ini", pytest=INI)
        made.append(Suite(pytester, bench, redis_url))
        return made[-1]

    yield make
    for suite in made:
        suite.kill()
