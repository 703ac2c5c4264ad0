"""The gateway: HTTP and WebSockets to leased containers, for as long as the lease lasts."""

from __future__ import annotations

from pool.api.gateway.gateway import Gateway, add_gateway

__all__ = ["Gateway", "add_gateway"]
