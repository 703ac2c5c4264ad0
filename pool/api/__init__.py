"""The API over HTTP: what a runner in any language, on any machine, and an operator need."""

from __future__ import annotations

from pool.api.server import ApiServer

__all__ = ["ApiServer"]
