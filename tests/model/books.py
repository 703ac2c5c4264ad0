"""The books of the reference model: who is where, and what happens to a container; the rules that commands share."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.model.state import Container, Lease, Request, Rules

Answer = tuple[Any, ...]
Ref = tuple[str, int, str]

WORK = frozenset({"starting", "cleaning", "resetting", "unhealthy"})
ROTATION = frozenset({"available", "allocated", "paused", "cleaning"})
SECOND = 1_000_000


class Books:
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

    def rotation(self) -> list[str]:
        return sorted(name for name, container in self.containers.items() if container.state in ROTATION)

    def spares(self) -> list[str]:
        """Those that stand by for a place, the one first that has for the longest."""
        by = [name for name, c in self.containers.items() if c.state == "spare" and not c.draining]
        return sorted(by, key=lambda name: (self.containers[name].since, name))

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
        leaves = container.state in ROTATION and state not in ROTATION
        container.state, container.since, container.thaw_asked = state, now, None
        if state in WORK:
            self._hint("manager", name)
        if leaves:
            self._fill()

    def _fill(self) -> None:
        """A place is never empty while a spare stands by."""
        assert self.rules is not None
        for name in self.spares():
            if self.rules.rotation is None or len(self.rotation()) < self.rules.rotation:
                self._settle(name, self.tick())

    def _stands_aside(self, name: str) -> bool:
        """In a pool with spares nobody has a place that another has, and nobody keeps one while draining."""
        assert self.rules is not None
        if self.rules.rotation is None:
            return False
        return self.containers[name].draining or len({*self.rotation()} - {name}) >= self.rules.rotation

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
        if self._stands_aside(name):
            self._enter(name, "spare", now)
            return
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
