"""The rules of allocation in plain Python: what every command does and answers, without Redis.

Written from the promises, not from the scripts: no indexes, no keys, nothing cached. Whoever is next is found by
looking at everybody. Each public method stands for one command and answers in tuples whose first word says what
happened. The one thing taken over exactly is the clock, since fences and times are compared to the microsecond: a
command reads it once; reaping and cancelling once more for each container that they give on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tests.model.books import SECOND, Answer, Books, Ref
from tests.model.state import Container, Request, Rules, Wish

__all__ = ["SECOND", "Answer", "Ref", "Reference"]


class Reference(Books):
    """One pool."""

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
        if wish.size is not None and len(wish.names) > self._places(self.rules):
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
        self._finish(container, None, "unfit", now, reason="on_health_failure")
        request.rejected, request.begun = ref[1], False
        # It takes its place in the queue before a spare is given to the first there.
        back = again and not self.drained_by and request.wait_until > now and bool(self.queue())
        if not back:
            self._enter(container, "unhealthy", now)
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
        if back:
            self._enter(container, "unhealthy", now)
        return self._answer_again(ref[0], now)

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
            now = self.tick()
            if container.state == "available" and self._stands_aside(name):
                self._settle(name, now)
            if container.state == "paused" and self.rules.rotation is not None:
                self._hint("manager", name)
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
            if container.state == "spare":
                self._enter(name, "spare", now)
                self._fill()
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
        self._reconcile_rotation()
        return unknown, forgotten

    def _places(self, rules: Rules) -> int:
        """How many can be lent at once, as soon as all that are configured are there."""
        return min(max(len(self.containers), rules.size), rules.rotation or 99)

    def _reconcile_rotation(self) -> None:
        """As many are in rotation as there are places; who holds a lease keeps it."""
        for name in sorted(self.containers):
            if self.rules is None or self.rules.rotation is None:
                break
            container = self.containers[name]
            if container.draining or len(self.rotation()) > self.rules.rotation:
                if container.state == "available":
                    self._settle(name, self.tick())
                if container.state == "paused":
                    self._hint("manager", name)
        self._fill()
