"""Logs: dotted event names plus facts, to stderr, as text for people or JSON for programs.

Every entry, also one that a library writes through `logging`, goes the same way: what proves something to us is hidden,
what would steer a terminal or begin a line of its own is escaped, then it is written.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Literal

import structlog

from pool.redaction import HIDDEN, redact

#: Names under which no value is ever shown, whatever it looks like. Compared without case, `_` and `-` alike.
_SECRET_NAMES = frozenset(
    {"authorization", "cookie", "set_cookie", "password", "proxy_authorization", "secret", "token"}
)


def escape(text: str, *, keep: str = "") -> str:
    r"""Write what is not printable as Python does: a line break or an escape sequence shows, and does nothing.

    Args:
        text: Any text.
        keep: Characters that stay as they are.

    >>> escape("a\nb\x1b[31m\u2028")
    'a\\nb\\x1b[31m\\u2028'
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in keep else _escaped(character) for character in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def hide_secrets(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide secrets in a log entry; structlog calls it for each entry."""
    return {redact(str(name)): _walk(str(name), value, redact) for name, value in entry.items()}


def escape_controls(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape what would steer a terminal or begin a line of its own; JSON does that by itself."""
    safe = {}
    for name, value in entry.items():
        if name == "exception":  # a traceback has lines; indented, none of them can pass for an entry
            safe[name] = "\n".join(f"  {line}" for line in escape(str(value), keep="\n").split("\n"))
        else:
            safe[escape(name)] = _walk("", value, escape)
    return safe


def _walk(name: str, value: Any, change: Callable[[str], str]) -> Any:
    """Change all texts of a value; what has a secret's name is hidden."""
    if name.lower().replace("-", "_") in _SECRET_NAMES and value not in (None, ""):
        return HIDDEN
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {change(str(key)): _walk(str(key), inner, change) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_walk("", inner, change) for inner in value]
    return change(value if isinstance(value, str) else str(value))


class _OurHandler(logging.StreamHandler[Any]):
    """What writes the entries of libraries; one of a kind."""


def configure_logging(fmt: Literal["text", "json"] = "text", *, verbose: bool = False, quiet: bool = False) -> None:
    """Set up the logs of this process. Libraries that use `logging` are heard from warnings on.

    Args:
        fmt: Text for people, or JSON for programs.
        verbose: Log more.
        quiet: Log warnings only, for a command whose output says the rest.
    """
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[structlog.typing.Processor] = [structlog.processors.format_exc_info, hide_secrets]
    if fmt == "json":
        last.append(structlog.processors.JSONRenderer())
    else:
        # a rich traceback would show the local variables of each frame, and so secrets that no pattern knows
        plain = structlog.dev.plain_traceback
        colors = sys.stderr.isatty()
        last += [
            escape_controls,
            structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=24, exception_formatter=plain),
        ]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = _OurHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [*(other for other in root.handlers if not isinstance(other, _OurHandler)), handler]
    root.setLevel(logging.WARNING)
