"""What a path of the gateway says: which lease, which port, and what to ask of the container, to the byte."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pool.api.problems import Problem

_LEASE = re.compile(r"/c/(?P<token>[^/?]*)(?P<rest>.*)")
_PORT = re.compile(r"/_port/(?P<port>[^/?]*)(?P<rest>.*)")
_NUMBER = re.compile(r"[1-9][0-9]{0,4}")
_VISIBLE = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a request goes.

    Attributes:
        token: Of the lease, sealed; unproven.
        port: The container port that the path names; None for the first one.
        target: Path and query to ask the container for, exactly as the client wrote them.
        prefix: What stands before them, without a slash at its end.
        bare: Nothing stands behind the prefix, not even a slash, so `target` begins with one of ours.
    """

    token: str
    port: int | None
    target: str
    prefix: str
    bare: bool

    @property
    def root(self) -> str:
        """The prefix of the container's first port."""
        return f"/c/{self.token}"


def read_address(raw: str) -> Address:
    """Read the target of a request line. What it names beyond the prefix is the container's business, dots and all.

    Args:
        raw: As it was sent: path and query, escapes untouched.

    Raises:
        Problem: It is no path below `/c/`, or the port is no number.
    """
    # An absolute form would name a host, and a fragment would be cut off on the way: neither is ever sent by a client.
    found = _LEASE.fullmatch(raw)
    if not found or "#" in raw or not _VISIBLE.fullmatch(raw):
        raise Problem(400, "target_invalid", "the target of the request is no path of the gateway in visible ASCII")
    rest, prefix, port = found["rest"], f"/c/{found['token']}", None
    if named := _PORT.fullmatch(rest):
        if not _NUMBER.fullmatch(named["port"]):
            raise Problem(404, "port_unknown", "what follows /_port/ is not the number of a port")
        rest, port = named["rest"], int(named["port"])
        prefix += f"/_port/{port}"
    return Address(found["token"], port, rest if rest.startswith("/") else f"/{rest}", prefix, not rest.startswith("/"))
