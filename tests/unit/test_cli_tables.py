"""Tables fit their terminal: columns leave in their order, and what is missing is said."""

from __future__ import annotations

import pytest
from rich.console import Console
from rich.text import Text

from pool.cli.tables import Column, FittingTable, open_console

WIDTHS = (30, 40, 60, 80, 120)


def drawn(table: FittingTable, width: int) -> str:
    console = Console(width=width, highlight=False)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def people() -> FittingTable:
    table = FittingTable("name", Column("note", least=12), Column("url", leaves=1), Column("uses", leaves=2))
    table.add_row("web-1", "a note that is rather long", "http://127.0.0.1:3001", "17")
    return table


def test_where_there_is_room_every_column_is_shown_and_nothing_is_said() -> None:
    shown = drawn(people(), 120)

    assert [word in shown for word in ("web-1", "a note that is rather long", "3001", "17")] == [True] * 4
    assert "no room" not in shown


def test_columns_leave_in_their_order_and_the_table_says_which() -> None:
    assert "no room for: uses" in drawn(people(), 45)
    assert "no room for: url, uses" in drawn(people(), 30)


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_longer_than_the_terminal_is_wide(width: int) -> None:
    assert max(map(len, drawn(people(), width).splitlines())) <= width


def test_what_may_be_broken_is_broken_before_the_end_of_it_is_lost() -> None:
    words = "".join(drawn(people(), 30).split())

    assert "anote" in words
    assert "long" in words


def test_what_others_wrote_is_neither_markup_nor_a_command_to_the_terminal() -> None:
    table = FittingTable("owner")
    table.add_row("[red]eve\x1b[2J")

    assert "[red]eve�[2J" in drawn(table, 80)


def test_a_pipe_is_wide_unless_columns_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    wide = open_console().width
    monkeypatch.setenv("COLUMNS", "80")

    assert (wide, open_console().width) == (200, 80)


def test_no_color_and_a_pipe_take_the_colours_away(monkeypatch: pytest.MonkeyPatch) -> None:
    table = FittingTable("state")
    table.add_row(Text("broken", "red"))
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(force_terminal=True, width=40)
    with console.capture() as captured:
        console.print(table)

    assert "\x1b[31m" not in captured.get()
    assert "\x1b" not in drawn(table, 40)
