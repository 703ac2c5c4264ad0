"""The state machine: what clients, managers, clocks and networks do to a pool, on the real scripts and on the model.

Each rule does one thing to both and compares the answers; after each rule the keys in Redis are compared with the
model's state, and checked against the promises that hold whatever the model says.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any, ClassVar, Literal

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pool.models import LeaseRef, Outcome, Priority, State
from pool.states import TRANSITIONS
from pool.store import Grant, PoolStore, RequestSpec
from pool.store.connection import POOLS_KEY
from tests.model.backend import Backend
from tests.model.compare import all_as_raised, answer_of, as_raised, differences, expected_view, leased, real_view, us
from tests.model.keys import Disagreement, Keys, check_promises, ensure, read_keys
from tests.model.reference import SECOND, Answer, Ref, Reference
from tests.model.state import Rules, Wish
from tests.support import info, settings

START_US = 1_800_000_000 * SECOND
#: What every token begins with, so that a leak is seen wherever it is.
SECRET = "secret-"
POOLS: list[dict[str, Any]] = [
    {"max_queued": 5},
    {"max_queued": 5, "aging_s": 10.0},
    {"max_queued": 5, "on_release": "none"},
    {"max_queued": 5, "max_leases_per_owner": 1, "max_queued_per_owner": 2},
    {"max_queued": 5, "max_leases": 1, "on_release": "none"},
]
#: Moves that the scripts of grant and release make, not a manager.
_RESERVED = {(State.AVAILABLE, State.ALLOCATED), (State.ALLOCATED, State.AVAILABLE), (State.ALLOCATED, State.CLEANING)}
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


class PoolMachine(RuleBasedStateMachine):
    """One pool of one to three containers. `backend` is set by a subclass."""

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
        #: Bundle → how many, and whose.
        self.taken_on: dict[str, tuple[int, str]] = {}
        #: Container → fence of a confirmed lease that it was not cleaned after.
        self.used: dict[str, int] = {}

    @property
    def prefix(self) -> str:
        return f"cp:{{{self.store.pool}}}:"

    def do(self, work: Any) -> Any:
        """Send one command at the time that the model's clock shows."""
        PoolMachine.operations += 1
        self.connection.clock_us = self.model.clock
        return self.backend.run(work)

    def answers(self, work: Any, expected: Answer) -> None:
        """Send one command, whose answer must be the model's."""
        real = self.do(answer_of(work))
        ensure(real == expected, "another answer than the model's", real, expected)

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

    @rule(count=st.integers(1, 4), wish=wishes)
    def acquire_many(self, count: int, wish: dict[str, Any]) -> None:
        self.asked += 1
        self.send_bundle(f"b{self.asked:02}", count, wish)

    @precondition(lambda self: len(self.model.leases()) > 1 and not self.model.queue())
    @rule(number=numbers, wish=wishes)
    def somebody_urgent_comes_while_a_bundle_is_served(self, number: int, wish: dict[str, Any]) -> None:
        self.asked += 1
        lasting = {"process": "steady", "wait_s": 60.0, "timeout_s": 60.0}
        self.send_bundle(f"b{self.asked:02}", 2, wish | lasting | {"priority": Priority.LOW})
        self.turn_over(number, Outcome.PASSED, 0.0)
        self.asked += 1
        self.send(f"r{self.asked:02}", wish | lasting | {"priority": Priority.CRITICAL})

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

    def wish(self, name: str, size: int | None, wish: dict[str, Any]) -> tuple[RequestSpec, Wish]:
        """A request as the store takes it, and as the model does."""
        spec = RequestSpec(request_id=name, token=SECRET + name, liveness_s=LIVENESS_S[wish["process"]], **wish)
        return spec, Wish(
            name, spec.token, spec.owner, spec.process, int(spec.priority), us(spec.wait_s), us(spec.ttl_s),
            us(spec.timeout_s), us(spec.liveness_s), size,
        )  # fmt: skip

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
        moves = sorted(new for new in TRANSITIONS[old] if (old, new) not in _RESERVED)
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
        async with self.connection.plain() as redis:
            keys = await read_keys(redis, self.prefix, after=self.last_event)
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
