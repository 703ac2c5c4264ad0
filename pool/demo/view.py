"""What one sees of the demo: live on a terminal, line by line elsewhere, and the summary at its end."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from statistics import fmean, median
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pool.demo.history import Recovery, Tenure
from pool.demo.plan import Fate
from pool.demo.report import Report
from pool.models import ContainerRecord, Event, PoolStatus, Priority, State

_COLOURS = {
    State.AVAILABLE: "green",
    State.ALLOCATED: "blue",
    State.CLEANING: "cyan",
    State.RESETTING: "yellow",
    State.STARTING: "yellow",
    State.UNHEALTHY: "red",
    State.QUARANTINED: "red",
}
_STRIKES = {Fate.RUNNER_KILLED: "its runner was killed", Fate.CONTAINER_KILLED: "its container was killed"}


class Progress(Protocol):
    """Shows the demo while it runs."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""

    def note(self, text: str) -> None:
        """Say what the demo itself does."""

    def show(self, status: PoolStatus | None, events: Sequence[Event], /) -> None:
        """Show the pool as it is, and what happened since the last time."""


def progress_on(console: Console, *, quiet: bool) -> Progress:
    """Return what shows the demo on a console."""
    if quiet:
        return _Lines(Console(quiet=True))
    return _Screen(console) if console.is_terminal else _Lines(console)


class _Lines:
    """A line for each event, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def note(self, text: str) -> None:
        """Print it."""
        self._console.print(f"— {text}", markup=False, highlight=False)

    def show(self, _status: PoolStatus | None, events: Sequence[Event], /) -> None:
        """Print the events in words."""
        for line in filter(None, map(words, events)):
            self._console.print(line, markup=False, highlight=False)


class _Screen:
    """The pool as it is now, and the last events below it."""

    def __init__(self, console: Console) -> None:
        self._status: PoolStatus | None = None
        self._last: deque[Text] = deque(maxlen=12)
        self._live = Live(console=console, get_renderable=self._picture, refresh_per_second=10, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def note(self, text: str) -> None:
        """Show it among the events."""
        self._last.append(Text(f"— {text}", style="bold"))

    def show(self, status: PoolStatus | None, events: Sequence[Event], /) -> None:
        """Redraw."""
        self._status = status
        self._last.extend(Text(line) for line in map(words, events) if line)

    def _picture(self) -> Group:
        pool = (_containers(self._status), _queue(self._status)) if self._status else ()
        return Group(*pool, Text(), *self._last)


def _containers(status: PoolStatus) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("container", "state", "held by", "priority", "for"):
        table.add_column(heading, header_style="dim")
    for record in status.containers:
        table.add_row(record.id, _state(record), record.owner, _priority(record), f"{status.at - record.since:.1f} s")
    return table


def _state(record: ContainerRecord) -> Text:
    return Text(record.state.value, style=_COLOURS.get(record.state, "dim"))


def _priority(record: ContainerRecord) -> str:
    return record.priority.label if record.priority is not None else ""


def _queue(status: PoolStatus) -> Text:
    waiting = Counter(request.priority for request in status.queue)
    parts = [f"{priority.label} {waiting[priority]}" for priority in Priority if waiting[priority]]
    return Text(f"\n{len(status.queue)} wait" + (f": {', '.join(parts)}" if parts else ""))


def words(event: Event) -> str:
    """Say what an event means; empty where it says nothing new.

    >>> words(Event("1-0", 0.0, "request.queued", {"request": "r", "owner": "run-01", "priority": "3"}))
    'run-01 waits (low)'
    """
    facts = event.fields
    container, owner = facts.get("container", ""), facts.get("owner", "")
    match event.type:
        case "request.queued":
            return f"{owner} waits ({Priority(int(facts['priority'])).label})"
        case "request.timed_out" | "request.cancelled" | "request.lost":
            return f"{owner}'s request leaves the queue: {event.type.removeprefix('request.').replace('_', ' ')}"
        case "lease.granted":
            return f"{owner} gets {container} after {int(facts['waited_us']) / 1e6:.2f} s"
        case "lease.released":
            return f"{owner} gives {container} back: {facts.get('outcome', '')}"
        case "lease.lost":
            return f"{owner} loses {container}: {facts.get('note') or 'its container died'}"
        case "lease.cancelled":
            return f"{owner} left before it got {container}"
        case "container.moved":
            return _moved(container, event)
    return ""


def _moved(container: str, event: Event) -> str:
    facts = event.fields
    note = f": {facts['note']}" if facts.get("note") else ""
    match facts["to"]:
        case State.AVAILABLE:
            how = f"{facts['reset_level']} reset, {facts['reset_ms']} ms" if "reset_level" in facts else "started"
            return f"{container} is clean ({how}{', verified' if facts.get('verified') == 'yes' else ''})"
        case State.RESETTING if "reset_level" in facts:
            return f"{container} is not clean after its {facts['reset_level']} reset{note}"
        case State.UNHEALTHY | State.QUARANTINED as state:
            return f"{container} is {state}{note}"
    return ""


def print_report(console: Console, report: Report) -> None:
    """Print the summary and the checks."""
    for title, table in (
        ("Who was served", _served(report.served)),
        ("Waits", _waits(report)),
        ("Resets", _resets(report)),
        ("Recoveries", _recoveries(report.recoveries)),
        ("Checks", _checks(report)),
    ):
        console.print(Text(f"\n{title}", style="bold"))
        console.print(Padding(table, (0, 0, 0, 2)))
    ghosts = f"; offered to dead requests and passed on: {report.unconfirmed}" if report.unconfirmed else ""
    console.print(
        f"\n{len(report.served)} leases in {report.seconds:.1f} s, of which {report.start_s:.1f} s to start{ghosts}",
        highlight=False,
    )


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in headings:
        table.add_column(heading, header_style="dim", justify="right" if heading.split()[0] in _NUMBERS else "left")
    return table


_NUMBERS = {"waited", "held", "requests", "mean", "longest", "resets", "median", "lost", "back"}


def _served(leases: Sequence[Tenure]) -> Table:
    table = _table("run", "priority", "container", "waited s", "held s", "end")
    for lease in leases:
        end = lease.outcome if lease.end == "released" else lease.end
        held_s = lease.ended_at - lease.granted_at
        row = (lease.owner, lease.priority.label, lease.container, f"{lease.waited_s:.2f}", f"{held_s:.2f}", end)
        table.add_row(*row)
    return table


def _waits(report: Report) -> Table:
    table = _table("priority", "requests", "mean s", "longest s")
    for priority, waits in report.waits.items():
        table.add_row(priority, str(len(waits)), f"{fmean(waits):.2f}", f"{max(waits):.2f}")
    return table


def _resets(report: Report) -> Table:
    table = _table("level", "resets", "median ms", "longest ms")
    for level, times in report.resets.items():
        table.add_row(level, str(len(times)), f"{median(times):.0f}", str(max(times)))
    return table


def _recoveries(recoveries: Sequence[Recovery]) -> Table:
    table = _table("container", "what happened", "lost after s", "back after s", "by")
    for found in recoveries:
        what = f"{found.strike.run}: {_STRIKES[found.strike.fate]}"
        table.add_row(
            found.strike.container, what, _seconds(found.lost_after_s), _seconds(found.back_after_s), found.level
        )
    return table


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f}"


def _checks(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 3, 0, 0))
    for check in report.checks:
        mark = Text("✓", style="green") if check.passed else Text("✗", style="bold red")
        table.add_row(mark, check.name, Text(check.figure, style="" if check.passed else "red"))
    return table
