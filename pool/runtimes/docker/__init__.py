"""Docker as a runtime."""

from __future__ import annotations

from pool.runtimes.docker.runtime import DockerRuntime
from pool.runtimes.docker.survey import EngineFacts, PublishedPort

__all__ = ["DockerRuntime", "EngineFacts", "PublishedPort"]
