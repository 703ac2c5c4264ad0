"""What OpenAPI says of the routes of requests and leases."""

from __future__ import annotations

from pool.api.routing import Operation, Reply
from pool.api.schemas import (
    Beats,
    Bundle,
    BundleRequest,
    Extension,
    Lease,
    LeaseRequest,
    PollQuery,
    PoolQuery,
    Queued,
    Rejection,
    ReleaseQuery,
    Times,
    Tokens,
)

_LEASE_ID = {"id": "Id of the lease, which is that of its request."}
_REQUEST_ID = {"id": "Id of the request."}
_PLACE = {"Location": "Where to ask again."}

_QUEUED = Reply("It still waits. Ask again at `poll`, before `http.liveness_s` is over.", Queued, headers=_PLACE)

_HOLD = {
    name: {
        "operationId": name,
        "parameters": {"path.id": "$response.body#/id"},
        "description": "Send the lease's `token` as `Authorization: Bearer`.",
    }
    for name in ("get_lease", "heartbeat", "extend", "release")
}
_WAIT = {
    name: {
        "operationId": name,
        "parameters": {"path.id": "$response.body#/request_id", "query.pool": "$response.body#/pool"},
    }
    for name in ("get_request", "delete_request")
}

TAKE = Operation(
    "take",
    "leases",
    "Take a container",
    {201: Reply("A container, lent.", Lease, headers={"Location": "Where the lease is."}), 202: _QUEUED},
    about=(
        "A call with `wait_s` above 0 waits in the pool's queue. Closing the connection while it waits withdraws the "
        "request. Once a 202 has come, the request stays in the queue for as long as it is asked about. The same "
        "`request_id` sent again gets the same lease, or waits on at its place, at any server of the pool."
    ),
    body=LeaseRequest,
    problems=(404, 409, 429, 503),
    links={201: _HOLD, 202: _WAIT},
)
TAKE_MANY = Operation(
    "take_many",
    "leases",
    "Take several containers, all or none",
    {201: Reply("The containers, lent.", Bundle)},
    about="It waits for all of them, for `wait_s` at most. Closing the connection gives back what it had.",
    body=BundleRequest,
    problems=(404, 409, 429, 503),
)
BEAT_ALL = Operation(
    "heartbeats",
    "leases",
    "Keep several leases alive",
    {200: Reply("Until when each of them lasts now.", Beats)},
    about="The one route that takes lease tokens in its body. A lease that is lost has null.",
    body=Tokens,
    problems=(503,),
)
SHOW = Operation(
    "get_lease",
    "leases",
    "Show a lease",
    {200: Reply("The lease.", Lease)},
    path=_LEASE_ID,
    problems=(404, 409, 503),
)
BEAT = Operation(
    "heartbeat",
    "leases",
    "Keep a lease alive",
    {200: Reply("Until when it lasts now.", Times)},
    about="For its ttl from now, never beyond its deadline.",
    path=_LEASE_ID,
    problems=(404, 409, 503),
)
EXTEND = Operation(
    "extend",
    "leases",
    "Move the deadline of a lease",
    {200: Reply("The lease as it is now.", Lease)},
    path=_LEASE_ID,
    body=Extension,
    problems=(404, 409, 503),
)
REJECT = Operation(
    "reject",
    "leases",
    "Give back a container that is unfit, unused, and get another one",
    {201: Reply("Another container.", Lease, headers={"Location": "Where the lease is."}), 202: _QUEUED},
    about="The container goes to recovery. `hand_out` of a lease says what to ask it before it is used.",
    path=_LEASE_ID,
    body=Rejection,
    problems=(404, 409, 429, 503),
)
RELEASE = Operation(
    "release",
    "leases",
    "Give a container back",
    {204: Reply("It was given back.")},
    path=_LEASE_ID,
    query=ReleaseQuery,
    problems=(404, 409, 503),
)
POLL = Operation(
    "get_request",
    "requests",
    "Wait on for a request",
    {200: Reply("A container, lent.", Lease), 202: _QUEUED},
    about="Closing the connection leaves the request in the queue. 410: it has ended; the code says how.",
    path=_REQUEST_ID,
    query=PollQuery,
    problems=(404, 409, 410, 429, 503),
    links={200: _HOLD},
)
WITHDRAW = Operation(
    "delete_request",
    "requests",
    "Withdraw a request",
    {204: Reply("It does not wait any more, and holds nothing.")},
    about="What it was granted meanwhile goes to the next one.",
    path=_REQUEST_ID,
    query=PoolQuery,
    problems=(404, 409, 503),
)
