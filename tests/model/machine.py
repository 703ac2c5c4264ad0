"""The state machine: what clients, managers, clocks and networks do to a pool, on the real scripts and on the model.

Each rule does one thing to both and compares the answers; after each rule the keys in Redis are compared with the
model's state, and checked against the promises that hold whatever the model says.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from pool.models import LeaseRef, Outcome, Priority, State
from pool.states import MOVES_OF_COMMANDS, MOVES_OF_SPARES, TRANSITIONS
from pool.store import Grant, RequestSpec
from tests.model.compare import as_raised, leased, us
from tests.model.keys import ensure
from tests.model.pair import SECRET, Pair
from tests.model.reference import SECOND, Ref
from tests.model.state import Rules, Wish
from tests.support import info, settings

POOLS: list[dict[str, Any]] = [
    {"max_queued": 5},
    {"max_queued": 5, "aging_s": 10.0},
    {"max_queued": 5, "on_release": "none"},
    {"max_queued": 5, "max_leases_per_owner": 1, "max_queued_per_owner": 2},
    {"max_queued": 5, "max_leases": 1, "on_release": "none"},
]
#: Moves that the scripts make themselves, not a manager.
_RESERVED = {*MOVES_OF_COMMANDS, *MOVES_OF_SPARES}
_REASON = {State.RESETTING: "manual", State.UNHEALTHY: "on_health_failure"}

numbers = st.integers(0, 11)
#: How long a process counts as alive: one seems to live for ever, the other dies whenever it is not heard of.
LIVENESS_S = {"steady": 120.0, "mortal": 3.0}
processes = st.sampled_from(sorted(LIVENESS_S))
owners = st.sampled_from(["o1", "o2"])
wishes = st.fixed_dictionaries(
    {
        "owner": owners,
        "process": processes,
        "priority": st.sampled_from(list(Priority)),
        "wait_s": st.sampled_from([60.0, 60.0, 60.0, 5.0, 0.0, 301.0]),
        "ttl_s": st.sampled_from([0.0, 0.0, 2.0]),
        "timeout_s": st.sampled_from([60.0, 60.0, 0.0, 10.0, 3601.0]),
    }
)
ref_kinds = st.sampled_from(["held", "held", "held", "held", "past", "stale fence", "wrong token", "unknown"])


class PoolMachine(Pair):
    """One pool of one to three containers."""

    def ref(self, kind: str, number: int) -> Ref:
        held = [
            (lease.request, self.model.containers[name].fence, lease.token)
            for name, lease in sorted(self.model.leases().items())
        ]
        past = [
            (name, request.fence, str(request.token))
            for name, request in self.model.requests.items()
            if request.fence is not None and request.state not in ("granted", "leased")
        ]
        refs = past if kind == "past" else held
        if kind == "unknown" or not refs:
            return "nobody", self.model.last, SECRET + "nobody"
        name, fence, token = refs[number % len(refs)]
        if kind == "stale fence":
            return name, fence - 1, token
        return name, fence, SECRET + "guessed" if kind == "wrong token" else token

    def request(self, number: int) -> str:
        """Some request, or one that nobody made; those first whose next step matters most."""
        urgency = {"granted": 0, "waiting": 1, "leased": 2}
        newest = list(self.model.requests)[::-1]
        latest = sorted(newest, key=lambda name: urgency.get(self.model.requests[name].state, 3))
        return latest[number % min(len(latest), 6)] if latest and number < 11 else "nobody"

    def lease_ref(self, ref: Ref) -> LeaseRef:
        return LeaseRef(self.store.pool, *ref)

    # The pool

    @initialize(pool=st.sampled_from(POOLS), size=st.integers(1, 3))
    def open(self, pool: dict[str, Any], size: int) -> None:
        self.settings = settings(adaptive_timeouts=False, **pool)
        self.start(size)

    def start(self, size: int) -> None:
        """Open the pool, and bring new containers up."""
        created, _ = self.do(self.store.open(self.settings, "first"))
        ensure(created == self.model.open(Rules.of(self.settings)), "created, or not", created)
        for name in "abc"[:size]:
            self.do(self.store.register(info(name), spec="s"))
            self.model.register(name, 1)
            self.move(name, State.AVAILABLE)

    @rule()
    def reopen(self) -> None:
        known = self.model.rules is not None
        self.start(0 if known else 2)

    @precondition(lambda self: len(self.model.requests) > 5)
    @rule()
    def drain(self) -> None:
        self.send_drain("manager")

    def send_drain(self, by: Literal["manager", "operator"]) -> None:
        held = self.do(self.store.drain(by=by))
        ensure(held == self.model.drain(by), "another number of leases is held in a draining pool", held)

    # Clients

    @rule(wish=wishes)
    def acquire(self, wish: dict[str, Any]) -> None:
        self.asked += 1
        self.send(f"r{self.asked:02}", wish)

    @rule(several=st.lists(wishes, min_size=1, max_size=3))
    def acquire_and_stay(self, several: list[dict[str, Any]]) -> None:
        """The most usual wishes, so that queues are long enough for their order to matter."""
        for wish in several:
            self.asked += 1
            self.send(f"r{self.asked:02}", wish | {"wait_s": 60.0, "timeout_s": min(wish["timeout_s"], 60.0)})

    @rule(number=numbers, wish=wishes)
    def acquire_again(self, number: int, wish: dict[str, Any]) -> None:
        """The reply was lost, and the client sends the same request again; or somebody else uses its id."""
        known = self.model.requests.get(self.request(number))
        owner = known.owner if known and number % 4 else None
        self.send(self.request(number), wish | {"owner": owner or wish["owner"]})

    def send(self, name: str, wish: dict[str, Any]) -> None:
        spec, asked = self.wish(name, None, wish)
        self.answers(self.store.acquire(spec), as_raised(self.model.acquire(asked)[0]))

    def wish(self, name: str, size: int | None, wish: dict[str, Any]) -> tuple[RequestSpec, Wish]:
        """A request as the store takes it, and as the model does."""
        spec = RequestSpec(request_id=name, token=SECRET + name, liveness_s=LIVENESS_S[wish["process"]], **wish)
        return spec, Wish(
            name, spec.token, spec.owner, spec.process, int(spec.priority), us(spec.wait_s), us(spec.ttl_s),
            us(spec.timeout_s), us(spec.liveness_s), size,
        )  # fmt: skip

    @rule(process=processes, chosen=st.lists(numbers, min_size=1, max_size=4, unique=True))
    def collect(self, process: str, chosen: list[int]) -> None:
        liveness_s = LIVENESS_S[process]
        names = list(dict.fromkeys(self.request(number) for number in chosen))
        real = self.do(self.store.collect(process, names, liveness_s=liveness_s))
        told = [leased(a.lease) if isinstance(a, Grant) else ("gone",) if a is None else (a.value,) for a in real]
        expected = self.model.collect(process, names, us(liveness_s))
        ensure(told == [("gone",) if a == ("stale",) else a for a in expected], "collected", told, expected)

    @rule(process=processes, chosen=st.lists(st.tuples(ref_kinds, numbers), min_size=1, max_size=3))
    def heartbeat(self, process: str, chosen: list[tuple[str, int]]) -> None:
        liveness_s = LIVENESS_S[process]
        refs = [self.ref(kind, number) for kind, number in chosen]
        real = self.do(self.store.heartbeat(process, refs, liveness_s=liveness_s))
        told = [None if expiry is None else us(expiry) for expiry in real]
        expected = self.model.heartbeat(process, refs, us(liveness_s))
        ensure(told == expected, "heartbeats", told, expected)

    @rule(
        kind=ref_kinds,
        number=numbers,
        extra_s=st.sampled_from([1.0, 30.0, 3600.0]),
        known=st.sampled_from([None, 0, 1]),
    )
    def extend(self, kind: str, number: int, extra_s: float, known: int | None) -> None:
        ref = self.ref(kind, number)
        for _ in range(2):  # the second time as if the first reply was lost
            work = self.store.extend(self.lease_ref(ref), extra_s=extra_s, reason="more to do", used=known)
            expected = self.model.extend(ref, us(extra_s), known)
            self.answers(work, ("lost",) if len(expected) == 1 else as_raised(expected))

    @rule(kind=ref_kinds, number=numbers, outcome=st.sampled_from(list(Outcome)))
    def release(self, kind: str, number: int, outcome: Outcome) -> None:
        ref = self.ref(kind, number)
        expected = self.model.release(ref, outcome.value)
        self.answers(self.store.release(self.lease_ref(ref), outcome), as_raised((expected,)))
        if expected == "released" and outcome is Outcome.PASSED and self.model.rules and self.model.rules.hand_over:
            self.used = {name: fence for name, fence in self.used.items() if fence != ref[1]}

    @precondition(lambda self: self.model.leases())
    @rule(number=numbers, outcome=st.sampled_from(list(Outcome)), takes_s=st.sampled_from([0.0, 0.0, 3.0, 5.0, 61.0]))
    def turn_over(self, number: int, outcome: Outcome, takes_s: float) -> None:
        """The most usual course: a lease is given back, and its container cleaned, which takes its time."""
        held = sorted(self.model.leases())
        name = held[number % len(held)]
        self.release("held", number, outcome)
        self.redis_agrees()
        self.model.clock += us(takes_s)
        if self.model.containers[name].state == "cleaning":
            self.move(name, State.AVAILABLE)

    @precondition(lambda self: self.model.leases())
    @rule(number=numbers, wish=wishes)
    def somebody_dies_waiting(self, number: int, wish: dict[str, Any]) -> None:
        self.asked += 1
        self.send(f"r{self.asked:02}", wish | {"process": "mortal", "wait_s": 60.0, "timeout_s": 60.0})
        self.model.clock += us(LIVENESS_S["mortal"]) + SECOND
        self.turn_over(number, Outcome.PASSED, 0.0)

    @precondition(lambda self: self.model.leases())
    @rule()
    def everybody_beats(self) -> None:
        for number in range(len(self.model.leases())):
            self.heartbeat("steady", [("held", number)])

    @precondition(lambda self: any(not lease.confirmed for lease in self.model.leases().values()))
    @rule()
    def a_grant_lapses(self) -> None:
        """Its client is gone, or its reply is lost for too long."""
        due = max(lease.expires_at for lease in self.model.leases().values() if not lease.confirmed)
        self.model.clock = max(self.model.clock, due + SECOND)
        self.reap()

    @rule(number=numbers, right=st.sampled_from([True, True, True, False]))
    def cancel(self, number: int, right: bool) -> None:
        name = self.request(number)
        self.withdraw(name, SECRET + (name.partition(".")[0] if right else "guessed"))

    @rule()
    def cancel_before_it_arrives(self) -> None:
        self.asked += 1
        self.withdraw(f"r{self.asked:02}", SECRET + "any")

    def withdraw(self, name: str, token: str) -> None:
        expected = self.model.cancel(name, token)
        self.answers(self.store.cancel(name, token), ("refused",) if expected == "conflict" else (expected,))
        if expected == "cancelled":  # what it was granted was never used
            fence = self.model.requests[name].fence
            self.used = {container: used for container, used in self.used.items() if used != fence}

    # Managers

    @rule()
    def reap(self) -> None:
        real = self.do(self.store.reap())
        expected = self.model.reap()
        ensure(real == expected, "another number was reaped", real, expected)

    @precondition(
        lambda self: any(c.state in ("starting", "cleaning", "resetting") for c in self.model.containers.values())
    )
    @rule(number=numbers)
    def finish_reset(self, number: int) -> None:
        busy = [n for n, c in self.model.containers.items() if c.state in ("starting", "cleaning", "resetting")]
        self.move(busy[number % len(busy)], State.AVAILABLE)

    @precondition(lambda self: self.model.containers)
    @rule(number=numbers, move=numbers, late=st.sampled_from([False, False, True]))
    def manage(self, number: int, move: int, late: bool) -> None:
        """Any move that a manager may make, by what it read now or by what it read before the last change."""
        names = sorted(self.model.containers)
        name = names[number % len(names)]
        old = State(self.model.containers[name].state)
        moves = sorted(new for new in TRANSITIONS[old] if (old, new) not in _RESERVED and new is not State.PAUSED)
        self.move(name, moves[move % len(moves)], late=late)

    def move(self, name: str, to: State, *, late: bool = False) -> None:
        record = self.do(self.store.container(name))
        if late:
            record = replace(record, revision=record.revision - 1)
        facts = {"reason": _REASON[to]} if to in _REASON else {"failures": "0"}
        real = self.do(self.store.transition(record, to, store=facts))
        expected = self.model.transition(name, (record.state.value, record.revision), to.value, facts)
        ensure(real == expected, "a compare-and-set went otherwise", name, record.state, to, real)
        if real and to is State.AVAILABLE:
            self.used.pop(name, None)

    @precondition(lambda self: self.model.rules)
    @rule(name=st.sampled_from("abc"), generation=st.integers(1, 2))
    def register(self, name: str, generation: int) -> None:
        self.do(self.store.register(info(name, generation), spec="s"))
        self.model.register(name, generation)

    @precondition(lambda self: self.model.rules)
    @rule(wanted=st.sampled_from(["abc", "abc", "ab", "c"]))
    def reconcile(self, wanted: str) -> None:
        unknown, forgotten = self.do(self.store.reconcile(list(wanted)))
        expected = self.model.reconcile(list(wanted))
        ensure((set(unknown), set(forgotten)) == expected, "reconciled", unknown, forgotten, expected)
        for name in forgotten:
            self.used.pop(name, None)

    @precondition(lambda self: self.model.rules)
    @rule()
    def look(self) -> None:
        """What everybody may see: the order of the queue is right, and no token is in it."""
        reply = self.do(self.connection.run("snapshot", self.prefix + "meta", ()))
        status = self.do(self.store.status())
        self.model.tick()
        self.model.tick()
        ensure(SECRET not in repr(reply), "a token is in the snapshot", reply)
        seen = [(waiting.position, waiting.request_id) for waiting in status.queue]
        ensure(seen == list(enumerate(self.model.queue(), start=1)), "another queue", seen)
        states = {record.id: record.state.value for record in status.containers}
        ensure(states == {n: c.state for n, c in self.model.containers.items()}, "other states", states)

    # Time and trouble

    @rule(seconds=st.sampled_from([0.000001, 0.5, 1.0, 2.0, 2.5, 3.0, 5.0, 5.0, 15.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.model.clock += us(seconds)

    @rule(seconds=st.sampled_from([-3600.0, -10.0, -1.0, -0.5, 10.0, 3600.0]))
    def the_clock_steps(self, seconds: float) -> None:
        self.model.clock += us(seconds)

    @rule()
    def scripts_are_flushed(self) -> None:
        async def flush() -> None:
            async with self.connection.plain() as redis:
                await redis.script_flush()

        self.backend.run(flush())

    @precondition(lambda self: len(self.model.requests) > 12)
    @rule()
    def redis_loses_everything(self) -> None:
        self.backend.run(self.delete_keys())
        # A server that lost its data and whose clock then ran behind could hand out an old fence again.
        self.model.clock = max(self.model.clock, self.model.last)
        self.model.lose_everything()
        self.used.clear()
        self.last_event = "0"
