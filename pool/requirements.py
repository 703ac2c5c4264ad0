"""What a request needs of a container, and which pool can give it."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pool.errors import InvalidRequest, RequirementsUnmet, UnknownPool
from pool.models import PoolFacts, PoolStatus, State
from pool.store import Connection, PoolStore, pool_names
from pool.store.refusals import too_many
from pool.waiting import queue

_ALLOWED = "use min_memory_mb and max_cpu_percent with a number above 0, and labels with a mapping of texts"


class Requirements(BaseModel):
    """What a request needs.

    Attributes:
        min_memory_mb: The container may use at least this much memory, in MiB.
        max_cpu_percent: The container can use at most this much CPU; 100 is one core.
        labels: The container has all of these labels.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    min_memory_mb: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    max_cpu_percent: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    labels: dict[str, str] = {}

    @classmethod
    def parse(cls, wish: Mapping[str, Any]) -> Requirements:
        """Check what a user asks for.

        Raises:
            InvalidRequest: A requirement is unknown or has no sense.
        """
        if not isinstance(wish, Mapping):
            raise InvalidRequest("requirements", wish, _ALLOWED)
        try:
            return cls.model_validate(dict(wish))
        except ValidationError as error:
            fault = error.errors()[0]
            path = ".".join(str(part) for part in ("requirements", *fault["loc"]))
            raise InvalidRequest(path, fault["input"], _ALLOWED) from None

    def unmet(self, facts: PoolFacts) -> list[str]:
        """Say in words what a pool's containers lack; nothing if they fit."""
        lacks = []
        if self.min_memory_mb is not None and facts.memory_mb is not None and facts.memory_mb < self.min_memory_mb:
            lacks.append(f"min_memory_mb {self.min_memory_mb:g}: its containers have {facts.memory_mb:g}")
        if self.max_cpu_percent is not None:
            if facts.cpus is None:
                lacks.append(f"max_cpu_percent {self.max_cpu_percent:g}: its containers have no CPU limit")
            elif facts.cpus * 100 > self.max_cpu_percent:
                lacks.append(f"max_cpu_percent {self.max_cpu_percent:g}: its containers have {facts.cpus * 100:g}")
        lacks += [
            f"label {key}={value}: its containers have {facts.labels.get(key, 'none')}"
            for key, value in self.labels.items()
            if facts.labels.get(key) != value
        ]
        return lacks


async def route(
    connection: Connection, pool: str | None, requirements: Requirements, *, among: Container[str] | None = None
) -> str:
    """Return the pool for a request: the one that is named, or the one that fits and serves soonest.

    Args:
        connection: Where the pools are.
        pool: The named one.
        requirements: What its containers must have.
        among: The pools to choose from; all of them when None.

    Raises:
        RequirementsUnmet: No pool can ever serve it; says of each what it lacks.
        UnknownPool: The named pool does not exist.
    """
    if pool is not None:
        statuses = [await PoolStore(connection, pool).status()]
    else:
        names = [name for name in await pool_names(connection) if among is None or name in among]
        statuses = [status for name in names if (status := await _status(connection, name))]
    return choose(statuses, requirements)


def choose(statuses: Sequence[PoolStatus], requirements: Requirements) -> str:
    """Return the pool that fits and serves soonest.

    Raises:
        RequirementsUnmet: No pool can ever serve it; says of each what it lacks.
    """
    fitting = [status for status in statuses if not requirements.unmet(status.facts)]
    if fitting:
        return min(fitting, key=_wait_s).pool
    lacks = [f"{status.pool}: {'; '.join(requirements.unmet(status.facts))}" for status in statuses]
    raise RequirementsUnmet(
        f"no pool can serve this request: {' | '.join(lacks) or 'there is none'}",
        hint="lower the requirements, or configure a pool that meets them",
    )


async def check_sizes(connection: Connection, counts: Mapping[str, int]) -> None:
    """Refuse a bundle that can never be had, before any pool is asked for its part.

    Raises:
        UnknownPool: One of the pools does not exist.
        RequirementsUnmet: A pool has fewer containers than are wanted of it.
    """
    statuses = await asyncio.gather(*(PoolStore(connection, pool).status() for pool in counts))
    for status in statuses:
        there, wanted = status.places, counts[status.pool]
        if wanted > there:
            raise too_many(status.pool, there, wanted)


async def _status(connection: Connection, pool: str) -> PoolStatus | None:
    """Return a pool's status; None where it was removed, or lost with Redis' data, since the names were read."""
    try:
        return await PoolStore(connection, pool).status()
    except UnknownPool:
        return None


def _wait_s(status: PoolStatus) -> tuple[int, float]:
    """Order pools by whether a container is free, then by how long the queue will last."""
    waits = [entry.estimated_wait_s or 0.0 for entry in queue(status)]
    busy = sum(record.state is State.ALLOCATED for record in status.containers)
    return (0 if status.count(State.AVAILABLE) else 1, max(waits, default=0.0) + busy / max(status.places, 1))
