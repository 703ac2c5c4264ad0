"""Calls of the SDK that take more than a line. They block: run them in a thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from docker import APIClient
from docker.errors import APIError, NotFound
from docker.utils import parse_repository_tag

from pool.errors import EngineError, ImageMissing
from pool.ports import (
    LABEL,
    LABEL_DEPLOYMENT,
    LABEL_GENERATION,
    LABEL_HOLDS,
    LABEL_ID,
    LABEL_POOL,
    LABEL_SPEC,
    Change,
    Process,
)
from pool.runtimes.docker.local import LocalHost
from pool.runtimes.docker.payloads import read_changes

T = TypeVar("T")


def has_image(client: APIClient, image: str) -> bool:
    """Tell whether the image is on the host."""
    try:
        client.inspect_image(image)  # type: ignore[no-untyped-call] # the stubs leave it untyped
    except NotFound:
        return False
    return True


def pull(client: APIClient, image: str) -> None:
    """Pull an image.

    Raises:
        ImageMissing: It cannot be had.
    """
    try:
        for line in client.pull(image, stream=True, decode=True):
            if "error" in line:
                raise _image_missing(image, line["error"])
    except APIError as error:
        raise _image_missing(image, error.explanation or str(error)) from error


def _image_missing(image: str, why: str) -> ImageMissing:
    return ImageMissing(
        f"image {image} is not on the host and cannot be pulled: {why}", hint=f"build it, or: docker pull {image}"
    )


def ensure_network(client: APIClient, deployment: str) -> str:
    """Make sure that there is one bridge on which the deployment's containers cannot reach each other.

    Raises:
        EngineError: A network of its name is not ours.
    """
    name = network_name(deployment)
    networks = _networks(client, name)
    if not networks:
        client.create_network(
            name,
            driver="bridge",
            labels={LABEL_DEPLOYMENT: deployment},
            options={"com.docker.network.bridge.enable_icc": "false"},
        )
        networks = _networks(client, name)
    if any(not _is_of(network, deployment) for network in networks):
        raise EngineError(
            f"network {name} exists and is not the pool's",
            hint=f"remove it (docker network rm {name}), or set container.network",
        )
    # The engine keeps no two from making networks of one name, and then takes neither. All keep the same one of them.
    for surplus in sorted(networks, key=lambda network: (network["Created"], network["Id"]))[1:]:
        _remove_unused(client, surplus["Id"])
    return name


def remove_network(client: APIClient, deployment: str) -> None:
    """Remove the deployment's bridge unless it is gone, not ours or in use."""
    for network in _networks(client, network_name(deployment)):
        if _is_of(network, deployment):
            _remove_unused(client, network["Id"])


def networks_of(client: APIClient, deployment: str) -> list[dict[str, Any]]:
    """Return the networks that carry a deployment's label."""
    found: list[dict[str, Any]] = client.networks(filters={"label": [f"{LABEL_DEPLOYMENT}={deployment}"]})
    return found


def discard_network(client: APIClient, ref: str) -> bool:
    """Remove a network of ours; returns whether it is gone.

    Raises:
        EngineError: It is not ours.
    """
    found = client.networks(ids=[ref])
    if any(not (network["Labels"] or {}).get(LABEL_DEPLOYMENT) for network in found):
        raise EngineError(f"network {ref[:12]} is not the pool's; it was left as it is")
    for network in found:
        _remove_unused(client, network["Id"])
    return not client.networks(ids=[ref])


def our_images(client: APIClient) -> list[dict[str, Any]]:
    """Return the images that carry a label of ours."""
    return [image for image in client.images() if labels_of_ours(image["Labels"])]


def discard_image(client: APIClient, ref: str) -> bool:
    """Remove an image, or one of its names; returns whether it is gone, or was. One that is in use stays.

    Raises:
        EngineError: It is not ours.
    """
    try:
        raw = client.inspect_image(ref)  # type: ignore[no-untyped-call] # the stubs leave it untyped
        if not labels_of_ours(raw["Config"]["Labels"]):
            raise EngineError(f"image {ref} is not the pool's; it was left as it is")
        client.remove_image(ref, noprune=False)
    except NotFound:
        return True
    except APIError as error:
        if error.status_code != 409:
            raise
        return False
    return True


def labels_of_ours(labels: Mapping[str, str] | None) -> dict[str, str]:
    """Return the labels of ours that mean something: a committed image carries some that are empty."""
    return {name: value for name, value in (labels or {}).items() if name.startswith(f"{LABEL}.") and value}


def _networks(client: APIClient, name: str) -> list[dict[str, Any]]:
    # The engine's filter also finds names that only contain this one.
    return [network for network in client.networks(names=[name]) if network["Name"] == name]


def _is_of(network: dict[str, Any], deployment: str) -> bool:
    return (network["Labels"] or {}).get(LABEL_DEPLOYMENT) == deployment


def _remove_unused(client: APIClient, network: str) -> None:
    try:
        client.remove_network(network)
    except NotFound:
        return
    except APIError as error:
        if "active endpoints" not in (error.explanation or ""):
            raise


def processes(client: APIClient, ref: str, host: LocalHost) -> list[Process]:
    """Return a container's processes: from the kernel if it is ours, else from the engine."""
    seen = _from_kernel(client, ref, host, host.processes)
    if seen is not None:
        return seen
    table = client.top(ref, "-eo pid,args")
    return [Process(int(pid), command) for pid, command in table["Processes"]]


def changes(client: APIClient, ref: str, host: LocalHost) -> list[Change]:
    """Return what differs from a container's image: from its layers if they are here, else from the engine."""
    if host.reads_layers is None:
        host.reads_layers = ["Native Overlay Diff", "true"] in (client.info().get("DriverStatus") or [])
    seen = _from_kernel(client, ref, host, host.changes) if host.reads_layers else None
    return seen if seen is not None else read_changes(client.diff(ref))


def _from_kernel(client: APIClient, ref: str, host: LocalHost, ask: Callable[[str], list[T] | None]) -> list[T] | None:
    """Ask the kernel, and once more with what the engine says now: the container may have been restarted."""
    seen = ask(ref)
    if seen is None and not host.given_up(ref):
        host.note(client.inspect_container(ref))
        seen = ask(ref)
        if seen is None:
            host.give_up(ref)
    return seen


def remove(client: APIClient, ref: str) -> None:
    """Remove a container, or wait until the removal in progress is done."""
    try:
        client.remove_container(ref, v=True, force=True)
    except APIError as error:
        if error.status_code != 409 or "already in progress" not in (error.explanation or ""):
            raise
        client.wait(ref, timeout=client.timeout, condition="removed")


def create(client: APIClient, name: str, config: dict[str, Any]) -> dict[str, Any] | None:
    """Create a container and return its inspection, or None if the name is taken."""
    try:
        created = client.create_container_from_config(config, name)  # type: ignore[no-untyped-call] # likewise
    except APIError as error:
        if error.status_code == 409 and "is already in use" in (error.explanation or ""):
            return None
        raise
    raw: dict[str, Any] = client.inspect_container(created["Id"])
    return raw


def commit(client: APIClient, ref: str, tag: str, labels: Mapping[str, str]) -> None:
    """Make an image of a container, with these labels instead of those that mark a container as ours."""
    repository, version = parse_repository_tag(tag)
    # An image passes its labels on: whatever is run from it would look like one of ours, and be removed as such.
    ours = (LABEL_DEPLOYMENT, LABEL_POOL, LABEL_ID, LABEL_HOLDS, LABEL_GENERATION, LABEL_SPEC)
    changed = dict.fromkeys(ours, "") | dict(labels)
    relabel = "LABEL " + " ".join(f'{label}="{value}"' for label, value in changed.items())
    client.commit(ref, repository=repository, tag=version, changes=relabel)


def network_name(deployment: str) -> str:
    """Return the name of a deployment's own bridge."""
    return f"{LABEL}-{deployment}"
