"""A fixed pool of pre-started containers, lent one at a time, reset and proven clean in between.

The names below load on first use: a test runner that merely finds this package installed pays nothing for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pool.client import AsyncBundle, AsyncClient, AsyncLease, Bundle, Client, Lease, connect, connect_async
    from pool.errors import (
        AcquireTimeout,
        AlreadyReleased,
        ConfigError,
        InvalidRequest,
        LeaseLost,
        NoneFit,
        PoolDraining,
        PoolError,
        QueueFull,
        RequirementsUnmet,
        StoreUnavailable,
        UnknownPool,
    )
    from pool.models import Outcome, Priority, ResetLevel, State

_HOME = {
    "pool.client": (
        "AsyncBundle", "AsyncClient", "AsyncLease", "Bundle", "Client", "Lease", "connect", "connect_async",
    ),
    "pool.errors": (
        "AcquireTimeout", "AlreadyReleased", "ConfigError", "InvalidRequest", "LeaseLost", "NoneFit", "PoolDraining",
        "PoolError", "QueueFull", "RequirementsUnmet", "StoreUnavailable", "UnknownPool",
    ),
    "pool.models": ("Outcome", "Priority", "ResetLevel", "State"),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__version__ = "0.1.0"

__all__ = [
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


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'pool' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
