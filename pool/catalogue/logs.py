"""Every line that the pool logs: what it means, how grave it is, what to do about it.

`python -m pool.catalogue.logs > docs/logs.md` renews the page. A test holds the table against the sources.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pool.catalogue.events import linked
from pool.observed import Condition

DEBUG, INFO, WARNING, ERROR = "debug", "info", "warning", "error"


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the log.

    Attributes:
        name: As `event` has it.
        level: How grave it is; `debug or info` where that depends.
        meaning: What happened.
        do: What an operator does about it; empty where nothing is to be done.
    """

    name: str
    level: str
    meaning: str
    do: str = ""


def _lasting(name: str, meaning: str, do: str) -> tuple[LogLine, LogLine]:
    """Return what is logged when something begins that lasts, or its reason changes, and when it is over."""
    return (
        LogLine(name, WARNING, f"{meaning} Logged once, and again when the reason changes.", do),
        LogLine(f"{name}.over", INFO, f"What `{name}` told of is over."),
    )


#: Conditions that are logged when they begin → what happened; the events have the others, too.
_LOGGED: Mapping[Condition, str] = MappingProxyType(
    {
        Condition.OUT_OF_MEMORY: "The kernel killed a process of a leased container for memory. The lease goes on.",
        Condition.UNRESPONSIVE: "The probes of a leased container fail. The lease goes on.",
        Condition.PAUSED: "Somebody else froze a leased container. It was thawed at once, and the lease goes on.",
        Condition.HOST_LOST: "The engine of a leased container does not answer. The lease goes on.",
    }
)
_SEE_EVENT = "See the event of the same name in docs/events.md."

_PROGRAM = (
    LogLine("serve.starting", INFO, "A manager begins: with which Redis, and which engine."),
    LogLine(
        "redis.restarted",
        WARNING,
        "The private Redis had ended, and was started again. Its log on disk has every lease.",
        "Look why it ended: memory of the host, or somebody who killed it.",
    ),
    LogLine(
        "redis.not_restarted",
        WARNING,
        "The private Redis has ended, and does not start.",
        "See `why`: a full disk, rights of the state directory, no `redis-server`. `poolctl doctor` looks at them.",
    ),
    LogLine("redis.stopped", INFO, "The private Redis was stopped, since no pool is in it any more."),
    LogLine(
        "redis.data_lost",
        ERROR,
        "Redis answers and does not know the pool any more. It begins anew; every container is recreated before it is "
        "lent again, and leases that were held are lost.",
        "Switch on the append-only file, or look who flushed it: docs/redis.md.",
    ),
    LogLine(
        "network.kept",
        WARNING,
        "The deployment's network was to be removed, and something is still connected to it.",
        "Nothing where another manager of the deployment uses it; else `poolctl gc`.",
    ),
)

_MANAGERS = (
    LogLine("manager.active", INFO, "This manager leads the pool from now on."),
    *_lasting(
        "manager.standby",
        "Another manager leads the pool; this one waits until it ends.",
        "Nothing, if two are meant to run. Else end one of them.",
    ),
    LogLine(
        "manager.claim_lost",
        WARNING,
        "This manager leads the pool no more: Redis was away for too long, or it was itself held up. It stands by.",
        "If it recurs, look at the load of the host and the way to Redis: `poolctl doctor` measures it.",
    ),
    *_lasting(
        "manager.redis_away",
        "Redis does not answer. Leases go on; nothing is granted, reset or reaped until it does.",
        "See to Redis: docs/redis.md. The manager goes on by itself.",
    ),
    LogLine("manager.stopped", INFO, "This manager has ended its work on the pool."),
    *_lasting(
        "reaper.delayed",
        "Leases and waits that are over could not be ended.",
        "See `why`. It is tried again all the time.",
    ),
    *_lasting("health.delayed", "Containers could not be checked.", "See `why`. It is tried again all the time."),
    *_lasting(
        "samples.delayed",
        "It could not be measured what containers use.",
        "See `why`. It is tried again all the time.",
    ),
    *_lasting(
        "reconcile.delayed",
        "Containers could not be compared with the configuration.",
        "See `why`. It is tried again all the time.",
    ),
    *_lasting(
        "degradation.delayed",
        "It could not be judged whether the pool is overloaded.",
        "See `why`. It is tried again all the time.",
    ),
    *_lasting(
        "audit.delayed",
        "Events could not be audited. None is lost before Redis trims them, after some 20,000.",
        "See `why`. It is tried again all the time.",
    ),
    *_lasting(
        "metrics.delayed",
        "Events could not be counted. None is lost before Redis trims them, after some 20,000.",
        "See `why`. It is tried again all the time.",
    ),
    *_lasting(
        "work.delayed",
        "It could not be looked up which containers need work.",
        "See `why`. It is tried again all the time.",
    ),
    *_lasting(
        "garbage.delayed",
        "It could not be looked up what is left of former configurations.",
        "See `why`. It is tried again all the time.",
    ),
    *_lasting(
        "engine.events_broken",
        "The engine's events cannot be heard: dead containers are noticed by the regular checks only.",
        "See to the engine: `poolctl doctor`.",
    ),
    *_lasting(
        "audit.file_broken",
        "The file of the audit cannot be written. Redis keeps the entries, and the file gets them later.",
        "See to the disk and the rights of the file that `audit.file` names.",
    ),
    LogLine("reaper.ended", INFO, "Waits, unconfirmed grants or leases had outlived their time, and were ended."),
)

_POOLS = (
    LogLine("pool.created", INFO, "Redis did not know the pool: it begins."),
    LogLine("pool.adopted", INFO, "Redis knows the pool: its containers and leases go on."),
    LogLine("pool.ready", INFO, "Every container has been started; so many are available."),
    LogLine(
        "pool.privileged",
        WARNING,
        "The configuration makes the pool's containers privileged.",
        "Unless they really need it, set `container.privileged` to false.",
    ),
    LogLine("pool.degraded", WARNING, "The pool is overloaded: it refuses low priority, and shortens waits.",
            "See `why`, and docs/degradation.md. It ends by itself when there is less to do."),
    LogLine("pool.recovered", INFO, "The pool is degraded no more."),
    LogLine("pool.draining", INFO, "The pool is being removed; its last leases are waited for."),
    LogLine("pool.removed", INFO, "The pool was removed, with its containers."),
)  # fmt: skip

_CONTAINERS = (
    LogLine("container.ready", INFO, "A container was started or reset, and is verified."),
    LogLine(
        "container.not_clean",
        WARNING,
        "A reset, or a start, did not succeed; the next level follows.",
        "Nothing once. If it recurs, see `problem` and `stages`: docs/resets.md.",
    ),
    LogLine(
        "container.quarantined",
        WARNING,
        "A container failed too often, or its host was lost: it is kept as it is, and lent no more.",
        "See `problem`, mend it, then `poolctl restore`. `poolctl evidence` has what it was like.",
    ),
    LogLine(
        "container.unhealthy",
        WARNING,
        "A container died or failed its checks. It is out of rotation, and is recovered.",
        "Nothing once. `poolctl evidence` has what it was like.",
    ),
    LogLine(
        "container.reset_planned",
        INFO,
        "An idle container is reset before something goes wrong with it, or since its host is back.",
    ),
    LogLine(
        "container.work_delayed",
        WARNING,
        "A container could not be started or reset, for no fault of its own. It is tried again every second.",
        "See `why`: the engine or Redis does not answer, or an image is missing.",
    ),
    LogLine(
        "container.not_seen_to",
        WARNING,
        "The engine reported something of a container, and it could not be looked at.",
        "See `why`. The regular check finds what is wrong.",
    ),
    LogLine("container.frozen", INFO, "A container was frozen: idle for `pause_after_s`, or by an operator."),
    LogLine("container.thawed", INFO, "A frozen container runs again, and is lent."),
    LogLine(
        "container.not_frozen",
        WARNING,
        "A container could not be frozen; it runs on, which does no harm.",
        "See `why`. Set `pause_after_s` to null where the engine cannot freeze.",
    ),
    LogLine(
        "container.not_thawed",
        WARNING,
        "A frozen container could not be thawed.",
        "See `why`. It is tried again, and recovered if that fails.",
    ),
    LogLine("container.evidence", INFO, "Evidence of a container was kept.", "`poolctl evidence show` shows it."),
    LogLine(
        "container.adopted_unknown",
        WARNING,
        "The engine has a container of the pool that Redis does not know. It is recreated, since nobody knows what is "
        "in it.",
        "Look whether Redis lost its data: docs/redis.md.",
    ),
    LogLine("container.removed", INFO, "A container that no longer belongs to the pool was removed."),
    *(LogLine(f"container.{each}", WARNING, meaning, _SEE_EVENT) for each, meaning in _LOGGED.items()),
    LogLine("holder.removed", INFO, "What kept the network of a container was removed: it is outdated, or unused."),
    LogLine("holder.not_started", WARNING, "What keeps the network of a container does not start; it is made anew.",
            "Nothing once. If it recurs, see `why`."),
)  # fmt: skip

_GARBAGE = (
    LogLine("evidence.removed", INFO, "Evidence that was too old, or too much, was removed."),
    LogLine(
        "evidence.not_kept",
        WARNING,
        "Evidence of a container could not be kept. Its recovery goes on.",
        "See `why`: mostly a full disk, or the rights of the state directory.",
    ),
    LogLine("garbage.removed", INFO, "Something that was left of a former configuration was removed."),
    LogLine("garbage.not_stopped", INFO, "Something to be removed does not end by itself; it is removed anyway."),
    LogLine(
        "garbage.not_removed",
        WARNING,
        "Something that was left of a former configuration could not be removed.",
        "See `why`; `poolctl gc` tries again.",
    ),
)

_HTTP = (
    LogLine("http.listening", INFO, "The HTTP server answers, and where."),
    LogLine(
        "http.open",
        INFO,
        "No API token was ever made: everybody on this machine is an operator.",
        "Nothing, if you are alone on it. Else `poolctl token create`.",
    ),
    LogLine(
        "http.without_tls",
        WARNING,
        "Others can reach the server, and it speaks plain HTTP: tokens can be read on the way.",
        "Set `http.tls_cert` and `http.tls_key`, or put a proxy with TLS before it.",
    ),
    LogLine("http.key_readable", WARNING, "Others can read the key of the server's certificate.", "chmod 600"),
    LogLine(
        "http.request",
        f"{DEBUG} or {INFO}",
        "A call was answered; at `info` where it failed.",
        "Nothing. `request_id` is what the client was told, too.",
    ),
    LogLine(
        "http.failed",
        ERROR,
        "A call failed by a fault of the server; its client got `internal_error`.",
        "It is a bug: report it with the traceback.",
    ),
    LogLine(
        "http.crowded",
        WARNING,
        "There were too many connections; the oldest idle ones were closed.",
        "Look for a client that opens them without end, or allow the manager more open files (`ulimit -n`).",
    ),
    LogLine("access.denied", INFO, "Somebody was turned away without a valid token.", "Many from one address: "
            "somebody guesses, or a client has an old token. See docs/security.md."),
    LogLine("access.forbidden", INFO, "A valid token was used for what it does not allow."),
    LogLine(
        "access.not_audited",
        WARNING,
        "Somebody was turned away, and the audit could not be told.",
        "See `why`: Redis does not answer.",
    ),
    LogLine("gateway.cut_off", INFO, "A lease ended, and connections to its container were cut off."),
    LogLine(
        "events.not_followed",
        WARNING,
        "The server cannot read events. Listeners get them later; it is tried again all the time.",
        "See `why`: Redis refuses.",
    ),
)  # fmt: skip

#: Part of the page → its lines.
SECTIONS: Mapping[str, tuple[LogLine, ...]] = MappingProxyType(
    {
        "The program": _PROGRAM,
        "Managers": _MANAGERS,
        "Pools": _POOLS,
        "Containers": _CONTAINERS,
        "Evidence and garbage": _GARBAGE,
        "HTTP": _HTTP,
    }
)
#: Name → what it means.
LOGS: Mapping[str, LogLine] = MappingProxyType({line.name: line for lines in SECTIONS.values() for line in lines})

_HEAD = """\
# Log lines

Managers log to stderr: as text, or with `poolctl serve --log-format json` one JSON object a line. Each has a
`timestamp`, a `level`, a name in `event`, and facts. What is the pool's has `pool`, what is a container's `container`;
`why` says in words why something could not be done. Tokens are hidden, whatever would steer a terminal is escaped.
Libraries that the pool uses are heard from warnings on.

`poolctl explain NAME` says the same in the terminal. The names stay; new ones may come with new versions.

This page is generated: `python -m pool.catalogue.logs > docs/logs.md`.
"""


def render_reference() -> str:
    """Return the reference of all log lines as Markdown."""
    parts = [_HEAD]
    for title, lines in SECTIONS.items():
        rows = [f"| `{line.name}` | {line.level} | {line.meaning} | {linked(line.do)} |" for line in lines]
        parts += [f"## {title}\n", "| name | level | meaning | what to do |\n|---|---|---|---|", *rows, ""]
    return "\n".join(parts).rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(render_reference())
