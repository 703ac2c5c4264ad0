"""The rules of allocation in plain Python: what every command does and answers, without Redis.

Written from the promises, not from the scripts: no indexes, no keys, nothing cached. Whoever is next is found by
looking at everybody. Each public method stands for one command and answers in tuples whose first word says what
happened. The one thing taken over exactly is the clock, since fences and times are compared to the microsecond: a
command reads it once; reaping and cancelling once more for each container that they give on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.model.state import Container, Lease, Request, Rules, Wish

Answer = tuple[Any, ...]
Ref = tuple[str, int, str]

WORK = frozenset({"starting", "cleaning", "resetting", "unhealthy"})
SECOND = 1_000_000


class Reference:
    """One pool.

    Attributes:
        clock: The server's clock; whoever drives the model moves it.
        last: The pool's clock: the time of the last command.
        hints: Wake-ups owed to processes since `take_hints`.
        grants: Every grant since `take_grants`: container, request, fence.
    """

    def __init__(self, clock: int) -> None:
        self.clock = clock
        self.lose_everything()

    def lose_everything(self) -> None:
        self.rules: Rules | None = None
        self.last = self.offset = 0
        self.drained_by: str | None = None
        self.containers: dict[str, Container] = {}
        self.requests: dict[str, Request] = {}
        self.alive_until: dict[str, int] = {}
        self.hints: Counter[tuple[str, str]] = Counter()
        self.grants: list[tuple[str, str, int]] = []

    # Who is where

    def tick(self) -> int:
        """The pool's clock follows the server's, but always rises; a big step back does not freeze it."""
        now = self.clock if self.clock > self.last else self.clock + self.offset
        if self.clock > self.last:
            self.offset = 0
        elif now <= self.last:
            if self.last - now > SECOND:
                self.offset = self.last + 1 - self.clock
            now = self.last + 1
        self.last = now
        return now

    def queue(self) -> list[str]:
        waiting = [name for name, request in self.requests.items() if request.state == "waiting"]
        return sorted(waiting, key=self._place)

    def _place(self, name: str) -> tuple[bool, int, str]:
        """The rest of a bundle that was begun comes first, of the one that was begun first."""
        request = self.requests[name]
        return request.began is None, request.score if request.began is None else request.began, name

    def ready(self) -> list[str]:
        idle = [name for name, c in self.containers.items() if c.state == "available" and not c.draining]
        return sorted(idle, key=lambda name: (self.containers[name].since, name))

    def leases(self) -> dict[str, Lease]:
        return {name: container.lease for name, container in self.containers.items() if container.lease}

    def held(self) -> Counter[str]:
        return Counter(lease.owner for lease in self.leases().values())

    def queued(self) -> Counter[str]:
        return Counter(str(self.requests[name].owner) for name in self.queue())

    def _alive(self, process: str | None, now: int) -> bool:
        return process is not None and self.alive_until.get(process, 0) > now

    def _touch(self, process: str, until: int) -> None:
        self.alive_until[process] = max(until, self.alive_until.get(process, 0))

    def _hint(self, process: str | None, text: str) -> None:
        self.hints[str(process), text] += 1

    def _holder(self, ref: tuple[str, int | None, str | None], now: int) -> tuple[str | None, str]:
        """Which container a lease holds at `now`, else why none: over is over, whether or not the reaper came."""
        name, fence, token = ref
        request = self.requests.get(name)
        if request is None:
            return None, "gone"
        if (request.fence, request.token) != (fence, token):
            return None, "stale"
        if request.state not in ("granted", "leased"):
            return None, request.state
        for container, lease in self.leases().items():
            if lease.request == name and lease.expires_at > now:
                return container, ""
        return None, "lost"

    # What happens to a container

    def _enter(self, name: str, state: str, now: int) -> None:
        container = self.containers[name]
        container.state, container.since, container.thaw_asked = state, now, None
        if state in WORK:
            self._hint("manager", name)

    def _grant(self, name: str, request_id: str, now: int, *, confirmed: bool) -> None:
        assert self.rules is not None
        request, container = self.requests[request_id], self.containers[name]
        deadline = (request.wait_until if request.bundle else now) + request.timeout
        lives = request.ttl if confirmed else self.rules.claim_ttl
        container.lease = Lease(
            request_id, str(request.token), str(request.owner), str(request.process), request.priority, request.ttl,
            confirmed, request.enqueued_at, now, min(now + lives, deadline), deadline,
        )  # fmt: skip
        container.fence = request.fence = now
        request.state = "leased" if confirmed else "granted"
        self.grants.append((name, request_id, now))
        self._enter(name, "allocated", now)

    def _leave_queue(self, name: str, state: str) -> None:
        request = self.requests[name]
        request.state = state
        self._hint(request.process, name)

    def _begin_bundle(self, request: Request, now: int) -> None:
        if request.began is None:
            for name in request.bundle:
                if name in self.requests:
                    self.requests[name].began = now

    def _over_limit(self, owner: str, more: int = 1) -> str | None:
        assert self.rules is not None
        if self.rules.max_leases is not None and len(self.leases()) + more > self.rules.max_leases:
            return "max_leases"
        most = self.rules.max_leases_per_owner
        if most is not None and self.held()[owner] + more > most:
            return "max_leases_per_owner"
        return None

    def _settle(self, name: str, now: int) -> None:
        """A clean container goes to the best live waiter at once; available is what nobody waits for, or may get."""
        for fact in ("reason", "level", "outcome", "note"):
            self.containers[name].facts.pop(fact, None)
        for request_id in [] if self.containers[name].draining else self.queue():
            request = self.requests[request_id]
            if request.wait_until <= now:
                self._leave_queue(request_id, "timed_out")
            elif not self._alive(request.process, now):
                self._leave_queue(request_id, "lost")
            elif self._over_limit(str(request.owner)):
                self._leave_queue(request_id, "over_limit")
            else:
                self._grant(name, request_id, now, confirmed=False)
                self._hint(request.process, request_id)
                self._begin_bundle(request, now)
                return
        self._enter(name, "available", now)

    def _finish(self, name: str, state: str | None, request_state: str, now: int, **facts: str) -> Lease:
        """End a lease; without a state the caller settles the container in the same step."""
        container = self.containers[name]
        lease = container.lease
        assert lease is not None
        self.requests[lease.request].state = request_state
        container.lease = None
        container.uses += 1
        container.facts |= {"level": "0"} | facts
        if state:
            self._enter(name, state, now)
        return lease

    def _lease_answer(self, name: str, now: int) -> Answer:
        lease = self.containers[name].lease
        assert lease is not None
        if not lease.confirmed:
            lease.confirmed = True
            lease.expires_at = min(now + lease.ttl, lease.deadline_at)
            self.requests[lease.request].state = "leased"
        return self.lease_answer(name, lease)

    def lease_answer(self, name: str, lease: Lease) -> Answer:
        """How a lease reads to its holder."""
        who = (lease.request, lease.owner, lease.priority, lease.token, self.containers[name].fence)
        times = (lease.granted_at, lease.expires_at, lease.deadline_at, lease.ttl)
        return ("leased", name, *who, *times, lease.extensions)

    # The clients' commands

    def acquire(self, wish: Wish) -> list[Answer]:
        """One answer for each request, or one for all of them that says why they are refused."""
        if self.rules is None:
            return [("unknown_pool",)]
        if wish.names[0] in self.requests:
            return [self._acquire_again(wish, name) for name in wish.names]
        if self.drained_by:
            return [("draining",)]
        if wish.wait > self.rules.max_wait or wish.timeout > self.rules.max_timeout:
            return [("limit",)]
        if len(wish.names) > max(len(self.containers), 1 if wish.size is None else 0):
            return [("too_many",)]
        if limit := self._over_limit(wish.owner, len(wish.names)):
            return [("over_limit", limit)]
        now = self.tick()
        free = self.ready()[: len(wish.names)]
        left = len(wish.names) - len(free)
        if left and wish.wait <= 0 and left + len(self.queue()) <= len(self._frozen()):
            wish = replace(wish, wait=self.rules.claim_ttl)  # thawing takes a moment
        if left and (refusal := self._no_place(wish, left)):
            return [refusal]
        return self._take_on(wish, free, now)

    def _take_on(self, wish: Wish, free: list[str], arrived: int) -> list[Answer]:
        assert self.rules is not None
        ttl, timeout = wish.ttl or self.rules.ttl, wish.timeout or self.rules.timeout
        score, bundle = arrived + wish.priority * self.rules.weight, tuple(wish.names) if wish.size else ()
        for name in wish.names:
            self.requests[name] = Request(
                "waiting", wish.owner, wish.process, wish.priority, wish.token, ttl, timeout, arrived,
                arrived + wish.wait, score, bundle=bundle,
            )  # fmt: skip
        if len(free) < len(wish.names):
            self._touch(wish.process, arrived + wish.liveness)
        answers: list[Answer] = []
        for name, container in zip(wish.names, free, strict=False):
            now = self.tick() if answers else arrived
            self._grant(container, name, now, confirmed=True)
            answers.append(self._lease_answer(container, now))
        if 0 < len(free) < len(wish.names):
            self._begin_bundle(self.requests[wish.names[0]], arrived)
        for _ in range(len(wish.names) - len(free)):
            self._thaw_one(arrived)
        queue = self.queue()
        return answers + [("waiting", queue.index(name) + 1) for name in wish.names[len(free) :]]

    def _frozen(self) -> list[str]:
        """Containers to be thawed for whoever waits, those first that nobody has asked for the longest."""
        paused = [name for name, c in self.containers.items() if c.state == "paused" and not c.draining]
        return sorted(paused, key=lambda name: (self.containers[name].thaw_asked or self.containers[name].since, name))

    def _thaw_one(self, now: int) -> None:
        for name in self._frozen()[:1]:
            self.containers[name].thaw_asked = now
            self._hint("manager", name)

    def _no_place(self, wish: Wish, more: int) -> Answer | None:
        assert self.rules is not None
        per_owner = self.rules.max_queued_per_owner
        if wish.wait <= 0:
            return ("busy",)
        if len(self.queue()) + more > self.rules.max_queued:
            return ("over_limit", "max_queued")
        if per_owner is not None and self.queued()[wish.owner] + more > per_owner:
            return ("over_limit", "max_queued_per_owner")
        return None

    def _acquire_again(self, wish: Wish, name: str) -> Answer:
        """The same request id gets the same answer, a lease included; another owner gets none."""
        request = self.requests.get(name, Request("gone"))
        if request.owner not in (None, wish.owner):
            return ("conflict",)
        if request.state == "cancelled":
            return ("ended", "cancelled")
        now = self.tick()
        if request.state == "waiting":
            request.process = wish.process
            self._touch(wish.process, now + wish.liveness)
        return self._answer_again(name, now)

    def _answer_again(self, name: str, now: int) -> Answer:
        request = self.requests.get(name, Request("gone"))
        if request.state == "waiting":
            return ("waiting", self.queue().index(name) + 1)
        container, why = self._holder((name, request.fence, request.token), now)
        return self._lease_answer(container, now) if container else ("ended", why)

    def begin(self, refs: Sequence[Ref]) -> list[Answer]:
        """The bundle is complete: what its leases were granted for runs from now on, but only the first time."""
        if self.rules is None:
            return [("gone",) for _ in refs]
        now = self.tick()
        answers: list[Answer] = []
        for ref in refs:
            container, why = self._holder(ref, now)
            lease = self.containers[container].lease if container else None
            if container is None or lease is None:
                answers.append((why,))
                continue
            request = self.requests[ref[0]]
            if not request.begun:
                request.begun = True
                lease.granted_at, lease.deadline_at = now, now + request.timeout
                lease.expires_at = min(now + lease.ttl, lease.deadline_at)
            answers.append(self._lease_answer(container, now))
        return answers

    def reject(self, ref: Ref, liveness: int, *, again: bool) -> Answer:
        """The container is unfit: it goes to recovery, and its request gets another one, or its old place."""
        if self.rules is None:
            return ("gone",)
        now = self.tick()
        request = self.requests.get(ref[0])
        if request and (request.rejected, request.token) == ref[1:]:
            return self._answer_again(ref[0], now)
        container, why = self._holder(ref, now)
        if container is None or request is None:
            return (why,)
        self._finish(container, "unhealthy", "unfit", now, reason="on_health_failure")
        request.rejected, request.begun = ref[1], False
        if not again or self.drained_by:
            request.state = "cancelled" if again else "unfit"
            return ("ended", request.state)
        if ready := self.ready():
            at = self.tick()
            self._grant(ready[0], ref[0], at, confirmed=True)
            return self._lease_answer(ready[0], at)
        if request.wait_until <= now:
            request.state = "timed_out"
            return ("ended", "timed_out")
        request.state = "waiting"
        self._touch(str(request.process), now + liveness)
        self._begin_bundle(request, now)
        self._thaw_one(now)
        return ("waiting", self.queue().index(ref[0]) + 1)

    def collect(self, process: str, names: Sequence[str], liveness: int) -> list[Answer]:
        if self.rules is None:
            return [("gone",) for _ in names]
        now = self.tick()
        self._touch(process, now + liveness)
        answers: list[Answer] = []
        for name in names:
            request = self.requests.get(name)
            state = request.state if request else "gone"
            container = None
            if request and state in ("granted", "leased"):
                container, state = self._holder((name, request.fence, request.token), now)
            answers.append(self._lease_answer(container, now) if container else (state,))
        return answers

    def heartbeat(self, process: str, refs: Sequence[Ref], liveness: int) -> list[int | None]:
        if self.rules is None:
            return [None for _ in refs]
        now = self.tick()
        self._touch(process, now + liveness)
        expiries: list[int | None] = []
        for ref in refs:
            container, _ = self._holder(ref, now)
            lease = self.containers[container].lease if container else None
            if lease:
                lease.expires_at = min(now + lease.ttl, lease.deadline_at)
            expiries.append(lease.expires_at if lease else None)
        return expiries

    def extend(self, ref: Ref, extra: int, used: int | None) -> Answer:
        if self.rules is None:
            return ("gone",)
        now = self.tick()
        container, why = self._holder(ref, now)
        lease = self.containers[container].lease if container else None
        if container is None or lease is None:
            return (why,)
        if used is None or lease.extensions != used + 1:
            deadline = lease.deadline_at + extra
            if lease.extensions >= self.rules.max_extensions:
                return ("denied", "count")
            if deadline - lease.granted_at > self.rules.max_timeout:
                return ("denied", "bound")
            lease.deadline_at, lease.expires_at = deadline, min(now + lease.ttl, deadline)
            lease.extensions += 1
        return self.lease_answer(container, lease)

    def release(self, ref: Ref, outcome: str) -> str:
        if self.rules is None:
            return "gone"
        now = self.tick()
        container, why = self._holder(ref, now)
        if container is None:
            return "released_before" if why == "released" else why
        hand_over = outcome == "passed" and self.rules.hand_over
        state = None if hand_over else "cleaning"
        self._finish(container, state, "released", now, reason="on_release", outcome=outcome)
        if hand_over:
            self._settle(container, now)
        return "released"

    def cancel(self, name: str, token: str) -> str:
        if self.rules is None:
            return "unknown_pool"
        request = self.requests.get(name)
        if request is None:
            self.requests[name] = Request("cancelled")
            return "cancelled"
        if request.token is not None and request.token != token:
            return "conflict"
        if request.state == "waiting":
            self._leave_queue(name, "cancelled")
            self.tick()
            return "cancelled"
        if request.state not in ("granted", "leased"):
            return request.state
        return self._cancel_lease(name, request, self.tick())

    def _cancel_lease(self, name: str, request: Request, now: int) -> str:
        container, why = self._holder((name, request.fence, request.token), now)
        if container is None:
            return why
        if request.state == "leased" and (request.begun or not request.bundle):
            self._finish(container, "cleaning", "released", now, reason="on_release", outcome="error")
            return "released"
        self._finish(container, None, "cancelled", now)
        self._settle(container, self.tick())
        return "cancelled"

    # The managers' commands

    def open(self, rules: Rules) -> bool:
        created, self.rules = self.rules is None, rules
        self.drained_by = self.drained_by if self.drained_by == "operator" else None
        self.tick()
        return created

    def drain(self, by: str) -> int:
        if self.rules is None:
            return 0
        self.drained_by = "operator" if self.drained_by == "operator" else by
        self.tick()
        for name in self.queue():
            self._leave_queue(name, "cancelled")
        return len(self.leases())

    def drain_container(self, name: str) -> Answer:
        if self.rules is None:
            return ("unknown_pool",)
        container = self.containers.get(name)
        if container is None:
            return ("unknown",)
        if not container.draining:
            container.draining = True
            self.tick()
        return ("done",)

    def resume(self, name: str) -> Answer:
        """A container that is free again is nobody's own: the best waiter gets it in the same step."""
        if self.rules is None:
            return ("unknown_pool",)
        container = self.containers.get(name)
        if name and container is None:
            return ("unknown",)
        if container is None and self.drained_by:
            self.drained_by = None
            self.tick()
        if container is not None and container.draining:
            container.draining = False
            now = self.tick()
            if container.state == "available":
                self._settle(name, now)
            if container.state == "paused":
                container.thaw_asked = now
                if self.queue():
                    self._hint("manager", name)
        return ("done",)

    def reap(self) -> tuple[int, int, int]:
        if self.rules is None:
            return 0, 0, 0
        now = self.tick()
        waits = grants = leases = 0
        for name in self.queue():
            request = self.requests[name]
            if request.wait_until <= now or not self._alive(request.process, now):
                self._leave_queue(name, "timed_out" if request.wait_until <= now else "lost")
                waits += 1
        due = [(lease.expires_at, name) for name, lease in self.leases().items() if lease.expires_at <= now]
        for _, name in sorted(due):
            lease = self.leases()[name]
            if lease.confirmed:
                self._finish(name, "resetting", "lost", now, reason="on_expiry")
                leases += 1
            else:
                self._finish(name, None, "lost", now)
                self._settle(name, self.tick())
                grants += 1
            self._hint(lease.process, lease.request)
        for process in [name for name, until in self.alive_until.items() if until <= now - 60 * SECOND]:
            del self.alive_until[process]
        return waits, grants, leases

    def register(self, name: str, generation: int) -> None:
        container = self.containers.get(name)
        if container is None:
            now = self.tick()
            self.containers[name] = Container("starting", now, generation, facts={"level": "0"})
            self._hint("manager", name)
        elif container.generation != generation:
            container.generation, container.uses = generation, 0

    def transition(self, name: str, read: tuple[str, int], to: str, facts: dict[str, str]) -> bool:
        """Move a container on, if it still is where the caller saw it: `read` is state and revision."""
        container = self.containers.get(name)
        if container is None or (container.state, container.since) != read:
            return False
        now = self.tick()
        if container.lease:
            lease = self._finish(name, to, "lost", now, **facts)
            self._hint(lease.process, lease.request)
            return True
        container.facts |= facts
        if to == "available":
            self._settle(name, now)
        else:
            self._enter(name, to, now)
        return True

    def reconcile(self, wanted: Sequence[str]) -> tuple[set[str], set[str]]:
        self.tick()
        unknown = set(wanted) - set(self.containers)
        gone = {name: c for name, c in self.containers.items() if name not in wanted}
        forgotten = {name for name, c in gone.items() if c.lease is None and c.state != "quarantined"}
        for name in forgotten:
            del self.containers[name]
        return unknown, forgotten
