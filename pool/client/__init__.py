"""Clients of the pool: ask for a container, hold it, give it back. Heartbeats run by themselves."""

from __future__ import annotations

from pool.client.aio import AsyncClient, connect_async
from pool.client.lease import AsyncLease
from pool.client.sync import Client, Lease, connect

__all__ = ["AsyncClient", "AsyncLease", "Client", "Lease", "connect", "connect_async"]
