"""Verification: what the engine sees of a container must be what it saw when the container was new."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from pool.config import ResetOptions
from pool.ports import Change, Process, Runtime
from pool.reset.baseline import Baseline
from pool.reset.inside import Inside
from pool.reset.report import printable
from pool.store import PoolStore

#: A killed process may show for a moment until its parent has reaped it, and so may one that answered a probe.
_SETTLE_S = 0.5
#: Between two looks at a new container.
_LOOK_AGAIN_S = 0.03
_FIRST_POLL_S = 0.001
_SLOWEST_POLL_S = 0.02

#: So many differences are named; more do not help.
_NAMED = 8


class Verifier:
    """Takes baselines, and compares.

    Args:
        options: How much is compared, and what may differ.
        runtime: The engine.
        inside: Knows the processes that are our own.
        store: Where baselines are kept.
    """

    def __init__(self, options: ResetOptions, runtime: Runtime, inside: Inside, store: PoolStore) -> None:
        self._options = options
        self._runtime = runtime
        self._inside = inside
        self._store = store

    async def remember(self, slot_id: str, ref: str, generation: int, files: frozenset[str]) -> None:
        """Keep what a new container looks like. It is complete, whatever is compared now: that may change.

        Raises:
            EngineError: The engine cannot tell.
        """
        changes, processes = await asyncio.gather(self._runtime.changes(ref), self._lasting(ref))
        baseline = Baseline.of(generation, processes, changes, files)
        await self._store.save_baseline(slot_id, baseline.to_json())

    async def _lasting(self, ref: str) -> Sequence[Process]:
        """Return the processes once two looks show the same: the one that answered our probe may still be ending."""
        until = time.monotonic() + _SETTLE_S
        before: set[int] = set()
        while True:
            processes = await self._processes(ref)
            now = {process.pid for process in processes}
            if now == before or time.monotonic() > until:
                return processes
            before = now
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def changes(self, ref: str) -> Sequence[Change] | None:
        """Return the changed files, if they are to be compared.

        Raises:
            EngineError: The engine cannot tell.
        """
        return await self._runtime.changes(ref) if self._options.verify == "full" else None

    async def baseline(self, slot_id: str, generation: int) -> Baseline | None:
        """Return what the container looked like when it was new, if that is to be compared and known."""
        if self._options.verify == "off":
            return None
        text = await self._store.load_baseline(slot_id)
        baseline = Baseline.from_json(text) if text else None
        return baseline if baseline is not None and baseline.generation == generation else None

    async def problem(
        self, ref: str, baseline: Baseline | None, changes: Sequence[Change] | None, files: frozenset[str]
    ) -> str:
        """Say what was left behind, if anything.

        Args:
            ref: The container, after its probes answered.
            baseline: As `baseline` returned it.
            changes: As `changes` returned it.
            files: What the shell lists.

        Raises:
            EngineError: The engine cannot tell.
        """
        if self._options.verify == "off":
            return ""
        if baseline is None:
            return "it is not known what the container looked like when it was new"
        until = time.monotonic() + _SETTLE_S
        pause = _FIRST_POLL_S
        while True:
            now = Baseline.of(baseline.generation, await self._processes(ref), changes or (), files)
            left = baseline.differences(now if changes is not None else now.with_changes_of(baseline), self._options)
            settling = all("process " in difference for difference in left)
            if not left or not settling or time.monotonic() > until:
                return _named(left)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _SLOWEST_POLL_S)
            changes = await self.changes(ref)  # whatever still ran may have written

    async def _processes(self, ref: str) -> list[Process]:
        ours = self._inside.pid(ref)
        return [process for process in await self._runtime.processes(ref) if process.pid != ours]


def _named(left: list[str]) -> str:
    if not left:
        return ""
    more = f"; and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
    return "left behind: " + "; ".join(printable(difference) for difference in left[:_NAMED]) + more
