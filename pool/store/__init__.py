"""The state in Redis: the only part of the pool that knows keys and scripts."""

from __future__ import annotations

from pool.store.audit_store import ACCESS, AuditStore, Link
from pool.store.connection import Connection, check_pool_name, retrying
from pool.store.decode import Measured
from pool.store.events import event_order, read_events, were_trimmed
from pool.store.follow import ends, follow
from pool.store.history_store import HOUR_S, Additions, Fields, HistoryStore, HourRules, LiveHour, add_fields, hour_of
from pool.store.metrics_store import Counters, MetricsStore
from pool.store.observation import Observation
from pool.store.orphans import find_orphans, forget_orphans
from pool.store.pool_store import Claim, PoolSettings, PoolStore, pool_names
from pool.store.request import LIVENESS_S, RequestRecord, RequestSpec
from pool.store.request_store import Grant, PoolLimits, RequestStore, Sight, Waiting
from pool.store.token_store import TokenRecord, TokenStore
from pool.store.wake import WakeListener

__all__ = [
    "ACCESS",
    "HOUR_S",
    "LIVENESS_S",
    "Additions",
    "AuditStore",
    "Claim",
    "Connection",
    "Counters",
    "Fields",
    "Grant",
    "HistoryStore",
    "HourRules",
    "Link",
    "LiveHour",
    "Measured",
    "MetricsStore",
    "Observation",
    "PoolLimits",
    "PoolSettings",
    "PoolStore",
    "RequestRecord",
    "RequestSpec",
    "RequestStore",
    "Sight",
    "TokenRecord",
    "TokenStore",
    "Waiting",
    "WakeListener",
    "add_fields",
    "check_pool_name",
    "ends",
    "event_order",
    "find_orphans",
    "follow",
    "forget_orphans",
    "hour_of",
    "pool_names",
    "read_events",
    "retrying",
    "were_trimmed",
]
