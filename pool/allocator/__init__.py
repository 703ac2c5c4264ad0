"""What may be asked of a pool: requests, and what operators want."""

from __future__ import annotations

from pool.allocator.orders import (
    NOBODYS,
    Order,
    find_container,
    pool_with,
    request_drain,
    request_pause,
    request_quarantine,
    request_reset,
    request_restore,
    request_resume,
    request_unpause,
)
from pool.allocator.requests import (
    ALLOWED,
    RequestId,
    Span,
    Text,
    WaitSpan,
    build_request,
    check_counts,
    check_extension,
    check_reason,
    check_retries,
)

__all__ = [
    "ALLOWED",
    "NOBODYS",
    "Order",
    "RequestId",
    "Span",
    "Text",
    "WaitSpan",
    "build_request",
    "check_counts",
    "check_extension",
    "check_reason",
    "check_retries",
    "find_container",
    "pool_with",
    "request_drain",
    "request_pause",
    "request_quarantine",
    "request_reset",
    "request_restore",
    "request_resume",
    "request_unpause",
]
