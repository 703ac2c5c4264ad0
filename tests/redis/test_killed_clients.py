"""Clients that are killed with `kill -9`: real processes against a real server. Nothing they held or wanted stays."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pool.client import AsyncClient, AsyncLease
from pool.models import ContainerRecord, Outcome, ResetReason, State
from pool.store import LIVENESS_S, PoolStore
from tests.support import eventually, open_pool

#: A client that says what it does: `held` once it has a lease, which it then keeps.
CLIENT = """
import sys, time, pool
with pool.connect(sys.argv[1], owner="victim") as client:
    print("asking", flush=True)
    with client.acquire(sys.argv[2], wait_s=60, request_id="victim"):
        print("held", flush=True)
        time.sleep(600)
"""


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[PoolStore]:
    async with open_pool(redis_url, "a", ttl_s=1, claim_ttl_s=0.5) as store:
        yield store


def process_state(pid: int) -> str:
    """Return the kernel's letter for what a process does: R, S, T for stopped, Z …"""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


class Victim:
    """A client process, started when a test is ready for it."""

    def __init__(self, redis_url: str, pool: str) -> None:
        self._arguments = (sys.executable, "-c", CLIENT, redis_url, pool)
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        assert self._process is not None
        return self._process

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(*self._arguments, stdout=PIPE, stderr=PIPE)
        assert await self.line() == "asking"

    async def line(self) -> str:
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), 20)).decode().strip()

    async def freeze(self) -> None:
        """Stop the process where it is, and wait until it has stopped: a signal takes its time to arrive."""
        self.process.send_signal(signal.SIGSTOP)

        async def stopped() -> bool:
            return process_state(self.process.pid) == "T"

        await eventually(stopped)

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        if self._process is not None:
            await self._process.communicate()
            self._process = None


@pytest.fixture
async def victim(redis_url: str, store: PoolStore) -> AsyncIterator[Victim]:
    victim = Victim(redis_url, store.pool)
    yield victim
    await victim.kill()


async def record_of(store: PoolStore) -> ContainerRecord:
    record = await store.container("a")
    assert record is not None
    return record


async def queued(store: PoolStore, length: int) -> bool:
    return len((await store.status()).queue) == length


async def hand_over(store: PoolStore, lease: AsyncLease) -> None:
    """Release, and do the manager's part: the container goes to the next in line."""
    await lease.release(Outcome.PASSED)
    assert await store.transition(await record_of(store), State.AVAILABLE)


async def test_a_client_killed_while_holding_loses_its_lease_to_a_hard_reset(store: PoolStore, victim: Victim) -> None:
    await victim.start()
    assert await victim.line() == "held"

    async def renewed() -> bool:
        record = await record_of(store)
        return (record.expires_at or 0) > (record.granted_at or 0) + 1.1

    await eventually(renewed)
    assert await store.reap() == (0, 0, 0), "heartbeats keep it alive"

    await victim.kill()

    async def reaped() -> bool:
        return await store.reap() == (0, 0, 1)

    await eventually(reaped)
    record = await record_of(store)
    assert (record.state, record.reason) == (State.RESETTING, ResetReason.ON_EXPIRY)


async def test_a_client_killed_while_waiting_is_passed_over_once_its_liveness_lapses(
    store: PoolStore, victim: Victim, redis_url: str
) -> None:
    async with AsyncClient(redis_url, owner="survivor") as survivor:
        lease = await survivor.acquire(store.pool)
        await victim.start()
        await eventually(lambda: queued(store, 1))
        next_in_line = asyncio.create_task(survivor.acquire(store.pool, wait_s=60))
        await eventually(lambda: queued(store, 2))

        await victim.kill()

        async def gone_from_the_queue() -> bool:
            await store.reap()
            return await queued(store, 1)

        await eventually(gone_from_the_queue, deadline_s=LIVENESS_S + 10)
        await hand_over(store, lease)
        async with await next_in_line as second:
            assert second.fence > lease.fence


async def test_a_client_killed_between_grant_and_confirm_loses_it_to_the_next_after_the_claim_ttl(
    store: PoolStore, victim: Victim, redis_url: str
) -> None:
    async with AsyncClient(redis_url, owner="survivor") as survivor:
        lease = await survivor.acquire(store.pool)
        await victim.start()
        await eventually(lambda: queued(store, 1))
        next_in_line = asyncio.create_task(survivor.acquire(store.pool, wait_s=60))
        await eventually(lambda: queued(store, 2))
        await victim.freeze()  # so that it is granted, but cannot confirm
        for _ in range(2):  # by then Redis has read what was on its way from there
            await store.status()

        await hand_over(store, lease)
        assert (await record_of(store)).request_id == "victim"
        await victim.kill()

        async def claim_lapsed() -> bool:
            return await store.reap() == (0, 1, 0)

        await eventually(claim_lapsed)
        async with await next_in_line as second:
            assert (await record_of(store)).request_id == second.request_id
            assert (await record_of(store)).state is State.ALLOCATED
