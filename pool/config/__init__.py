"""The configuration: read, validated, frozen. Everything else receives it as an argument."""

from __future__ import annotations

from pool.config.container import ContainerOptions, MountOptions, PortOptions
from pool.config.load import load_config, parse_config, render_config
from pool.config.options import (
    DockerOptions,
    HealthOptions,
    HttpProbe,
    LimitOptions,
    ManagerOptions,
    PoolOptions,
    RedisOptions,
    ResetOptions,
    ResetRecipe,
    SlotOptions,
    TcpProbe,
)
from pool.config.root import Config, Slot

__all__ = [
    "Config",
    "ContainerOptions",
    "DockerOptions",
    "HealthOptions",
    "HttpProbe",
    "LimitOptions",
    "ManagerOptions",
    "MountOptions",
    "PoolOptions",
    "PortOptions",
    "RedisOptions",
    "ResetOptions",
    "ResetRecipe",
    "Slot",
    "SlotOptions",
    "TcpProbe",
    "load_config",
    "parse_config",
    "render_config",
]
