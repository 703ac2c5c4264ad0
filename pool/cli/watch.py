"""Showing the same again and again, as it changes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import termios
import tty
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeVar

import typer
from rich.console import Console, RenderableType
from rich.live import Live

from pool.cli.tables import open_console

T = TypeVar("T")

#: From one look to the next, in seconds.
REFRESH_S = 1.0


async def show(
    look: Callable[[], Awaitable[T]],
    view: Callable[[T], RenderableType],
    document: Callable[[T], Mapping[str, Any]] | None,
    *,
    again: bool,
) -> None:
    """Show something once, or again and again.

    Args:
        look: Looks at it.
        view: Returns what a person sees.
        document: Returns what a program reads, a line for each look; None for people.
        again: Go on until it is interrupted.
    """
    if document is not None:
        typer.echo(json.dumps(document(await look()), indent=None if again else 2))
        while again:
            await asyncio.sleep(REFRESH_S)
            typer.echo(json.dumps(document(await look())))
        return

    async def picture() -> RenderableType:
        return view(await look())

    console = open_console()
    if again:
        await watch(console, picture)
    else:
        console.print(await picture())


async def watch(
    console: Console, look: Callable[[], Awaitable[RenderableType]], *, screen: bool = False, keys: bool = False
) -> None:
    """Show what `look` returns, every second anew, until it is interrupted.

    Args:
        console: Where; if it is no terminal, one picture after the other.
        look: Returns what there is to show.
        screen: Take the whole terminal, and give it back as it was.
        keys: End at the key `q`, too.
    """
    with _key_pressed(wanted=keys and console.is_terminal) as pressed:
        if not console.is_terminal:
            while True:
                console.print(await look())
                console.file.flush()
                await asyncio.sleep(REFRESH_S)
        # What does not fit stays unseen, and the newest frame is what counts: no scrolling.
        with Live(console=console, auto_refresh=False, screen=screen, vertical_overflow="crop") as live:
            while not pressed.is_set():
                live.update(await look(), refresh=True)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(pressed.wait(), REFRESH_S)


@contextlib.contextmanager
def _key_pressed(*, wanted: bool) -> Iterator[asyncio.Event]:
    """Yield what is set once `q` is pressed. The terminal hands keys over at once meanwhile, and shows none."""
    pressed = asyncio.Event()
    if not wanted or not sys.stdin.isatty():
        yield pressed
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    loop = asyncio.get_running_loop()

    def read() -> None:
        typed = os.read(keyboard, 64)
        if not typed or b"q" in typed.lower():
            loop.remove_reader(keyboard)
            pressed.set()

    tty.setcbreak(keyboard)
    loop.add_reader(keyboard, read)
    try:
        yield pressed
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
