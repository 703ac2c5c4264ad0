"""All routes of the API; the gateway's are its own."""

from __future__ import annotations

from pool.api.routes_containers import add_containers
from pool.api.routes_events import add_events
from pool.api.routes_insight import add_insight
from pool.api.routes_leases import add_leases
from pool.api.routes_metrics import add_metrics
from pool.api.routes_pools import add_pools
from pool.api.routes_probes import add_probes
from pool.api.routes_requests import add_requests
from pool.api.routing import Routes


def add_all(routes: Routes) -> None:
    """Fill the table, in the order in which the documentation shows it."""
    for add in (add_leases, add_requests, add_pools, add_containers, add_insight, add_events, add_probes, add_metrics):
        add(routes)
