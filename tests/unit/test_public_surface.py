from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import pool
from pool import AsyncClient, Client


def test_the_public_surface_is_what_is_promised() -> None:
    assert pool.__all__ == sorted(pool.__all__)
    assert pool.__all__ == [
        "AcquireTimeout",
        "AlreadyReleased",
        "AsyncBundle",
        "AsyncClient",
        "AsyncLease",
        "Bundle",
        "Client",
        "ConfigError",
        "InvalidRequest",
        "Lease",
        "LeaseLost",
        "NoneFit",
        "Outcome",
        "PoolDraining",
        "PoolError",
        "Priority",
        "QueueFull",
        "RequirementsUnmet",
        "ResetLevel",
        "State",
        "StoreUnavailable",
        "UnknownPool",
        "connect",
        "connect_async",
    ]
    assert all(getattr(pool, name) for name in pool.__all__)


@pytest.mark.parametrize("name", ["acquire", "acquire_many"])
def test_both_clients_take_the_same_wishes(name: str) -> None:
    wishes = [list(inspect.signature(getattr(kind, name)).parameters.values()) for kind in (Client, AsyncClient)]

    assert wishes[0] == wishes[1]


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = {"aiohttp", "docker", "pydantic", "redis", "rich", "structlog", "typer"}
    script = "import sys, pool; print(*sys.modules)"

    loaded = set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )

    assert not heavy & loaded
