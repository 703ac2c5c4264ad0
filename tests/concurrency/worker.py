"""A client process: many tasks that ask, use, fail, change their mind, overstay, and ask again, until told to end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path

from pool.client import AsyncClient
from pool.errors import LeaseLost, Refused
from pool.models import Outcome, Priority
from pool.store import retrying
from tests.concurrency import recorder

#: Of all requests, this share is withdrawn after a moment, waits only briefly, holds until its deadline, is broken off.
_WITHDRAWN, _HASTY, _OVERSTAYING, _BROKEN_OFF = 0.15, 0.05, 0.01, 0.03
_OVERSTAYED_AFTER_S = 0.3
_PATIENCE_S = 30.0


@dataclass(frozen=True)
class Task:
    """One of a worker's tasks, named by worker and number: `2.17`."""

    client: AsyncClient
    pool: str
    socket: Path
    who: str
    pace_s: float
    chance: random.Random

    async def live(self) -> None:
        """Ask again and again, until cancelled."""
        while True:
            try:
                await self._once()
            except (LeaseLost, recorder.Refused, TimeoutError):
                continue  # it is in the book, or was meant
            except Refused as refused:
                await asyncio.sleep(min(refused.retry_after_s, 0.1) * self.chance.random())

    async def _once(self) -> None:
        overstay = self.chance.random() < _OVERSTAYING
        patience_s = self.chance.uniform(0, 0.2) if self.chance.random() < _WITHDRAWN else None
        async with asyncio.timeout(patience_s):
            lease = await self.client.acquire(
                self.pool,
                priority=self.chance.choice(list(Priority)),
                owner=self.who,
                wait_s=self.chance.uniform(0, 1) if self.chance.random() < _HASTY else 120,
                timeout_s=_OVERSTAYED_AFTER_S if overstay else None,
            )
        broken_off_after_s = self.chance.uniform(0, 0.01) if self.chance.random() < _BROKEN_OFF else None
        async with asyncio.timeout(broken_off_after_s), lease:
            async with recorder.Stay(self.socket, lease, self.who) as stay:
                for _ in range(10_000 if overstay else self.chance.randint(1, 5)):
                    await asyncio.sleep(self.chance.uniform(0, self.pace_s))
                    await stay.use()
            await lease.release(self.chance.choices(list(Outcome), [8, 1, 1])[0])


async def work(url: str, pool: str, socket: Path, name: str, tasks: int, pace_s: float, seed: int) -> None:
    """Run a worker until its standard input ends, or a task fails."""
    client = AsyncClient(url, patience_s=_PATIENCE_S)
    await retrying(for_s=_PATIENCE_S)(client.connect)  # it tries once only, which a crowded machine may be too slow for
    async with client:
        print("ready", flush=True)
        names = [f"{name}.{n}" for n in range(tasks)]
        lives = [Task(client, pool, socket, who, pace_s, random.Random(f"{seed}.{who}")) for who in names]
        running = [asyncio.create_task(life.live()) for life in lives]
        ending = asyncio.create_task(recorder.input_ended())
        await asyncio.wait([*running, ending], return_when=asyncio.FIRST_COMPLETED)
        await _end([*running, ending])


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel tasks and raise what ended one of them before."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    faults: list[Awaitable[None]] = [task for task in tasks if not task.cancelled()]
    await asyncio.gather(*faults)
