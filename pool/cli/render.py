"""A pool's status, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from pool.cli.exits import NO_MANAGER, printable
from pool.cli.tables import Column, FittingTable
from pool.cli.usage import conditions_note, memory_cell
from pool.models import ContainerRecord, PoolStatus, State
from pool.shapes import usage_json
from pool.waiting import queue

_STYLE = {
    State.STARTING: "blue",
    State.AVAILABLE: "green",
    State.ALLOCATED: "cyan",
    State.PAUSED: "dim green",
    State.SPARE: "dim cyan",
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


def status_view(statuses: Sequence[PoolStatus]) -> RenderableType:
    """Return the pools' status for a person."""
    if not statuses:
        return "there are no pools: `poolctl serve CONFIG` opens those of a configuration"
    return Group(*(part for status in statuses for part in (_pool(status), "")))


def head(status: PoolStatus) -> list[RenderableType]:
    """Return a pool's name, what is free, and what is amiss with the pool itself, a line each."""
    free = sum(record.state is State.AVAILABLE and not record.draining for record in status.containers)
    line = Text.assemble(
        (status.pool, "bold"),
        f": {free} of {status.places} available",
        f" and {spares} spare" if (spares := status.count(State.SPARE)) else "",
        f", {len(status.queue)} waiting",
        f"; managed by {printable(status.manager)}" if status.manager else "",
    )
    parts: list[RenderableType] = [line]
    if not status.manager:
        parts.append(Text(NO_MANAGER, "yellow"))
    if status.draining:
        parts.append(Text("draining: takes no new request", "yellow"))
    if status.degraded:
        parts.append(Text(f"degraded: {printable(status.degraded)}; refuses low priority, shortens waits", "yellow"))
    return parts


def _pool(status: PoolStatus) -> RenderableType:
    parts = [*head(status), _containers(status)]
    notes = [f"{record.id}: {printable(record.note)}" for record in status.containers if record.note]
    notes += [f"{record.id}: {note}" for record in status.containers if (note := conditions_note(record))]
    parts += [Text(note, "yellow") for note in notes]
    if status.queue:
        parts += ["", queue_table(status)]
    return Group(*parts)


def _containers(status: PoolStatus) -> FittingTable:
    full = {record.id: usage_json(record)["full_in_s"] for record in status.containers}
    filling = ["full in"] if any(seconds is not None for seconds in full.values()) else []
    table = FittingTable(
        "container",
        "state",
        Column("for", leaves=1),
        Column("holder", least=16),
        "expires",
        Column("uses", leaves=4),
        Column("gen", leaves=5),
        Column("memory", leaves=2),
        *filling,
        Column("url", leaves=3),
    )
    for record in status.containers:
        full_in_s = full[record.id]
        table.add_row(
            *first_cells(record, status.at),
            str(record.uses),
            str(record.info.generation),
            memory_cell(record),
            *([span(full_in_s) if full_in_s is not None else ""] if filling else []),
            record.info.url,
        )
    return table


def first_cells(record: ContainerRecord, at: float) -> tuple[str, Text, str, str, str]:
    """Return what stands first in a container's row: id, state and for how long, holder and for how long still."""
    left = span(record.expires_at - at) if record.expires_at else ""
    return record.id, _state_cell(record), span(at - record.since), _holder_cell(record), left


def _state_cell(record: ContainerRecord) -> Text:
    """Return a container's state in its colour, with the level of its reset."""
    level = f" ({record.level.label})" if record.level and record.state is State.RESETTING else ""
    return Text(record.state + level + " (draining)" * record.draining, _STYLE[record.state])


def _holder_cell(record: ContainerRecord) -> str:
    """Return who holds a container, and how urgently it was wanted."""
    return f"{record.owner}, {record.priority.label}" if record.priority is not None else record.owner


def queue_table(status: PoolStatus) -> FittingTable:
    """Return who waits in a pool, how long still, and what for."""
    table = FittingTable(
        Column("position", leaves=2),  # the order of the rows says it, too
        "request",
        Column("owner", least=10),
        "priority",
        Column("waited", leaves=1),
        "served in",
        Column("waits for", least=20),
    )
    for entry in queue(status):
        request = entry.request
        aged = f" (as {request.effective.label})" if request.effective is not request.priority else ""
        facts = (str(request.position), request.request_id, request.owner, request.priority.label + aged)
        wait = "unknown" if entry.estimated_wait_s is None else f"about {span(entry.estimated_wait_s)}"
        table.add_row(*facts, span(request.waited_s), wait, entry.waits_for)
    return table
