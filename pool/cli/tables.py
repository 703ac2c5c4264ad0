"""Tables for people: as wide as there is room, and nothing is cut without a word about it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from pool.cli.exits import printable

#: Tables written to a file or a pipe are this wide, in characters, unless COLUMNS says otherwise.
_WIDTH_WITHOUT_TERMINAL = 200
_GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a `FittingTable`.

    Attributes:
        name: Its head.
        least: It may be broken over several lines, but be no narrower than this, in characters; None: it is not broken
            as long as that helps.
        leaves: It is left out where there is no room, the highest number first; 0: it always stays.
        right: Its cells end at the same place, as numbers do.
    """

    name: str
    least: int | None = None
    leaves: int = 0
    right: bool = False


class FittingTable:
    """A table that leaves out the columns that matter least where there is no room for all, and says which.

    Args:
        columns: Its columns; a name alone is one that always stays in one line.
    """

    def __init__(self, *columns: Column | str) -> None:
        self._columns = [Column(column) if isinstance(column, str) else column for column in columns]
        self._rows: list[list[Text]] = []

    def add_row(self, *cells: str | Text) -> None:
        """Add a row. Plain words are shown as they are: what others wrote is no markup and steers no terminal."""
        self._rows.append([Text(printable(cell)) if isinstance(cell, str) else cell for cell in cells])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = self._fitting(options.max_width)
        table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="dim")
        for index in shown:
            column = self._columns[index]
            justify: Literal["left", "right"] = "right" if column.right else "left"
            table.add_column(column.name, justify=justify, overflow="fold", no_wrap=column.least is None)
        for row in self._rows:
            table.add_row(*(row[index] for index in shown))
        yield table
        if missing := [column.name for index, column in enumerate(self._columns) if index not in shown]:
            yield Text(f"no room for: {', '.join(missing)}", "dim")

    def _fitting(self, room: int) -> Sequence[int]:
        """Return which columns there is room for, by number."""
        shown = {index: self._width(index) for index in range(len(self._columns))}
        for index in self._leaving():
            if sum(shown.values()) + _GAP * (len(shown) - 1) <= room:
                break
            del shown[index]
        return list(shown)

    def _leaving(self) -> Iterator[int]:
        """Yield the columns that may be left out, in the order in which they are."""
        numbers = [index for index, column in enumerate(self._columns) if column.leaves]
        yield from sorted(numbers, key=lambda index: -self._columns[index].leaves)

    def _width(self, index: int) -> int:
        """Return how many characters a column needs, at the least."""
        column = self._columns[index]
        widest = max([len(column.name), *(row[index].cell_len for row in self._rows)])
        return widest if column.least is None else min(widest, max(column.least, len(column.name)))


def open_console() -> Console:
    """Return stdout, with colours if it is a terminal."""
    console = Console(highlight=False)
    if console.is_terminal or os.environ.get("COLUMNS", "").isdecimal():
        return console
    return Console(highlight=False, width=_WIDTH_WITHOUT_TERMINAL)
