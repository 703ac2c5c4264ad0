"""The state machine with an operator who drains and resumes, and containers that are frozen while they are idle: one of
its own, as what is out of rotation shows less of the rest."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from pool.models import Outcome, State
from tests.model.compare import answer_of
from tests.model.keys import ensure
from tests.model.machine import PoolMachine, numbers, wishes
from tests.model.reference import Answer


class DrainingMachine(PoolMachine):
    """One pool whose containers, and which itself, may be drained, and which freezes what is idle."""

    @precondition(lambda self: len(self.model.requests) > 20)
    @rule()
    def drain_until_resumed(self) -> None:
        self.send_drain("operator")

    @precondition(lambda self: self.model.leases())
    @rule(number=numbers)
    def take_out_and_back(self, number: int) -> None:
        """A leased container is drained, comes back clean, and is resumed: who waited meanwhile gets it then."""
        name = sorted(self.model.leases())[number % len(self.model.leases())]
        self.settles(self.store.drain_container(name), self.model.drain_container(name))
        self.turn_over(number, Outcome.PASSED, 0.0)
        self.redis_agrees()
        self.settles(self.store.resume(name), self.model.resume(name))

    @rule(name=st.sampled_from("abcd"))
    def drain_container(self, name: str) -> None:
        self.settles(self.store.drain_container(name), self.model.drain_container(name))

    @precondition(lambda self: self.model.drained_by or any(c.draining for c in self.model.containers.values()))
    @rule(number=numbers)
    def resume(self, number: int) -> None:
        draining = [name for name, container in self.model.containers.items() if container.draining]
        chosen = ["" if self.model.drained_by else "d", *draining]
        name = chosen[number % len(chosen)]
        self.settles(self.store.resume(name), self.model.resume(name))

    @precondition(lambda self: self.model.ready())
    @rule(wish=wishes)
    def freeze_what_is_idle(self, wish: dict[str, Any]) -> None:
        """Then somebody comes, for whom one is thawed."""
        for name in self.model.ready():
            self.move(name, State.PAUSED)
        self.asked += 1
        self.send(f"r{self.asked:02}", wish)

    @precondition(lambda self: any(container.state == "paused" for container in self.model.containers.values()))
    @rule(number=numbers)
    def thaw(self, number: int) -> None:
        frozen = [name for name, container in self.model.containers.items() if container.state == "paused"]
        self.move(frozen[number % len(frozen)], State.AVAILABLE)

    def settles(self, work: Any, expected: Answer) -> None:
        """Send a command that answers nothing where it succeeds."""
        real = self.do(answer_of(work))
        ensure(real == (("released",) if expected == ("done",) else expected), "another answer", real, expected)
