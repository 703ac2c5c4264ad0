"""What can be asked of a container from outside: does it take connections, does it answer as it should?

Managers ask it of all containers, clients of the one that they were just given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from pool.models import ContainerInfo

#: What a configured path may hold as it is; a `%` is taken for one of an escape.
_SAFE = "/?&=%:@!$'()*+,;~"


async def ask_tcp(host: str, port: int, *, timeout_s: float) -> str:
    """Connect; returns what is wrong, in words, or nothing."""
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as error:
        return f"no connection to {host}:{port}: {str(error) or 'timed out'}"
    writer.close()
    return ""


async def ask_http(
    host: str, port: int, *, path: str, status: Sequence[int], headers: Mapping[str, str], timeout_s: float
) -> str:
    """Send a GET; returns what is wrong with the answer, in words, or nothing."""
    url = f"http://{host}:{port}{path}"
    try:
        async with asyncio.timeout(timeout_s):
            answer = await _get(host, port, path, headers)
    except TimeoutError:
        return f"GET {url}: no answer within {timeout_s:g} s"
    except (OSError, ValueError) as error:
        return f"GET {url}: {str(error) or type(error).__name__}"
    return "" if answer in status else f"GET {url}: status {answer}, not one of {list(status)}"


async def _get(host: str, port: int, path: str, headers: Mapping[str, str]) -> int:
    """Return the status of the answer to a GET; redirects are not followed, and what comes after is not read.

    By hand, since it is asked of every container all the time, and in the middle of every reset: an HTTP client takes
    far longer. The connection is not kept: it would be a process of the container's server that no baseline has.

    Raises:
        OSError: Nobody listens, or the connection broke.
        ValueError: What came is no HTTP, or a header cannot be sent.
    """
    sent = {"host": f"{host}:{port}", "accept": "*/*", "connection": "close", "user-agent": "containerpool"}
    sent |= {name.lower(): value for name, value in headers.items()}
    lines = [f"GET {quote(path, safe=_SAFE)} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header has a line break in it")
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        answer = (await reader.readline()).split()
    finally:
        writer.close()
    if not answer:
        raise ConnectionError("the server hung up without an answer")
    if len(answer) < 2 or not answer[0].startswith(b"HTTP/") or not answer[1].isdigit():
        raise ValueError("the answer is not HTTP")
    return int(answer[1])


async def ask_at_hand_out(info: ContainerInfo) -> str:
    """Ask a container what its pool wants to know before it is used; returns what is wrong, or nothing."""
    check = info.hand_out
    if check is None:
        return ""
    if check.kind == "tcp":
        problem = await ask_tcp(info.host, check.port, timeout_s=check.timeout_s)
    else:
        problem = await ask_http(
            info.host,
            check.port,
            path=check.path,
            status=check.status,
            headers=check.headers,
            timeout_s=check.timeout_s,
        )
    return f"{check.kind}: {problem}" if problem else ""
