"""What carries a deployment's label on an engine: found, and removed."""

from __future__ import annotations

from contextlib import suppress

from docker import APIClient
from docker.errors import NotFound

from pool.ports import LABEL_DEPLOYMENT


def left_of(client: APIClient, deployment: str) -> list[str]:
    """Return the names of a deployment's containers and networks."""
    mine = {"label": [f"{LABEL_DEPLOYMENT}={deployment}"]}
    containers = [container["Names"][0] for container in client.containers(all=True, filters=mine)]
    return containers + [network["Name"] for network in client.networks(filters=mine)]


def remove_deployment(client: APIClient, deployment: str) -> None:
    """Remove all that carries a deployment's label."""
    mine = {"label": [f"{LABEL_DEPLOYMENT}={deployment}"]}
    for container in client.containers(all=True, filters=mine):
        with suppress(NotFound):
            client.remove_container(container["Id"], v=True, force=True)
    for network in client.networks(filters=mine):
        with suppress(NotFound):
            client.remove_network(network["Id"])
