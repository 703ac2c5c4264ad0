"""The engines that run containers, each behind the port `pool.ports.Runtime`."""

from __future__ import annotations

from pool.runtimes.docker import DockerRuntime, EngineFacts, PublishedPort

__all__ = ["DockerRuntime", "EngineFacts", "PublishedPort"]
