"""A pool's past, for people: the views of `poolctl analytics`. All are made of the document that the API gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.text import Text

from pool.cli.exits import printable
from pool.cli.plots import bar, sparkline, week_map
from pool.cli.render import span
from pool.cli.tables import Column, FittingTable

Document = Mapping[str, Any]
_BAR = 12
_STYLE = {"critical": "bold red", "warning": "yellow"}
_NAME = 16
#: What stands behind a line of small bars, so that all of them are as long.
_BEHIND = 16


def brief(seconds: float | None) -> str:
    """Write a time in at most six characters; nothing where it is not known.

    >>> brief(None), brief(0.0), brief(0.0004), brief(0.012), brief(4.21), brief(184)
    ('', '0', '<1ms', '12ms', '4.2s', '3m04s')
    """
    if seconds is None:
        return ""
    if seconds < 1:
        return "0" if seconds == 0 else "<1ms" if seconds < 0.001 else f"{seconds * 1000:.0f}ms"
    return f"{seconds:.1f}s" if seconds < 10 else span(seconds)


def percent(share: float | None) -> str:
    """Write a share.

    >>> percent(0.416), percent(None)
    ('42 %', 'unknown')
    """
    return "unknown" if share is None else f"{share * 100:.0f} %"


def number(value: float | None) -> str:
    """Write a number as short as it says something; nothing where it is not known.

    >>> number(3.0), number(0.25), number(1234.5), number(None)
    ('3', '0.25', '1,234', '')
    """
    if value is None:
        return ""
    return f"{value:.2f}".rstrip("0").rstrip(".") if value < 100 else f"{value:,.0f}"


class _Line:
    """A line of small bars, as wide as there is room, behind its name."""

    def __init__(self, name: str, values: list[float | None], most: float, behind: str) -> None:
        self._name = name
        self._values = values
        self._most = most
        self._behind = behind

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        room = options.max_width - _NAME - _BEHIND
        line = sparkline(self._values, most=self._most, room=room)
        yield Text.assemble(f"{self._name:<{_NAME}}", line, f"  {self._behind}")


def overview(past: Document) -> RenderableType:
    """Return what matters most of a pool's past."""
    summary = past["summary"]
    came = f"{summary['requests']:,} requests, {summary['leases']:,} leases used, {_failed(summary)}"
    used = f"in use {percent(summary['utilisation'])}, efficiency {percent(summary['efficiency'])}"
    parts: list[RenderableType] = [head(past), came, used]
    if past["hours"]:
        parts += ["", *_lines(past), "", _times(summary)]
    parts += ["", _counts("failures", past["failures"]), _counts("leases ended", summary["ended"])]
    if summary["unserved"]:
        parts.append(_counts("not served", summary["unserved"]))
    for advice in past["recommendations"]:
        parts += ["", _advice(advice)]
    return Group(*parts)


def head(past: Document) -> Text:
    """Return which pool it is, and of which time."""
    since, until = (datetime.fromisoformat(past[name]) for name in ("since", "until"))
    watched = span(past["watched_s"])
    return Text.assemble(
        (printable(past["pool"]), "bold"),
        f": {since:%Y-%m-%d %H:%M} to {until:%m-%d %H:%M} UTC, watched for {watched}",
    )


def _failed(summary: Document) -> str:
    rate = summary["failure_rate"]
    return "no failure rate" if rate is None else f"{rate * 100:.1f} % of them failed"


def _lines(past: Document) -> Iterator[RenderableType]:
    hours = _every_hour(past)
    summary = past["summary"]
    requests = [hour["requests"] if hour else None for hour in hours]
    queue = [hour["queue_mean"] if hour else None for hour in hours]
    yield _Line(
        "in use", [hour["utilisation"] if hour else None for hour in hours], 1.0, percent(summary["utilisation"])
    )
    yield _Line("requests", requests, _most(requests), f"most {number(_most(requests))}/h")
    yield _Line("waiting", queue, _most(queue), f"most {summary['queue_peak']}")


def _every_hour(past: Document) -> list[Document | None]:
    """Return all hours from the first that is known to the last; None where nothing is known of one."""
    known = {datetime.fromisoformat(hour["start"]): hour for hour in past["hours"]}
    at, last = min(known), max(known)
    hours: list[Document | None] = []
    while at <= last:
        hours.append(known.get(at))
        at += timedelta(hours=1)
    return hours


def _most(values: list[float | None]) -> float:
    return max((value for value in values if value is not None), default=0.0)


def _times(summary: Document) -> FittingTable:
    table = FittingTable("", *_right("n", "mean", "p50", "p95", "p99", "longest"))
    rows = [("wait", summary["wait_s"]), ("use", summary["use_s"]), ("until clean", summary["cleaning_s"])]
    rows += [(f"reset {level}", times) for level, times in summary["reset_s"].items()]
    for name, times in rows:
        table.add_row(name, f"{times['n']:,}", *_figures(times))
    return table


def _figures(times: Document) -> list[str]:
    return [brief(times[name]) for name in ("mean", "p50", "p95", "p99", "max")]


def _right(*names: str, leaves: int = 0) -> list[Column]:
    return [Column(name, right=True, leaves=leaves) for name in names]


def _counts(name: str, counts: Mapping[str, int]) -> str:
    return f"{name}: " + (", ".join(f"{kind} {count:,}" for kind, count in counts.items()) or "none")


def _advice(advice: Document) -> Text:
    severity = str(advice["severity"])
    return Text.assemble(
        (f"{severity}: ", _STYLE.get(severity, "bold")), printable(str(advice["title"])),
        f"\n  {printable(str(advice['action']))}",
    )  # fmt: skip


def all_advice(past: Document) -> RenderableType:
    """Return what follows from a pool's past, with the figures that it follows from."""
    parts: list[RenderableType] = [head(past)]
    for advice in past["recommendations"]:
        parts += ["", _advice(advice)]
        if advice["saves"] is not None:
            parts.append(Text(f"  saves {printable(advice['saves'])}"))
        figures = ", ".join(f"{name} {value}" for name, value in advice["evidence"].items())
        parts.append(Text(f"  {printable(advice['code'])}: {printable(figures)}", "dim"))
    if not past["recommendations"]:
        parts.append("nothing to do, or too little is known: docs/recommendations.md says what is looked for")
    return Group(*parts)


def by_hour(past: Document) -> RenderableType:
    """Return a row for each hour of which something is known."""
    table = FittingTable(
        "hour (UTC)",
        *_right("requests", "leases"),
        Column("in use"),
        Column("share", leaves=2),
        Column("queue", right=True),
        *_right("wait p95", "use p95"),
        Column("reset p95", right=True, leaves=1),
        Column("failed", right=True),
    )
    for hour in past["hours"]:
        at = datetime.fromisoformat(hour["start"]).astimezone(UTC)
        table.add_row(
            f"{at:%m-%d %H:%M}",
            str(hour["requests"]),
            str(hour["leases"]),
            percent(hour["utilisation"]) if hour["utilisation"] is not None else "",
            bar(hour["utilisation"], _BAR),
            str(hour["queue_peak"]),
            brief(hour["wait_p95_s"]),
            brief(hour["use_p95_s"]),
            brief(hour["reset_p95_s"]),
            str(sum(hour["failures"].values())),
        )
    return Group(head(past), table)


def by_week(past: Document) -> RenderableType:
    """Return maps of a week."""
    week = past["by_hour_of_week"]
    requests = [hour["requests"] for hour in week]
    used = [None if hour["utilisation"] is None else 100 * hour["utilisation"] for hour in week]
    return Group(
        head(past),
        "",
        week_map("in use, percent (hours in UTC)", used, most=100),
        "",
        week_map("requests an hour", requests, most=_most(requests)),
    )


def by_priority(past: Document) -> RenderableType:
    """Return a row for each priority."""
    table = FittingTable("priority", *_right("requests", "granted", "mean wait", "p50", "p95", "p99", "longest"))
    for priority, found in past["by_priority"].items():
        table.add_row(priority, str(found["requests"]), str(found["wait_s"]["n"]), *_figures(found["wait_s"]))
    return Group(head(past), table)


def by_duration(past: Document) -> RenderableType:
    """Return a bar for each length of leases."""
    rows = past["by_duration"]
    all_ = sum(row["leases"] for row in rows) or 1
    table = FittingTable("held", *_right("leases", "of all"), "share")
    for row in rows:
        held = f"over {span(row['from_s'])}" if row["to_s"] is None else f"up to {span(row['to_s'])}"
        share = row["leases"] / all_
        table.add_row(held, str(row["leases"]), percent(share), bar(share, 3 * _BAR))
    return Group(head(past), table)


def by_owner(past: Document) -> RenderableType:
    """Return a row for each owner, those who held most first."""
    owners = past["owners"]
    all_ = sum(owner["held_s"] for owner in owners) or 1
    table = FittingTable(
        Column("owner", least=10),
        *_right("leases", "failed", "held"),
        Column("of all", right=True),
        Column("share", leaves=1),
        *_right("waited"),
    )
    for owner in owners:
        share = owner["held_s"] / all_
        table.add_row(
            owner["owner"],
            str(owner["leases"]),
            str(owner["failed"]),
            brief(owner["held_s"]),
            percent(share),
            bar(share, _BAR),
            brief(owner["waited_s"]),
        )
    return Group(head(past), table)


def by_container(past: Document) -> RenderableType:
    """Return a row for each container."""
    table = FittingTable("container", *_right("leases", "failed", "faults", "resets failed", "memory peak", "of"))
    for found in past["containers"]:
        memory = [f"{found[name]:.0f}M" if found[name] is not None else "" for name in _MEMORY]
        counts = [str(found[name]) for name in ("leases", "failed", "faults", "resets_failed")]
        table.add_row(found["container"], *counts, *memory)
    return Group(head(past), table)


_MEMORY = ("memory_peak_mb", "memory_limit_mb")
VIEWS: Mapping[str, Callable[[Document], RenderableType]] = {
    "hour": by_hour,
    "weekday-hour": by_week,
    "priority": by_priority,
    "owner": by_owner,
    "container": by_container,
    "duration": by_duration,
    "advice": all_advice,
}
