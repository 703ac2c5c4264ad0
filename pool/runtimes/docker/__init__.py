"""Docker as a runtime."""

from __future__ import annotations

from pool.runtimes.docker.runtime import DockerRuntime

__all__ = ["DockerRuntime"]
