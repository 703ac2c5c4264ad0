"""The state machine with spares, containers that stand by outside the rotation: one of its own, see draining.py."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from pool.models import Outcome, State
from tests.model.bundles import BundleMachine
from tests.model.draining import DrainingMachine
from tests.model.keys import ensure
from tests.model.machine import numbers, wishes
from tests.model.state import Rules
from tests.support import settings

#: What is said of the pool besides how many places it has.
POOLS: list[dict[str, Any]] = [
    {"max_queued": 5},
    {"max_queued": 5, "on_release": "none"},
    {"max_queued": 5, "max_leases_per_owner": 1},
]
#: Places, and containers that stand by where all are well; the last is a pool without spares.
PLACES = [(1, 1), (1, 2), (2, 1), (2, 1), (3, 0)]


class SpareMachine(BundleMachine, DrainingMachine):
    """One pool of up to three containers, some of them spares, whose size changes."""

    def __init__(self) -> None:
        super().__init__()
        self.pool: dict[str, Any] = {}
        #: How many were in rotation after the last step.
        self.rotated = 0

    @initialize(pool=st.sampled_from(POOLS), places=st.sampled_from(PLACES[:4]))
    def open(self, pool: dict[str, Any], places: tuple[int, int]) -> None:
        self.pool = pool
        self.settings = self.with_places(places)
        self.start(sum(places))

    def with_places(self, places: tuple[int, int]) -> Any:
        return settings(adaptive_timeouts=False, size=places[0], spares=places[1], **self.pool)

    @precondition(lambda self: self.model.rules)
    @rule(places=st.sampled_from(PLACES))
    def there_are_other_places(self, places: tuple[int, int]) -> None:
        """A manager starts with another size, and looks what there is; nobody loses a lease by that."""
        held = self.model.leases()
        self.settings = self.with_places(places)
        self.do(self.store.open(self.settings, "again"))
        self.model.open(Rules.of(self.settings))
        self.rotated = len(self.model.rotation())
        self.reconcile("abc")
        ensure(held.items() <= self.model.leases().items(), "somebody lost a lease", held, self.model.leases())

    @precondition(lambda self: self.model.rules)
    @rule()
    def the_books_know_no_rotation(self) -> None:
        """As an older version has left them; a manager's first look writes it anew."""

        async def forget() -> None:
            async with self.connection.plain() as redis:
                await redis.delete(self.prefix + "rotation")

        self.backend.run(forget())
        self.reconcile("abc")

    @precondition(lambda self: self.model.spares() and self.model.rotation())
    @rule(number=numbers, wish=wishes)
    def one_breaks_while_others_wait(self, number: int, wish: dict[str, Any]) -> None:
        """The first who waits is served in the very step in which a container leaves the rotation."""
        self.asked += 1
        self.send(f"r{self.asked:02}", wish | {"process": "steady", "wait_s": 60.0, "timeout_s": 60.0})
        rotation = [name for name in self.model.rotation() if self.model.containers[name].state != "available"]
        if rotation:
            self.move(rotation[number % len(rotation)], State.UNHEALTHY)

    @precondition(lambda self: any(c.state in ("resetting", "unhealthy") for c in self.model.containers.values()))
    @rule(number=numbers)
    def one_is_well_again(self, number: int) -> None:
        ill = [name for name, c in self.model.containers.items() if c.state in ("resetting", "unhealthy")]
        name = ill[number % len(ill)]
        if self.model.containers[name].state == "unhealthy":
            self.move(name, State.RESETTING)
        self.move(name, State.AVAILABLE)

    @precondition(lambda self: self.model.spares() and len(self.model.leases()) > 1)
    @rule(number=numbers, wish=wishes)
    def somebody_rejects_with_a_spare_there(self, number: int, wish: dict[str, Any]) -> None:
        self.asked += 1
        self.send(f"r{self.asked:02}", wish | {"process": "steady", "wait_s": 60.0, "timeout_s": 60.0})
        self.reject("held", number, again=True)

    @precondition(lambda self: self.model.leases() and self.model.rules and self.model.rules.rotation)
    @rule(number=numbers, outcome=st.sampled_from(list(Outcome)))
    def a_lease_ends_in_a_smaller_pool(self, number: int, outcome: Outcome) -> None:
        self.there_are_other_places((1, 2))
        self.turn_over(number, outcome, 0.0)

    @invariant()
    def the_rotation_is_kept(self) -> None:
        """Never more than there are places, but for leases in a pool that became smaller; none empty without need."""
        rules, rotated = self.model.rules, len(self.model.rotation())
        if rules is not None and rules.rotation is not None:
            ensure(rotated <= max(rules.rotation, self.rotated), "more are in rotation than there are places", rotated)
            idle = rotated < rules.rotation and self.model.spares()
            ensure(not idle, "a place is empty though a spare stands by", self.model.spares())
        self.rotated = rotated
