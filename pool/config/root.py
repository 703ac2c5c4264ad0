"""The whole configuration, and the slots that it describes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, model_validator

from pool.config.analytics import AnalyticsOptions
from pool.config.audit import AuditOptions
from pool.config.container import Options, refusal
from pool.config.http import HttpOptions
from pool.config.names import NAME_PATTERN, NAME_RULE
from pool.config.options import (
    DockerOptions,
    ManagerOptions,
    Name,
    PoolOptions,
    RedisOptions,
)

_ENGINE_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_ANY_ADDRESS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - recognised, not listened on


@dataclass(frozen=True, slots=True)
class Slot:
    """One place in a pool: what stays the same however often its container is recreated.

    Attributes:
        id: Stable id, unique in the deployment.
        name: The engine's name for the container.
        ports: Container port → published port; 0 where the engine chooses. Empty where nothing is published.
        inside: The container ports, published or not.
    """

    pool: str
    id: str
    name: str
    ports: Mapping[int, int]
    inside: tuple[int, ...] = ()

    @property
    def holder_name(self) -> str:
        """The engine's name for what keeps the slot's network, where something does."""
        return f"{self.name}-net"


class Config(Options):
    """One file: a deployment with its pools."""

    deployment: Name = "default"
    """Name of this set of pools. Containers, networks and labels carry it; two deployments share an engine in peace."""
    redis: RedisOptions = RedisOptions()
    """Where the state lives."""
    docker: DockerOptions = DockerOptions()
    """The container engine."""
    manager: ManagerOptions = ManagerOptions()
    """The process that owns the containers."""
    http: HttpOptions | None = None
    """The API over HTTP; null: none."""
    audit: AuditOptions = AuditOptions()
    """What is recorded of who did what."""
    analytics: AnalyticsOptions = AnalyticsOptions()
    """What is kept of the pools' past."""
    pools: Annotated[dict[Name, PoolOptions], Field(min_length=1)]
    """The pools by name."""

    @model_validator(mode="after")
    def _slots_are_distinct(self) -> Config:
        ids: dict[str, str] = {}
        names: dict[str, str] = {}
        ports: dict[int, list[tuple[str, str]]] = {}
        for pool, options in self.pools.items():
            addresses = {port.container: port.host_ip for port in options.container.ports}
            for index, slot in enumerate(self.slots(pool)):
                entry = f"pools.{pool}.containers.{index}" if options.containers else ""
                _check_name(slot, entry, ids, names, held=options.slot == "held")
                for inside, outside in slot.ports.items():
                    if outside:
                        _check_port(slot, entry, outside, addresses[inside], ports.setdefault(outside, []))
        return self

    @model_validator(mode="after")
    def _gateways_exist(self) -> Config:
        for pool, options in self.pools.items():
            if options.access == "gateway" and not (self.http and self.http.gateway):
                allowed = "nobody could reach its containers: it needs the section http with gateway: true"
                raise refusal(f"pools.{pool}.access", options.access, allowed)
        return self

    @property
    def gateway_base(self) -> str:
        """Where clients reach the gateway, as far as the configuration says; empty where it does not."""
        http = self.http
        if http is None or not http.gateway:
            return ""
        if http.public_url or not http.port or http.host in _ANY_ADDRESS:
            return http.public_url or ""
        host = f"[{http.host}]" if ":" in http.host else http.host
        return f"{'https' if http.tls_cert else 'http'}://{host}:{http.port}"

    def slots(self, pool: str) -> tuple[Slot, ...]:
        """Return the slots of a pool, in order."""
        options = self.pools[pool]
        inside = {port.container: port.host for port in options.container.ports}
        published = {} if options.access == "gateway" else inside
        slots = []
        for n, entry in enumerate(options.containers or [None] * (options.rotation + options.spares), start=1):
            slot_id = entry.id if entry else f"{pool}-{n}"
            pattern = entry.name if entry and entry.name else options.name
            name = pattern.format(deployment=self.deployment, pool=pool, id=slot_id, n=n)
            ports = {inside: first + n - 1 if first else 0 for inside, first in published.items()}
            slots.append(Slot(pool, slot_id, name, ports | (entry.ports if entry else {}), tuple(inside)))
        return tuple(slots)


def _check_name(slot: Slot, entry: str, ids: dict[str, str], names: dict[str, str], *, held: bool) -> None:
    """Refuse an id or a name that is malformed or taken; remember it otherwise."""
    at_id, at_name = (f"{entry}.id", f"{entry}.name") if entry else (f"pools.{slot.pool}", f"pools.{slot.pool}.name")
    if not re.fullmatch(NAME_PATTERN, slot.id):
        raise refusal(at_id, slot.id, f"this id of a container is too long; {NAME_RULE}")
    if not _ENGINE_NAME.fullmatch(slot.name):
        raise refusal(at_name, slot.name, "use two or more of a-z, 0-9, -, _ and ., a letter or digit first")
    claimed = [(at_id, "id", slot.id, ids), (at_name, "name", slot.name, names)]
    if held:
        claimed.append((at_name, "name", slot.holder_name, names))
    for at, kind, value, seen in claimed:
        if value in seen:
            raise refusal(at, value, f"{seen[value]} has this {kind} already; every container needs its own")
    ids[slot.id] = f"a container of pool {slot.pool}"
    names[slot.name] = f"container {slot.id}"
    if held:
        names[slot.holder_name] = f"the holder of container {slot.id}"


def _check_port(slot: Slot, entry: str, port: int, address: str, seen: list[tuple[str, str]]) -> None:
    """Refuse a published port that does not exist or is taken on this address; remember it otherwise."""
    at = f"{entry}.ports" if entry else f"pools.{slot.pool}.container.ports"
    if port > 65535:
        raise refusal(at, port, f"container {slot.id} would be published there; the highest port is 65535")
    for other_address, other in seen:
        if address == other_address or _ANY_ADDRESS & {address, other_address}:
            raise refusal(at, port, f"{other} is published there already; container {slot.id} needs a port of its own")
    seen.append((address, f"container {slot.id}"))
