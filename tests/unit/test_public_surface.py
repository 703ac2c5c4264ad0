from __future__ import annotations

import subprocess
import sys

import pool


def test_the_public_surface_is_what_is_promised() -> None:
    assert pool.__all__ == sorted(pool.__all__)
    assert pool.__all__ == [
        "AcquireTimeout",
        "AlreadyReleased",
        "AsyncClient",
        "AsyncLease",
        "Client",
        "ConfigError",
        "InvalidRequest",
        "Lease",
        "LeaseLost",
        "Outcome",
        "PoolDraining",
        "PoolError",
        "Priority",
        "QueueFull",
        "ResetLevel",
        "State",
        "StoreUnavailable",
        "UnknownPool",
        "connect",
        "connect_async",
    ]
    assert all(getattr(pool, name) for name in pool.__all__)


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = {"aiohttp", "docker", "pydantic", "redis", "rich", "structlog", "typer"}
    script = "import sys, pool; print(*sys.modules)"

    loaded = set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )

    assert not heavy & loaded
