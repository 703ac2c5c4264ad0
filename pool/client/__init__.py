"""Clients of the pool: ask for a container, hold it, give it back. Heartbeats run by themselves."""

from __future__ import annotations

from pool.client.aio import AsyncClient, connect_async
from pool.client.bundle import AsyncBundle
from pool.client.lease import AsyncLease
from pool.client.sync import Bundle, Client, Lease, connect

__all__ = ["AsyncBundle", "AsyncClient", "AsyncLease", "Bundle", "Client", "Lease", "connect", "connect_async"]
