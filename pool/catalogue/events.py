"""Every type of event that a pool's stream can have: what it means, which facts it has, what to do about it.

`python -m pool.catalogue.events > docs/events.md` renews the page. Tests hold the table against the Lua scripts, the
Python that tells of something, and the events of their own runs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pool.models import ResetReason
from pool.observed import Condition


@dataclass(frozen=True, slots=True)
class EventKind:
    """A type of event.

    Attributes:
        name: As `type` has it.
        meaning: What happened.
        facts: The names of its facts → what each tells; one that is empty, or does not apply, may be missing.
        do: What an operator does about it; empty where nothing is to be done.
    """

    name: str
    meaning: str
    facts: Mapping[str, str]
    do: str = ""


#: What facts tell, wherever they stand, unless the type says otherwise.
_FACTS: Mapping[str, str] = MappingProxyType(
    {
        "container": "id of the container",
        "request": "id of the request, which is the lease's, too",
        "owner": "who asked",
        "priority": "0 critical, 1 high, 2 normal, 3 low",
        "fence": "number of the lease; rises with each lease of the container",
        "new": "1 where the request has just come, 0 where it came before; 1 in one event of each request",
        "waited_us": "from the request to the grant, in microseconds",
        "held_us": "from the grant to the end, in microseconds",
        "reason": f"why the container is reset: {', '.join(ResetReason)}",
        "outcome": "passed, failed or error",
        "note": "what happened, in words",
        "level": "reset level reached so far: 0 none, 1 soft, 2 medium, 3 hard, 4 recreate",
        "failures": "resets of the container that failed in a row",
        "by": "who wanted it: user and host, or the name of an API token; missing where nobody did",
        "why": "the reason that was given",
        "sample": "as JSON: memory and its limit in bytes, CPU in percent, processes, seconds until memory is full",
    }
)

_LEASE = ("container", "request", "owner", "fence", "held_us")
_ORDER = ("by", "why")

#: Condition → what began, and what to do about it.
_CONDITIONS: Mapping[Condition, tuple[str, str]] = MappingProxyType(
    {
        Condition.MEMORY_HIGH: (
            "A container uses more memory than `thresholds.memory_percent` of its limit.",
            "Look at what its holders do, or raise `container.memory`, where it happens often.",
        ),
        Condition.MEMORY_EXCESSIVE: (
            "A container uses more memory than `thresholds.reset_above_percent` of its limit.",
            "Nothing while it is idle: it is reset. If it recurs, use `recycle.max_memory_mb`, or raise the limit.",
        ),
        Condition.MEMORY_FILLING: (
            "By its trend, a container's memory is full within `thresholds.forecast_horizon_s`.",
            "Nothing while it is idle: it is reset. If it recurs, what runs in it leaks; see `poolctl evidence`.",
        ),
        Condition.CPU_HIGH: (
            "A container uses more CPU than `thresholds.cpu_percent` of what it may.",
            "Look for a process that spins (`poolctl top`), or raise `container.cpus`.",
        ),
        Condition.OUT_OF_MEMORY: (
            "The kernel killed a process of a leased container, since its memory limit was reached. The lease goes on.",
            "Raise `container.memory`, or have its users need less.",
        ),
        Condition.UNRESPONSIVE: (
            "The probes of a leased container fail. The lease goes on; the container is reset after it.",
            "See `poolctl logs` for what it does. Where busy servers are silent for long, raise `health.failures`.",
        ),
        Condition.PAUSED: (
            "Somebody else than the pool froze a leased container. It is thawed at once, and the lease goes on.",
            "Find who runs `docker pause` on containers of the pool.",
        ),
        Condition.HOST_LOST: (
            "The engine does not answer, and neither does a container.",
            "See to the host: `poolctl doctor`. The container comes back by itself once its engine answers.",
        ),
    }
)


def _kind(
    name: str, meaning: str, *facts: str, also: Mapping[str, str] = MappingProxyType({}), do: str = ""
) -> EventKind:
    """Return a type of event whose facts are known by name, or told in `also`."""
    return EventKind(name, meaning, {**{fact: _FACTS[fact] for fact in facts}, **also}, do)


def _of_condition(condition: Condition) -> Iterator[EventKind]:
    """Yield what tells that a condition began, and that it ended."""
    meaning, do = _CONDITIONS[condition]
    facts = ("container", "owner", "request", "note", "sample")
    name = f"container.{condition}"
    yield _kind(name, meaning, *facts, do=do)
    yield _kind(f"{name}_over", f"What `{name}` told of is over.", *facts)


_LEASES = (
    _kind(
        "lease.granted",
        "A request got a container.",
        "container", "request", "owner", "priority", "fence", "waited_us", "new",
    ),
    _kind("lease.confirmed", "The client that had waited fetched its lease.", "container", "request"),
    _kind(
        "lease.begun",
        "The bundle of the lease is complete: its time runs from now on.",
        "container", "request",
    ),
    _kind(
        "lease.deadline_near",
        "The lease reaches its deadline soon, and its holder still lives.",
        "container", "request", "owner",
        also={"left_us": "time left, in microseconds"},
        do="Nothing. If it recurs for an owner, its leases need a longer `timeout_s`.",
    ),
    _kind(
        "lease.extended",
        "The holder moved the deadline.",
        "container", "request", "owner",
        also={"extra_us": "how much later, in microseconds", "reason": "why, as the holder says"},
    ),
    _kind(
        "lease.extension_denied",
        "The holder wanted to move the deadline, and may not.",
        "container", "request", "owner",
        also={
            "reason": "why it wanted to, as the holder says",
            "why": "`count`: `limits.max_extensions` are used up; `bound`: beyond `limits.max_lease_timeout_s`",
        },
        do="If it recurs, raise that limit, or have the owner ask for a longer `timeout_s` from the beginning.",
    ),
    _kind("lease.released", "The holder gave the container back.", *_LEASE, "reason", "outcome"),
    _kind("lease.cancelled", "The client left before it fetched its lease; the container was not used.", *_LEASE),
    _kind(
        "lease.unfit",
        "The check at hand-out failed: the container was given back before its use, and is recovered.",
        *_LEASE, "reason", "note",
        do="Nothing once. If it recurs, containers die between two health checks: lower `health.interval_s`.",
    ),
    _kind(
        "lease.lost",
        "The lease ended under its holder: at its deadline, without a heartbeat, or since the container was taken.",
        *_LEASE, "reason", "note", "level", "failures",
        do="See `note`. Without heartbeats, the holder died or hung; at the deadline, its work takes longer than it "
        "asked for.",
    ),
)  # fmt: skip

_REQUESTS = (
    _kind(
        "request.queued",
        "No container was free: a request waits.",
        "request", "owner", "priority", "new",
    ),
    _kind(
        "request.timed_out",
        "A request waited for as long as it wanted to, and got nothing.",
        "request", "owner",
        do="If it recurs, the pool is too small, or leases take too long: `poolctl queue`.",
    ),
    _kind("request.cancelled", "A waiting request was withdrawn, or the pool was drained.", "request", "owner"),
    _kind("request.lost", "The client of a waiting request died.", "request", "owner"),
    _kind(
        "request.over_limit",
        "A waiting request was next, but its owner, or the pool, holds as many leases as it may.",
        "request", "owner",
        do="Raise `limits.max_leases` or `limits.max_leases_per_owner`, or have the owner ask for fewer at once.",
    ),
)  # fmt: skip

_CONTAINERS = (
    _kind(
        "container.registered",
        "A container became known to the pool.",
        "container",
        also={"state": "its first state", "generation": "counts the containers made for this id, from 1"},
    ),
    _kind("container.forgotten", "A container left the pool, since the configuration has it no more.", "container"),
    _kind(
        "container.moved",
        "A container went from one state to another, other than by a grant, a release or an expiry.",
        "container", "reason", "level", "note", "failures", "by", "why",
        also={
            "from": "its state before",
            "to": "its state now; what is to be available may stand by as a spare, or serve a request at once",
            "fault": "what went wrong: crash, out_of_memory, hang, paused, leak, disk_full, host_lost, image_gone",
            "verified": "how it was found clean: `yes`, from outside; `fast`, in part; `off`, not looked at",
            "start_ms": "how long its start took, in milliseconds",
            "reset_level": "how thorough the reset was that ended: soft, medium, hard, recreate",
            "reset_reason": "why it was reset",
            "reset_ms": "how long that took, in milliseconds",
            "freed_us": "since its last lease ended, in microseconds, as it becomes available",
            "recycled": "why it was recreated although it was well",
            "stages": "as JSON: stage of the reset → exit code and milliseconds",
        },
        do="To `unhealthy`: nothing, it is recovered; `poolctl evidence` has what it was like. To `quarantined`: see "
        "`note`, mend that, then `poolctl restore`.",
    ),
    _kind("container.available", "A container is free, and nobody waits for it.", "container"),
    _kind("container.spare", "A container stands by, since no place is free for it.", "container"),
    _kind(
        "container.swapped",
        "A spare took the place of a container that left the rotation.",
        "container",
        also={"in": "id of the spare", "out": "id of the container whose place it took"},
    ),
    _kind("container.draining", "A container is lent no more until it is resumed.", "container", *_ORDER),
    _kind("container.resumed", "A container that was draining is lent again.", "container", *_ORDER),
    _kind(
        "container.evidence",
        "Evidence of a container was kept, before its recovery or after a failed lease.",
        "container",
        also={
            "evidence": "id of the bundle",
            "cause": "failed, error, expired, unhealthy or not_clean",
            "bytes": "its size",
        },
        do="`poolctl evidence show` and the id show it.",
    ),
)  # fmt: skip

_POOLS = (
    _kind(
        "pool.created",
        "A manager opened a pool that Redis did not know.",
        also={"incarnation": "tells this life of the pool from others"},
        do="Nothing, unless there was a pool of this name before: then Redis lost its data.",
    ),
    _kind("pool.retired", "The pool was removed, since the configuration has it no more."),
    _kind("pool.draining", "The pool takes no new request until it is resumed; who waited was told.", *_ORDER),
    _kind("pool.resumed", "The pool takes requests again.", *_ORDER),
    _kind(
        "pool.degraded",
        "The pool is overloaded: it refuses low priority, and shortens waits.",
        also={
            "why": "in words",
            "measure": "what is too high: queue, wait_s or failure_rate",
            "value": "how high it is",
            "threshold": "how high it may be",
        },
        do="See `why`, and docs/degradation.md. It ends by itself when there is less to do.",
    ),
    _kind("pool.recovered", "The pool is degraded no more.", also={"from": "why it was"}),
    _kind(
        "operator.refused",
        "An operator wanted something that is not possible now.",
        "container", *_ORDER,
        also={
            "action": "what was wanted: drain, resume, quarantine, restore, pause, unpause or reset",
            "error": "why it was refused",
        },
    ),
)  # fmt: skip

#: Part of the page → its types of events.
SECTIONS: Mapping[str, tuple[EventKind, ...]] = MappingProxyType(
    {
        "Leases": _LEASES,
        "Requests": _REQUESTS,
        "Containers": _CONTAINERS,
        "What is the matter with a container": tuple(kind for each in Condition for kind in _of_condition(each)),
        "Pools and operators": _POOLS,
    }
)
#: Type → what it means.
EVENTS: Mapping[str, EventKind] = MappingProxyType({kind.name: kind for kinds in SECTIONS.values() for kind in kinds})

#: Types that the audit has besides: of what belongs to no pool, and of what is missing.
AUDIT_ONLY: tuple[EventKind, ...] = (
    EventKind("token.created", "Somebody made an API token.", {}),
    EventKind("token.revoked", "Somebody made an API token invalid.", {}),
    EventKind(
        "access.denied",
        "Somebody came without a token, with a wrong one, or with too many wrong ones.",
        {"address": "where from", "not_audited_before": "so many others were turned away, and not written down"},
        "Many from one address: somebody guesses, or a client has an old token. See docs/security.md.",
    ),
    EventKind(
        "access.forbidden",
        "A valid token was used for what it does not allow.",
        {"address": "where from", "not_audited_before": "so many others were turned away, and not written down"},
        "Give whoever it is another token, or ask what it is trying.",
    ),
    EventKind(
        "audit.gap",
        "Events were trimmed before they were audited, so that what happened meanwhile is not known.",
        {"after": "the last event that was audited", "before": "the first one after the gap"},
        "Keep a manager running: without one, nobody audits.",
    ),
)

_HEAD = """\
# Events

What happens in a pool is written into its stream in Redis, in the step in which it happens, so that events and state
never disagree. The last 20,000 or so are kept. `poolctl events` shows them, `GET /v1/events` sends them as they
happen, counters and the audit are made of them. No event has a token or another secret in it.

Each has an `id` that rises, the time `at` by the clock of the pool, a `type`, and facts. All facts are texts. One that
does not apply is missing or empty. New types and facts may come with new versions; existing ones keep their meaning.

`poolctl explain NAME` says the same in the terminal, `poolctl events --explain` lists all types.

This page is generated: `python -m pool.catalogue.events > docs/events.md`.
"""
_AUDIT_HEAD = """\
## In the audit only

Entries of `poolctl audit` have the type of the event that they were made of, or one of these.
"""
_FACTS_HEAD = """\
## Facts that mean the same in all events
"""


def render_reference() -> str:
    """Return the reference of all events as Markdown."""
    parts = [_HEAD]
    for title, kinds in SECTIONS.items():
        parts += [f"## {title}\n", *_table(kinds), ""]
    common = [f"| `{name}` | {tells} |" for name, tells in _FACTS.items()]
    parts += [_AUDIT_HEAD, *_table(AUDIT_ONLY), "", _FACTS_HEAD, "| fact | what it tells |\n|---|---|", *common]
    return "\n".join(parts) + "\n"


def _table(kinds: Iterable[EventKind]) -> Iterator[str]:
    """Write types as a table; facts that mean the same everywhere are only named."""
    yield "| type | meaning | facts | what to do |\n|---|---|---|---|"
    for kind in kinds:
        common = [f"`{name}`" for name, tells in kind.facts.items() if _FACTS.get(name) == tells]
        own = [f"`{name}`: {tells}" for name, tells in kind.facts.items() if _FACTS.get(name) != tells]
        facts = "<br>".join([*([", ".join(common)] if common else []), *own])
        yield f"| `{kind.name}` | {kind.meaning} | {facts} | {linked(kind.do)} |"


def linked(text: str) -> str:
    """Return a text in which pages of the documentation are links, as its pages have them.

    >>> linked("See docs/audit.md.")
    'See [audit.md](audit.md).'
    """
    return re.sub(r"docs/([\w-]+\.md)", r"[\1](\1)", text)


if __name__ == "__main__":
    sys.stdout.write(render_reference())
