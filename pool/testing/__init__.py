"""For tests of what uses the pool: an engine that exists in memory only."""

from __future__ import annotations

from pool.testing.containers import MemoryContainer
from pool.testing.runtime import MemoryRuntime, ShellHandler
from pool.testing.shell import MemoryShell

__all__ = ["MemoryContainer", "MemoryRuntime", "MemoryShell", "ShellHandler"]
