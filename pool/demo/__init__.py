"""A pool at work in half a minute: real containers, real processes, real failures, and checks of what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["run_demo"]


def run_demo(*, console: Console, as_json: bool = False, keep: bool = False) -> int:
    """Start a private Redis, a manager and test runners; disturb them; report and check what happened.

    Args:
        console: Where to show it: live on a terminal, line by line elsewhere.
        as_json: Print the report as JSON, and nothing else.
        keep: Leave containers and state directory for a look at them.

    Returns:
        The exit code: 0, or 1 if a check failed.

    Raises:
        PoolError: The demo could not be carried out. Whatever was started is gone by then.
    """
    from pool.demo.stage import perform  # noqa: PLC0415 - runner processes import this package, and should start fast

    return perform(console, as_json=as_json, keep=keep)
