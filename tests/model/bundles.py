"""The state machine with bundles, and with holders who find their container unfit: one of its own, see draining.py."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from pool.models import Outcome, Priority
from tests.model.compare import all_as_raised, us
from tests.model.machine import LIVENESS_S, PoolMachine, numbers, ref_kinds, wishes


class BundleMachine(PoolMachine):
    """One pool that several containers are asked of at once."""

    def __init__(self) -> None:
        super().__init__()
        #: Bundle → how many, and whose.
        self.taken_on: dict[str, tuple[int, str]] = {}

    @rule(count=st.integers(1, 4), wish=wishes)
    def acquire_many(self, count: int, wish: dict[str, Any]) -> None:
        self.asked += 1
        self.send_bundle(f"b{self.asked:02}", count, wish)

    @precondition(lambda self: len(self.model.ready()) > 1)
    @rule(wish=wishes)
    def a_bundle_takes_all_there_is(self, wish: dict[str, Any]) -> None:
        self.asked += 1
        lasting = {"process": "steady", "wait_s": 60.0, "timeout_s": 60.0}
        self.send_bundle(f"b{self.asked:02}", len(self.model.ready()), wish | lasting)

    @precondition(lambda self: len(self.model.leases()) > 1 and not self.model.queue())
    @rule(number=numbers, wish=wishes)
    def somebody_urgent_comes_while_a_bundle_is_served(self, number: int, wish: dict[str, Any]) -> None:
        self.asked += 1
        lasting = {"process": "steady", "wait_s": 60.0, "timeout_s": 60.0}
        self.send_bundle(f"b{self.asked:02}", 2, wish | lasting | {"priority": Priority.LOW})
        self.turn_over(number, Outcome.PASSED, 0.0)
        self.asked += 1
        self.send(f"r{self.asked:02}", wish | lasting | {"priority": Priority.CRITICAL})

    @precondition(lambda self: 0 < len(self.model.ready()) < len(self.model.containers))
    @rule(wish=wishes, wait_s=st.sampled_from([0.0, 60.0]))
    def a_bundle_wants_one_more_than_is_free(self, wish: dict[str, Any], wait_s: float) -> None:
        self.asked += 1
        lasting = {"process": "steady", "timeout_s": 60.0}
        count = len(self.model.ready()) + 1
        self.send_bundle(f"b{self.asked:02}", count, wish | lasting | {"wait_s": wait_s, "priority": Priority.LOW})
        self.asked += 1
        self.send(f"r{self.asked:02}", wish | lasting | {"wait_s": 60.0, "priority": Priority.CRITICAL})

    @precondition(lambda self: self.model.leases() and self.model.queue())
    @rule(number=numbers)
    def somebody_rejects_while_others_wait(self, number: int) -> None:
        self.reject("held", number, again=True)

    @precondition(lambda self: self.taken_on)
    @rule(number=numbers, wish=wishes)
    def acquire_many_again(self, number: int, wish: dict[str, Any]) -> None:
        name = sorted(self.taken_on)[number % len(self.taken_on)]
        count, owner = self.taken_on[name]
        self.send_bundle(name, count, wish | ({"owner": owner} if number % 4 else {}))

    def send_bundle(self, name: str, count: int, wish: dict[str, Any]) -> None:
        spec, asked = self.wish(name, count, wish)
        expected = all_as_raised(self.model.acquire(asked))
        self.answers(self.store.acquire_many(spec, count), expected)
        if expected[0] == "all":
            self.taken_on[name] = count, str(wish["owner"])

    @rule(chosen=st.lists(st.tuples(ref_kinds, numbers), min_size=1, max_size=3))
    def begin(self, chosen: list[tuple[str, int]]) -> None:
        refs = [self.ref(kind, number) for kind, number in chosen]
        expected = self.model.begin(refs)
        lost = any(answer[0] != "leased" for answer in expected)
        self.answers(self.store.begin([self.lease_ref(ref) for ref in refs]), ("lost",) if lost else ("all", *expected))

    @rule(kind=ref_kinds, number=numbers, again=st.sampled_from([True, True, False]))
    def reject(self, kind: str, number: int, again: bool) -> None:
        """The holder finds its container unfit; said twice, as if the first reply was lost."""
        ref = self.ref(kind, number)
        for _ in range(2):
            expected = self.model.reject(ref, us(LIVENESS_S["mortal"]), again=again)
            work = self.store.reject(self.lease_ref(ref), "no answer", again=again, liveness_s=LIVENESS_S["mortal"])
            self.answers(work, ("lost",) if len(expected) == 1 else expected)
