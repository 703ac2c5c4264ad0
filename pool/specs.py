"""What a container is to be, and the labels by which the pool knows its own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from pool.config import Config, ContainerOptions, Slot

#: Prefix of the labels by which the pool knows its own containers and networks.
LABEL = "containerpool"
LABEL_DEPLOYMENT = f"{LABEL}.deployment"
LABEL_POOL = f"{LABEL}.pool"
LABEL_ID = f"{LABEL}.id"
LABEL_GENERATION = f"{LABEL}.generation"
LABEL_SPEC = f"{LABEL}.spec"
#: On a holder, in place of `LABEL_ID`: the slot whose network and ports it keeps. It is no container of the pool.
LABEL_HOLDS = f"{LABEL}.holds"
#: On an image that was kept as evidence: the deployment. It is no label of a container of ours.
LABEL_EVIDENCE = f"{LABEL}.evidence"


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """Everything needed to create one container.

    Attributes:
        ports: Container port → published port; 0 lets the engine choose.
        spec: Fingerprint of the options; a container with another one no longer belongs as it is.
        joins: The container whose network it shares, in place of one and ports of its own; empty for none.
        holds: Whether it is a holder: it only keeps its slot's network and ports, and ends at once when told to.
    """

    deployment: str
    pool: str
    id: str
    name: str
    generation: int
    spec: str
    ports: Mapping[int, int]
    options: ContainerOptions
    joins: str = ""
    holds: bool = False

    @classmethod
    def of(cls, config: Config, slot: Slot, *, generation: int, joins: str = "") -> ContainerSpec:
        """Return what a slot's container is to be, in its n-th generation, and whose network it joins."""
        options = config.pools[slot.pool].container
        held = "held " if config.pools[slot.pool].slot == "held" else ""
        return cls(
            deployment=config.deployment,
            pool=slot.pool,
            id=slot.id,
            name=slot.name,
            generation=generation,
            spec=_fingerprint(f"{held}{slot.name} {dict(slot.ports)}", options),
            ports=slot.ports,
            options=options,
            joins=joins,
        )

    @classmethod
    def of_holder(cls, config: Config, slot: Slot) -> ContainerSpec:
        """Return what the holder of a slot is to be. Only a pool whose recipe has a shell can have one."""
        options = config.pools[slot.pool].holder_options
        return cls(
            deployment=config.deployment,
            pool=slot.pool,
            id=slot.id,
            name=slot.holder_name,
            generation=1,
            spec=_fingerprint(f"{slot.holder_name} {dict(slot.ports)}", options),
            ports=slot.ports,
            options=options,
            holds=True,
        )

    @property
    def labels(self) -> dict[str, str]:
        """The labels that mark the container as ours, and the user's own."""
        return {
            **self.options.labels,
            LABEL_DEPLOYMENT: self.deployment,
            LABEL_POOL: self.pool,
            (LABEL_HOLDS if self.holds else LABEL_ID): self.id,
            LABEL_GENERATION: str(self.generation),
            LABEL_SPEC: self.spec,
        }


def _fingerprint(text: str, options: ContainerOptions) -> str:
    return hashlib.sha256(f"{text} {options.model_dump_json()}".encode()).hexdigest()[:16]
