"""The configuration: read, validated, frozen. Everything else receives it as an argument.

The names below load on first use: a client needs none of them, and reading YAML and checking it is slow to load.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pool.config.analytics import AnalyticsOptions
    from pool.config.audit import AuditOptions
    from pool.config.container import ContainerOptions, MountOptions, PortOptions
    from pool.config.evidence import Cause, EvidenceOptions
    from pool.config.gateway import Access, GatewayOptions
    from pool.config.holding import NETWORK_FILES
    from pool.config.http import HttpOptions
    from pool.config.load import load_config, parse_config, render_config
    from pool.config.options import (
        DockerOptions,
        HealthOptions,
        HttpProbe,
        LimitOptions,
        ManagerOptions,
        PoolOptions,
        RedisOptions,
        SlotOptions,
        TcpProbe,
    )
    from pool.config.recycle import RecycleOptions
    from pool.config.reset import ResetOptions, ResetRecipe, Verify
    from pool.config.root import Config, Slot
    from pool.config.thresholds import ThresholdOptions

_HOME = {
    "pool.config.analytics": ("AnalyticsOptions",),
    "pool.config.audit": ("AuditOptions",),
    "pool.config.container": (
        "ContainerOptions",
        "MountOptions",
        "PortOptions",
    ),
    "pool.config.evidence": (
        "Cause",
        "EvidenceOptions",
    ),
    "pool.config.gateway": (
        "Access",
        "GatewayOptions",
    ),
    "pool.config.holding": ("NETWORK_FILES",),
    "pool.config.http": ("HttpOptions",),
    "pool.config.load": (
        "load_config",
        "parse_config",
        "render_config",
    ),
    "pool.config.options": (
        "DockerOptions",
        "HealthOptions",
        "HttpProbe",
        "LimitOptions",
        "ManagerOptions",
        "PoolOptions",
        "RedisOptions",
        "SlotOptions",
        "TcpProbe",
    ),
    "pool.config.recycle": ("RecycleOptions",),
    "pool.config.reset": (
        "ResetOptions",
        "ResetRecipe",
        "Verify",
    ),
    "pool.config.root": (
        "Config",
        "Slot",
    ),
    "pool.config.thresholds": ("ThresholdOptions",),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "NETWORK_FILES",
    "Access",
    "AnalyticsOptions",
    "AuditOptions",
    "Cause",
    "Config",
    "ContainerOptions",
    "DockerOptions",
    "EvidenceOptions",
    "GatewayOptions",
    "HealthOptions",
    "HttpOptions",
    "HttpProbe",
    "LimitOptions",
    "ManagerOptions",
    "MountOptions",
    "PoolOptions",
    "PortOptions",
    "RecycleOptions",
    "RedisOptions",
    "ResetOptions",
    "ResetRecipe",
    "Slot",
    "SlotOptions",
    "TcpProbe",
    "ThresholdOptions",
    "Verify",
    "load_config",
    "parse_config",
    "render_config",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'pool.config' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
