"""Real scripts and model side by side: each command goes to both, and after each step both must say the same."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from hypothesis.stateful import RuleBasedStateMachine, invariant

from pool.store import PoolStore, retrying
from pool.store.connection import POOLS_KEY
from tests.model.backend import Backend
from tests.model.compare import answer_of, differences, expected_view, real_view
from tests.model.keys import Disagreement, Keys, check_promises, ensure, read_keys
from tests.model.reference import SECOND, Answer, Reference

START_US = 1_800_000_000 * SECOND
#: What every token begins with, so that a leak is seen wherever it is.
SECRET = "secret-"


class Pair(RuleBasedStateMachine):
    """One pool twice: in Redis and in the model. `backend` is set by a subclass."""

    backend: ClassVar[Backend]
    #: Commands sent by all machines so far.
    operations: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.connection = self.backend.connection
        self.store = PoolStore(self.connection, f"m{uuid.uuid4().hex[:12]}")
        self.model = Reference(START_US)
        self.asked = 0
        self.last_event = "0"
        self.highest_fence = 0
        #: Container → fence of a confirmed lease that it was not cleaned after.
        self.used: dict[str, int] = {}

    @property
    def prefix(self) -> str:
        return f"cp:{{{self.store.pool}}}:"

    def do(self, work: Any) -> Any:
        """Send one command at the time that the model's clock shows."""
        Pair.operations += 1
        self.connection.clock_us = self.model.clock
        return self.backend.run(work)

    def answers(self, work: Any, expected: Answer) -> None:
        """Send one command, whose answer must be the model's."""
        real = self.do(answer_of(work))
        ensure(real == expected, "another answer than the model's", real, expected)

    async def delete_keys(self) -> None:
        async with self.connection.plain() as redis:
            if keys := await redis.keys(self.prefix + "*"):
                await redis.delete(*keys)
            await redis.srem(POOLS_KEY, self.store.pool)

    # After every step

    @invariant()
    def redis_agrees(self) -> None:
        keys = self.backend.run(self.read())
        check_promises(keys, SECRET)
        self.check_fences(keys)
        self.check_hints(keys)
        if found := differences(expected_view(self.model), real_view(keys)):
            raise Disagreement("\n".join(found))

    async def read(self) -> Keys:
        async def at_once() -> Keys:
            async with self.connection.plain() as redis:
                return await read_keys(redis, self.prefix, after=self.last_event)

        keys: Keys = await retrying(for_s=30)(at_once)  # a busy machine may be late
        self.last_event = keys.last_event
        return keys

    def check_fences(self, keys: Keys) -> None:
        """Fences only rise, every grant is told once, and nobody gets what somebody used and nobody cleaned."""
        told = [(e["container"], e["request"], int(e["fence"])) for e in keys.events if e["type"] == "lease.granted"]
        ensure(told == self.model.grants, "other grants than the model's", told, self.model.grants)
        self.model.grants = []
        for _, _, fence in told:
            ensure(fence > self.highest_fence, "a fence does not rise", fence, self.highest_fence)
            self.highest_fence = fence
        for name, fields in keys.containers.items():
            handed_on = fields["state"] == "available" or (
                fields["state"] == "allocated" and int(fields["fence"]) != self.used.get(name)
            )
            ensure(not (handed_on and name in self.used), "a used container was given on uncleaned", name, fields)
            if fields["state"] == "allocated" and fields["confirmed"] == "1":
                self.used[name] = int(fields["fence"])

    def check_hints(self, keys: Keys) -> None:
        """Every wake-up that is owed was sent; one too many would do no harm."""
        missing = self.model.hints.copy()
        missing.subtract(keys.hints)
        owed = {hint: n for hint, n in missing.items() if n > 0}
        ensure(not owed, "a wake-up was lost", owed)
        self.model.hints.clear()

    def teardown(self) -> None:
        self.backend.run(self.delete_keys())
