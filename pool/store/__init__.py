"""The state in Redis: the only part of the pool that knows keys and scripts."""

from __future__ import annotations

from pool.store.connection import Connection, check_pool_name, retrying
from pool.store.decode import Measured
from pool.store.events import read_events
from pool.store.observation import Observation
from pool.store.orphans import find_orphans, forget_orphans
from pool.store.pool_store import Claim, PoolSettings, PoolStore, pool_names
from pool.store.request import LIVENESS_S, RequestSpec
from pool.store.request_store import Grant, RequestStore, Waiting
from pool.store.wake import WakeListener

__all__ = [
    "LIVENESS_S",
    "Claim",
    "Connection",
    "Grant",
    "Measured",
    "Observation",
    "PoolSettings",
    "PoolStore",
    "RequestSpec",
    "RequestStore",
    "Waiting",
    "WakeListener",
    "check_pool_name",
    "find_orphans",
    "forget_orphans",
    "pool_names",
    "read_events",
    "retrying",
]
