"""Plots of characters: bars, a line of small bars, a map of a week. They tell as much without colour."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_SHADES = " ░▒▓█"
#: For what is not known, which is not the same as nothing.
_UNKNOWN = "·"
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_HOURS = 24
_LABELLED = 6


def bar(share: float | None, width: int) -> Text:
    """Return a bar of so many characters at most, for a share from 0 to 1.

    >>> bar(0.5, 8).plain
    '████'
    """
    if share is None:
        return Text("")
    halves = round(min(max(share, 0.0), 1.0) * width * 2)
    return Text("█" * (halves // 2) + "▌" * (halves % 2), "cyan")


def sparkline(values: Sequence[float | None], *, most: float, room: int) -> Text:
    """Return a line of small bars; several values share one where there is no room for all, by their mean.

    Args:
        values: In their order; None for one that is not known.
        most: What a full bar stands for.
        room: How many characters there are.

    >>> sparkline([0, 1, None, 4], most=4, room=10).plain
    '▁▂·█'
    """
    each = max(-(-len(values) // max(room, 1)), 1)
    cells = []
    for first in range(0, len(values), each):
        known = [value for value in values[first : first + each] if value is not None]
        cells.append(_level(sum(known) / len(known), most) if known else _UNKNOWN)
    return Text("".join(cells), "cyan")


def week_map(title: str, values: Sequence[float | None], *, most: float) -> Text:
    """Return a map of a week: a line for each day, two characters for each hour.

    Args:
        title: What it shows.
        values: 168 of them, Monday 0:00 first; None for one that is not known.
        most: What the darkest stands for.
    """
    scale = "".join(f"{f'{hour:02d}':<{2 * _LABELLED}}" for hour in range(0, _HOURS, _LABELLED))
    lines = [title, f"     {scale.rstrip()}"]
    for day, name in enumerate(_DAYS):
        row = "".join(_shade(value, most) for value in values[day * _HOURS : (day + 1) * _HOURS])
        lines.append(f"{name}  {row}".rstrip())
    steps = len(_SHADES) - 1
    legend = "  ".join(f"{_SHADES[step] * 2} to {most * step / steps:.3g}" for step in range(1, steps + 1))
    lines.append(f"     {_UNKNOWN * 2} not known  blank 0  {legend}")
    return Text("\n".join(lines))


def _level(value: float, most: float) -> str:
    """Return one of eight bars; the lowest is for 0, too, so that it differs from what is not known."""
    if most <= 0:
        return _EIGHTHS[1]
    return _EIGHTHS[min(max(round(value / most * 8), 1), 8)]


def _shade(value: float | None, most: float) -> str:
    if value is None:
        return _UNKNOWN * 2
    steps = len(_SHADES) - 1
    step = 0 if value <= 0 or most <= 0 else min(max(-int(-value * steps // most), 1), steps)
    return _SHADES[step] * 2
