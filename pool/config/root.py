"""The whole configuration, and the slots that it describes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, model_validator

from pool.config.container import Options
from pool.config.options import NAME_PATTERN, DockerOptions, ManagerOptions, Name, PoolOptions, RedisOptions

_ENGINE_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Slot:
    """One place in a pool: what stays the same however often its container is recreated.

    Attributes:
        id: Stable id, unique in the deployment.
        name: The engine's name for the container.
        ports: Container port → published port; 0 where the engine chooses.
    """

    pool: str
    id: str
    name: str
    ports: Mapping[int, int]


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
    pools: Annotated[dict[Name, PoolOptions], Field(min_length=1)]
    """The pools by name."""

    @model_validator(mode="after")
    def _no_duplicates(self) -> Config:
        ids: dict[str, str] = {}
        names: dict[str, str] = {}
        ports: dict[tuple[str, int], str] = {}
        for pool, options in self.pools.items():
            published = {port.container: port.host_ip for port in options.container.ports}
            for slot in self.slots(pool):
                for kind, value, seen in (("id", slot.id, ids), ("name", slot.name, names)):
                    if value in seen:
                        raise ValueError(f"pools.{pool}: container {kind} {value!r} is already used by pool {seen[value]}")
                    seen[value] = pool
                if not re.fullmatch(NAME_PATTERN, slot.id) or not _ENGINE_NAME.fullmatch(slot.name):
                    raise ValueError(f"pools.{pool}: {slot.name!r} cannot be a container's name; use a-z, 0-9, - _ .")
                for inside, outside in slot.ports.items():
                    if not outside:
                        continue
                    if outside > 65535:
                        raise ValueError(f"pools.{pool}: container {slot.id} would be published on port {outside}; "
                                         "the highest port is 65535")  # fmt: skip
                    key = (published[inside], outside)
                    if key in ports:
                        raise ValueError(f"pools.{pool}: port {outside} of container {slot.id} is already used by {ports[key]}")
                    ports[key] = slot.id
        return self

    def slots(self, pool: str) -> tuple[Slot, ...]:
        """Return the slots of a pool, in order."""
        options = self.pools[pool]
        published = {port.container: port.host for port in options.container.ports}
        slots = []
        for n, entry in enumerate(options.containers or [None] * (options.size or 0), start=1):
            slot_id = entry.id if entry else f"{pool}-{n}"
            pattern = entry.name if entry and entry.name else options.name
            ports = {inside: first + n - 1 if first else 0 for inside, first in published.items()}
            if entry:
                for inside in entry.ports:
                    if inside not in published:
                        listed = ", ".join(map(str, published)) or "none"
                        raise ValueError(f"pools.{pool}.containers: {slot_id} publishes port {inside}, which is not among "
                                         f"container.ports ({listed})")  # fmt: skip
                ports |= entry.ports
            name = pattern.format(deployment=self.deployment, pool=pool, id=slot_id, n=n)
            slots.append(Slot(pool, slot_id, name, ports))
        return tuple(slots)
