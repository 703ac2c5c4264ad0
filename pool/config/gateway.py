"""How a pool's containers are reached through the gateway, and what a pool must not be then."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator

from pool.config.container import ContainerOptions, Options, Seconds

#: Whether holders reach published ports, the gateway, or both.
Access = Literal["direct", "gateway", "both"]

_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(\d{1,5}|\{port\}))?")
#: Networks in which a container has no address of its own.
_SHARED_NETWORKS = ("host", "none")


class GatewayOptions(Options):
    """What the gateway does with requests to the pool's containers. `docs/gateway.md` describes it."""

    host_header: str = "target"
    """`target`: the address at which the gateway reaches the container; `original`: what the client sent; or a text of
    your own such as `localhost:{port}`, where `{port}` is the container port. Some servers answer only to one name."""
    origin: Literal["target", "keep", "remove"] = "target"
    """What becomes of an Origin header: one of the target, as `host_header` names it, what the client sent, or none."""
    connections: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Requests, streams and WebSockets that one lease may have open at once."""
    connect_timeout_s: Seconds = 5.0
    """How long the container may take to accept a connection. What it sends may take as long as the lease."""
    sandbox: bool = True
    """Tell browsers to give pages from containers an origin of their own (`Content-Security-Policy: sandbox`): they
    could else do with the pool's API whatever the page's visitor may. Without an effect on other programs."""

    @field_validator("host_header")
    @classmethod
    def _is_host(cls, value: str) -> str:
        if not _HOST.fullmatch(value):
            raise ValueError("use target, original, or a host with or without port, such as localhost:{port}")
        return value


def obstacles_to_gateway(
    access: Access, scheme: str, hand_out: str, container: ContainerOptions, slots: Mapping[int, Mapping[int, int]]
) -> Iterator[tuple[str, object, str]]:
    """Yield the options that cannot be as they are with an access: path, value, and what is allowed.

    Args:
        access: The pool's.
        scheme: Of its containers' URLs.
        hand_out: What its clients ask a container before they use it.
        container: How a container is created.
        slots: Index of each container that is named by hand → its published ports.
    """
    if access != "direct":
        yield from _always(access, scheme, container)
    if access == "gateway":
        yield from _unpublished(hand_out, container, slots)


def _always(access: Access, scheme: str, container: ContainerOptions) -> Iterator[tuple[str, object, str]]:
    if scheme == "tcp":
        yield "scheme", scheme, f"the gateway of access: {access} speaks http, https, ws and wss; or use access: direct"
    if not container.ports:
        yield "access", access, "there is nothing to reach: list the ports under container.ports, or use direct"


def _unpublished(
    hand_out: str, container: ContainerOptions, slots: Mapping[int, Mapping[int, int]]
) -> Iterator[tuple[str, object, str]]:
    network = container.network or ""
    if hand_out != "none":
        yield "health.hand_out", hand_out, "with access: gateway clients cannot ask containers anything; use none"
    if network in _SHARED_NETWORKS or network.startswith("container:"):
        yield "container.network", network, "access: gateway needs an address in it; name a bridge network"
    nothing = "with access: gateway nothing is published; leave it out, or use access: both"
    for index, port in enumerate(container.ports):
        if port.host:
            yield f"container.ports.{index}.host", port.host, nothing
    for index, ports in slots.items():
        if ports:
            yield f"containers.{index}.ports", dict(ports), nothing
