"""Directs the runners: gives them their runs, strikes at two of them, and has an unfinished runner's work taken up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pool.config import Config
from pool.demo.history import Look, Strike
from pool.demo.plan import POOL, RUNNERS, Fate, Run, planned_runs
from pool.demo.processes import Child, child
from pool.demo.recorder import Recorder, all_available
from pool.demo.view import Progress
from pool.errors import PoolError
from pool.ports import Runtime

_START_S = 30.0
_SETTLE_S = 30.0


class Director:
    """Carries the plan out, once.

    Args:
        config: The demo's configuration.
        home: Where the processes' logs go.
        url: The Redis that the runners connect to.
        runtime: The engine, to kill a container with.
        recorder: Knows the pool's state.
        progress: Where to say what is done.
    """

    def __init__(
        self, config: Config, *, home: Path, url: str, runtime: Runtime, recorder: Recorder, progress: Progress
    ) -> None:
        self.runs = planned_runs()
        self.looks: list[Look] = []
        self.strikes: list[Strike] = []
        self.ready_at = 0.0
        self._deployment = config.deployment
        self._available = partial(all_available, size=len(config.slots(POOL)))
        self._home = home
        self._url = url
        self._runtime = runtime
        self._recorder = recorder
        self._progress = progress
        self._fates = {run.name: run.fate for run in self.runs}
        self._finished: set[str] = set()
        self._killed: set[int] = set()

    async def direct(self) -> None:
        """Do everything, from the first runner to all containers available again.

        Raises:
            PoolError: The pool did not come up, or a runner failed.
        """
        async with AsyncExitStack() as stack:
            runners = [
                await stack.enter_async_context(self._runner(f"runner-{number}")) for number in range(1, RUNNERS + 1)
            ]
            await self._recorder.until(self._available, within_s=_START_S, what="the pool did not come up")
            self.ready_at = time.monotonic()
            self._progress.note(f"{len(self.runs)} test runs begin, in {RUNNERS} processes")
            shares = [[run for run in self.runs if run.runner == index] for index in range(RUNNERS)]
            await asyncio.gather(*(self._drive(runner, share) for runner, share in zip(runners, shares, strict=True)))
        await self._recorder.until(self._available, within_s=_SETTLE_S, what="the containers did not all come back")

    def _runner(self, name: str) -> AbstractAsyncContextManager[Child]:
        return child("pool.demo.runner", self._url, POOL, log=self._home / f"{name}.log")

    async def _drive(self, runner: Child, runs: Sequence[Run]) -> None:
        """Have a runner do its runs; if it is killed, have a new one do what is unfinished."""
        await runner.send(runs)
        async for message in runner.messages():
            await self._hear(message, runner)
        if runner.pid not in self._killed:
            await runner.wait()
            return
        rest = [replace(run, ask_after_s=0, fate=Fate.NONE) for run in runs if run.name not in self._finished]
        self._progress.note(f"a new runner takes up {', '.join(run.name for run in rest)}")
        async with self._runner("runner-new") as replacement:
            await self._drive(replacement, rest)

    async def _hear(self, message: dict[str, Any], runner: Child) -> None:
        run = message["run"]
        match message["what"]:
            case "looked":
                found = tuple(message["leftovers"])
                self.looks.append(Look(run, message["request"], message["container"], found))
                if found:
                    self._progress.note(f"{run} finds in {message['container']}: {', '.join(found)}")
            case "working" if fate := self._take_fate(run):
                await self._strike(fate, run, message["container"], runner)
            case "interrupted":
                self._progress.note(
                    f"{run} reports that {message['container']} died ({message['why']}), and starts over"
                )
            case "finished":
                self._finished.add(run)

    def _take_fate(self, run: str) -> Fate | None:
        fate = self._fates.pop(run, Fate.NONE)
        return None if fate is Fate.NONE else fate

    async def _strike(self, fate: Fate, run: str, container_id: str, runner: Child) -> None:
        if fate is Fate.RUNNER_KILLED:
            self._progress.note(f"kill -9 {runner.pid}: the runner of {run}, which holds {container_id}")
            self._killed.add(runner.pid)
            self.strikes.append(Strike(fate, run, container_id, time.time()))
            await runner.kill()
            return
        containers = await self._runtime.list(self._deployment)
        victim = next((container for container in containers if container.id == container_id), None)
        if victim is None:
            raise PoolError(f"the engine has no container {container_id} of deployment {self._deployment}")
        self._progress.note(f"docker kill {victim.name}, while {run} holds it")
        self.strikes.append(Strike(fate, run, container_id, time.time()))
        await self._runtime.kill(victim.ref)
