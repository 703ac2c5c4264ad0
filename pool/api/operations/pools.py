"""What OpenAPI says of the routes of pools, containers and events."""

from __future__ import annotations

from pool.api.routing import Operation, Reply
from pool.api.schemas import (
    Analytics,
    AnalyticsQuery,
    AuditPage,
    AuditQuery,
    Containers,
    Done,
    EventQuery,
    EvidenceList,
    Explanation,
    Located,
    LogQuery,
    Pool,
    PoolQuery,
    Pools,
    QuarantineOrder,
    Query,
    Queue,
    Recommendation,
    ResetOrder,
    Usage,
    Why,
)

_POOL = {"pool": "Name of the pool."}
_CONTAINER = {"id": "Id of the container, such as `browsers-1`."}
_BY_MANAGER = "The pool's manager does it as soon as it can."

POOLS = Operation("get_pools", "pools", "Show all pools", {200: Reply("The pools.", Pools)}, problems=(503,))
POOL = Operation(
    "get_pool", "pools", "Show a pool", {200: Reply("The pool.", Pool)}, path=_POOL, problems=(404, 503)
)  # fmt: skip
QUEUE = Operation(
    "get_queue",
    "pools",
    "Show who waits for a pool, for how long, and why",
    {200: Reply("The queue, in the order of service.", Queue)},
    path=_POOL,
    problems=(404, 503),
)
EXPLAIN = Operation(
    "explain",
    "pools",
    "Say in a sentence why a request waits",
    {200: Reply("The sentence.", Explanation)},
    path=_POOL | {"id": "Id of the request."},
    problems=(404, 409, 503),
)
RECOMMEND = Operation(
    "recommend",
    "pools",
    "Say how long leases of a label took, and what timeout follows",
    {200: Reply("The recommendation, or null where there were fewer than five leases.", Recommendation)},
    path=_POOL | {"label": "The label."},
    problems=(404, 503),
)
CONTAINERS = Operation(
    "get_containers",
    "containers",
    "Show containers",
    {200: Reply("The containers of all pools, or of one.", Containers)},
    query=PoolQuery,
    problems=(404, 503),
)
CONTAINER = Operation(
    "get_container",
    "containers",
    "Show a container",
    {200: Reply("The container.", Located)},
    path=_CONTAINER,
    query=PoolQuery,
    problems=(404, 503),
)
LOGS = Operation(
    "get_logs",
    "containers",
    "Read what a container's first process wrote",
    {200: Reply("The log, as it was written.", media="text/plain")},
    path=_CONTAINER,
    query=LogQuery,
    problems=(404, 502, 503, 504),
)
STATS = Operation(
    "get_stats",
    "containers",
    "Measure what a container uses",
    {200: Reply("What it uses at this moment.", Usage)},
    path=_CONTAINER,
    query=PoolQuery,
    problems=(404, 502, 503, 504),
)
EVIDENCE = Operation(
    "get_evidence",
    "containers",
    "Show what was kept of a container that went wrong",
    {200: Reply("All that was kept, oldest first.", EvidenceList)},
    path=_CONTAINER,
    query=PoolQuery,
    problems=(404, 503),
)
BUNDLE = Operation(
    "get_evidence_bundle",
    "containers",
    "Fetch what was kept, as a tar archive",
    {200: Reply("The archive; its files lie in a folder of the bundle's id.", media="application/x-tar")},
    path=_CONTAINER | {"bundle": "Id of the bundle."},
    query=PoolQuery,
    problems=(404, 503),
)
EVENTS = Operation(
    "get_events",
    "events",
    "Hear what happens, as it happens",
    {200: Reply("Server-sent events, until the connection is closed.", media="text/event-stream")},
    about=(
        "Each has `id`, `event` (its type) and `data` (JSON: `id`, `at`, `pool`, `type`, `facts`). Reconnect with "
        "`Last-Event-ID`, as browsers do by themselves, and nothing is missed that the pool still keeps. The types and "
        "their facts are explained by `poolctl events --explain`, and in docs/events.md."
    ),
    query=EventQuery,
    headers={"Last-Event-ID": "The id of the last event that is known."},
    problems=(404, 503),
)
ANALYTICS = Operation(
    "get_analytics",
    "pools",
    "Read how pools were used, hour by hour, and what follows",
    {200: Reply("Figures of each pool.", Analytics)},
    about="`docs/analytics.md` says what each figure means, and how exact it is.",
    query=AnalyticsQuery,
    problems=(404, 503),
)
AUDIT = Operation(
    "get_audit",
    "events",
    "Read who did what, when and why, and with what result",
    {200: Reply("The entries, oldest first.", AuditPage)},
    query=AuditQuery,
    problems=(404, 503),
)


def order(name: str, summary: str, body: type[Why | QuarantineOrder | ResetOrder], *, about: str = "") -> Operation:
    """Return what is said of an operator's wish about a container."""
    return Operation(
        f"{name}_container",
        "operators",
        summary,
        {202: Reply("It is asked for.", Located)},
        about=about or _BY_MANAGER,
        path=_CONTAINER,
        query=PoolQuery,
        body=body,
        problems=(404, 409, 503),
    )


def pool_order(name: str, summary: str, about: str) -> Operation:
    """Return what is said of an operator's wish about a whole pool."""
    return Operation(
        f"{name}_pool",
        "operators",
        summary,
        {200: Reply("It is done.", Done)},
        about=about,
        path=_POOL,
        query=Query,
        body=Why,
        problems=(404, 409, 503),
    )
