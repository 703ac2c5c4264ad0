"""The configuration: read, validated, frozen. Everything else receives it as an argument."""

from __future__ import annotations

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

__all__ = [
    "NETWORK_FILES",
    "Access",
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
