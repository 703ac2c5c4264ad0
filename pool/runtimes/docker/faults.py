"""From whatever the SDK, a socket or the engine says to exactly one of our errors."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from docker.errors import APIError
from requests.exceptions import RequestException, Timeout
from urllib3.exceptions import ReadTimeoutError

from pool.errors import ContainerGone, EngineError, EngineTimeout, EngineUnavailable, ImageMissing, PortTaken

#: What can go wrong between us and the engine, besides the answers it gives.
TRANSPORT_ERRORS = (RequestException, OSError, EOFError)

_GONE = re.compile(r"no such (container|exec)|could not find the file", re.IGNORECASE)
_BUSY_PORT = re.compile(r"port is already allocated|address already in use", re.IGNORECASE)
_PORT = re.compile(
    r"(?:Bind for|listen \w+|bind host port(?: for)?):? (\d+(?:\.\d+){3}|\[[^]]*\])?:(\d+)", re.IGNORECASE
)


def translate(error: Exception, *, doing: str, url: str) -> EngineError:
    """Return our error for an exception of the SDK or of a socket.

    Args:
        error: What was raised.
        doing: What we were about, naming the container or image.
        url: Where the engine is.
    """
    if isinstance(error, APIError):
        return refusal(error.status_code or 500, error.explanation or str(error), doing=doing)
    causes = list(_causes(error))
    if any(isinstance(cause, Timeout | ReadTimeoutError | TimeoutError) for cause in causes):
        return timed_out(doing, url)
    if isinstance(error, TRANSPORT_ERRORS):
        return unavailable(causes, url)
    return EngineError(f"{doing}: {error}")


def refusal(status: int, message: str, *, doing: str) -> EngineError:
    """Return our error for an answer with an HTTP status of 400 and above."""
    message = message.strip()
    if _BUSY_PORT.search(message):
        return _port_taken(message, doing)
    if status == 404 and "no such image" in message.lower():
        return ImageMissing(f"{doing}: {message}", hint="build or pull the image on the engine's host")
    if status == 404 and _GONE.search(message):
        return ContainerGone(f"{doing}: {message}")
    return EngineError(f"{doing}: the engine answered {status}: {message}")


def timed_out(doing: str, url: str, deadline_s: float | None = None) -> EngineTimeout:
    """Return the error for a call that did not end in time."""
    within = f" within {deadline_s:g} s" if deadline_s is not None else " in time"
    return EngineTimeout(
        f"{doing}: the engine at {url} did not finish{within}",
        hint="see what keeps the engine busy, or raise docker.timeout_s",
    )


def unavailable(causes: list[BaseException], url: str) -> EngineUnavailable:
    """Return the error for an engine that cannot be reached, with the remedy that fits the cause."""
    if any(isinstance(cause, PermissionError) for cause in causes):
        hint = "add your user to the group docker (sudo usermod -aG docker $USER) and log in again"
        return EngineUnavailable(f"no permission to use the engine at {url}", hint=hint)
    if url.startswith("unix://"):
        hint = "start it with: systemctl start docker"
    else:
        hint = "start it there, and check docker.url and docker.tls_dir"
    why = next(filter(None, map(_system_error, causes)), str(causes[-1])) or "the connection was closed"
    return EngineUnavailable(f"the engine at {url} does not answer: {why}", hint=hint)


def _system_error(error: BaseException) -> str:
    if isinstance(error, ConnectionError | FileNotFoundError) and error.errno:
        return os.strerror(error.errno)  # asyncio puts something longer into `strerror`
    return (error.strerror or "") if isinstance(error, OSError) else ""


def _port_taken(message: str, doing: str) -> PortTaken:
    match = _PORT.search(message)
    if not match:
        return PortTaken(f"{doing}: one of its ports is taken: {message}")
    where = f"port {match[2]} on {match[1]}" if match[1] else f"port {match[2]}"
    return PortTaken(f"{doing}: {where} is taken", hint=f"see who listens there: ss -ltnp 'sport = :{match[2]}'")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and all it wraps: requests and urllib3 keep the socket's own error in `args`."""
    yield error
    inner = [argument for argument in error.args if isinstance(argument, BaseException)]
    reason = getattr(error, "reason", None)
    for cause in [*inner, reason, error.__cause__]:
        if isinstance(cause, BaseException):
            yield from _causes(cause)
