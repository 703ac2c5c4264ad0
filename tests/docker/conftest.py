"""A real engine. Everything made here carries a deployment of its own, and is removed with it."""

from __future__ import annotations

import socket
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import docker
import pytest
from docker import APIClient
from docker.errors import NotFound

from pool.config import DockerOptions
from pool.ports import LABEL_DEPLOYMENT
from pool.runtimes import DockerRuntime

SAMPLE_IMAGE = "containerpool-sample:latest"


@pytest.fixture(scope="session")
def docker_api() -> Iterator[APIClient]:
    """The engine as it is, to see what the runtime did to it."""
    client = docker.from_env(version="1.41")
    client.api.trust_env = False
    yield client.api
    client.close()


@pytest.fixture
async def docker_runtime() -> AsyncIterator[DockerRuntime]:
    runtime = DockerRuntime(DockerOptions())
    yield runtime
    await runtime.close()


@pytest.fixture
def deployment(docker_api: APIClient) -> Iterator[str]:
    """A deployment of this test only."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    yield name
    remove_deployment(docker_api, name)


@pytest.fixture
def sample_image(docker_api: APIClient) -> str:
    """The small image that stands for a browser."""
    try:
        docker_api.inspect_image(SAMPLE_IMAGE)  # type: ignore[no-untyped-call] # the stubs leave it untyped
    except NotFound:
        pytest.fail(f"the image {SAMPLE_IMAGE} is missing; run make setup")
    return SAMPLE_IMAGE


@pytest.fixture
def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def remove_deployment(client: APIClient, deployment: str) -> None:
    """Remove all that carries a deployment's label."""
    mine = {"label": [f"{LABEL_DEPLOYMENT}={deployment}"]}
    for container in client.containers(all=True, filters=mine):
        with suppress(NotFound):
            client.remove_container(container["Id"], v=True, force=True)
    for network in client.networks(filters=mine):
        with suppress(NotFound):
            client.remove_network(network["Id"])
