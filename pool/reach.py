"""How a container is reached: what is asked of it before it is used, and what the gateway does with requests to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class HandOutCheck:
    """What a client asks a container between the grant and its use.

    Attributes:
        kind: ``tcp`` or ``http``.
        port: The published port.
        path: What to GET.
        status: Answers that mean fit.
        headers: To send; they may hold secrets.
        timeout_s: How long the container may take.
    """

    kind: str
    port: int
    timeout_s: float
    path: str = "/"
    status: tuple[int, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class GatewayRules:
    """How the gateway reaches a container, and what it does with requests; see `pool.config.GatewayOptions`.

    Attributes:
        scheme: ``http`` or ``https``.
        base: Where clients reach the gateway, such as ``https://pool.example.com``; empty where that is not known.
    """

    scheme: str
    host_header: str
    origin: str
    connections: int
    connect_timeout_s: float
    sandbox: bool
    base: str = ""
