"""A pool's status, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from pool.cli.exits import printable
from pool.cli.usage import conditions_note, memory_cell, usage_json
from pool.models import ContainerRecord, PoolStatus, State, rfc3339
from pool.waiting import queue

#: Tables written to a file or a pipe are this wide, in characters.
_WIDTH_WITHOUT_TERMINAL = 200
#: Columns that may be broken over several lines where a terminal is too narrow.
_FOLDED = {"holder", "owner", "url", "waits for"}

_STYLE = {
    State.STARTING: "blue",
    State.AVAILABLE: "green",
    State.ALLOCATED: "cyan",
    State.PAUSED: "dim green",
    State.CLEANING: "blue",
    State.RESETTING: "blue",
    State.UNHEALTHY: "red",
    State.QUARANTINED: "bold red",
    State.STOPPED: "dim",
}


def span(seconds: float) -> str:
    """Write a duration in at most six characters.

    >>> span(4.2), span(184), span(7500), span(300_000)
    ('4s', '3m04s', '2h05m', '83h20m')
    """
    whole = max(round(seconds), 0)
    if whole < 100:
        return f"{whole}s"
    for unit, length, small, part in (("m", 60, "s", 1), ("h", 3600, "m", 60), ("d", 86_400, "h", 3600)):
        if whole < length * 100 or unit == "d":
            return f"{whole // length}{unit}{whole % length // part:02}{small}"
    raise AssertionError("days have no end")


def status_json(status: PoolStatus) -> dict[str, Any]:
    """Return a pool's status as plain JSON types: times RFC 3339, durations in seconds, no lease token."""
    return {
        "pool": status.pool,
        "at": rfc3339(status.at),
        "draining": status.draining,
        "degraded": status.degraded or None,
        "manager": status.manager or None,
        "containers": [_container_json(record, status.at) for record in status.containers],
        "queue": [
            {
                "position": entry.request.position,
                "request_id": entry.request.request_id,
                "owner": entry.request.owner,
                "priority": entry.request.priority.label,
                "effective_priority": entry.request.effective.label,
                "first": entry.request.first,
                "waited_s": round(entry.request.waited_s, 3),
                "estimated_wait_s": None if entry.estimated_wait_s is None else round(entry.estimated_wait_s, 3),
                "waits_for": entry.waits_for,
            }
            for entry in queue(status)
        ],
    }


def _container_json(record: ContainerRecord, now: float) -> dict[str, Any]:
    def moment(seconds: float | None) -> str | None:
        return None if seconds is None else rfc3339(seconds)

    info = record.info
    return {
        "id": record.id,
        "name": info.name,
        "url": info.url,
        "host": info.host,
        "ports": {str(inside): outside for inside, outside in info.ports.items()},
        "labels": dict(info.labels),
        "generation": info.generation,
        "state": record.state.value,
        "draining": record.draining,
        "since": rfc3339(record.since),
        "for_s": round(now - record.since, 3),
        "owner": record.owner or None,
        "request_id": record.request_id or None,
        "priority": None if record.priority is None else record.priority.label,
        "metadata": dict(record.metadata),
        "granted_at": moment(record.granted_at),
        "expires_at": moment(record.expires_at),
        "deadline_at": moment(record.deadline_at),
        "uses": record.uses,
        "failures": record.failures,
        "reason": record.reason,
        "level": record.level.label if record.level else None,
        "note": record.note or None,
        **usage_json(record),
    }


def open_console() -> Console:
    """Return stdout, with colours if it is a terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH_WITHOUT_TERMINAL)


def status_view(statuses: Sequence[PoolStatus]) -> RenderableType:
    """Return the pools' status for a person."""
    if not statuses:
        return "there are no pools: `poolctl serve CONFIG` opens those of a configuration"
    return Group(*(part for status in statuses for part in (_pool(status), "")))


def _pool(status: PoolStatus) -> RenderableType:
    free = sum(record.state is State.AVAILABLE and not record.draining for record in status.containers)
    head = Text.assemble(
        (status.pool, "bold"),
        f": {free} of {len(status.containers)} available, {len(status.queue)} waiting",
        f"; managed by {printable(status.manager)}" if status.manager else "",
    )
    parts: list[RenderableType] = [head]
    if not status.manager:
        parts.append(Text("no active manager: start one with `poolctl serve CONFIG`", "yellow"))
    if status.draining:
        parts.append(Text("draining: takes no new request", "yellow"))
    if status.degraded:
        parts.append(Text(f"degraded: {printable(status.degraded)}; refuses low priority, shortens waits", "yellow"))
    parts.append(_containers(status))
    notes = [f"{record.id}: {printable(record.note)}" for record in status.containers if record.note]
    notes += [f"{record.id}: {note}" for record in status.containers if (note := conditions_note(record))]
    parts += [Text(note, "yellow") for note in notes]
    if status.queue:
        parts += ["", queue_table(status)]
    return Group(*parts)


def _containers(status: PoolStatus) -> Table:
    full = {record.id: usage_json(record)["full_in_s"] for record in status.containers}
    filling = ["full in"] if any(seconds is not None for seconds in full.values()) else []
    table = _table("container", "state", "for", "holder", "expires", "uses", "gen", "memory", *filling, "url")
    for record in status.containers:
        full_in_s = full[record.id]
        table.add_row(
            *_texts(record.id),
            *_texts(_state(record), style=_STYLE[record.state]),
            *_texts(
                span(status.at - record.since),
                f"{record.owner}, {record.priority.label}" if record.priority is not None else record.owner,
                span(record.expires_at - status.at) if record.expires_at else "",
                str(record.uses),
                str(record.info.generation),
                memory_cell(record),
                *([span(full_in_s) if full_in_s is not None else ""] if filling else []),
                record.info.url,
            ),
        )
    return table


def _state(record: ContainerRecord) -> str:
    level = f" ({record.level.label})" if record.level and record.state is State.RESETTING else ""
    return record.state + level + " (draining)" * record.draining


def queue_table(status: PoolStatus) -> Table:
    """Return who waits in a pool, how long still, and what for."""
    table = _table("position", "request", "owner", "priority", "waited", "served in", "waits for")
    for entry in queue(status):
        request = entry.request
        aged = f" (as {request.effective.label})" if request.effective is not request.priority else ""
        facts = (str(request.position), request.request_id, request.owner, request.priority.label + aged)
        wait = "unknown" if entry.estimated_wait_s is None else f"about {span(entry.estimated_wait_s)}"
        table.add_row(*_texts(*facts, span(request.waited_s), wait, entry.waits_for))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column not in _FOLDED)
    return table


def _texts(*cells: str, style: str = "") -> list[Any]:
    """Turn words into cells as they are: what others wrote is no markup and steers no terminal."""
    return [Text(printable(cell), style) for cell in cells]
