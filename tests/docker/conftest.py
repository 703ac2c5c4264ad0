"""A real engine. Everything made here carries a deployment of its own, and is removed with it."""

from __future__ import annotations

import gc
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Iterator

import docker
import pytest
import pytest_asyncio
from docker import APIClient
from docker.errors import NotFound

from pool.config import DockerOptions
from pool.runtimes import DockerRuntime
from tests.docker.cleaning import remove_deployment
from tests.docker.managed import Bench, Manage, Stopwatch, managed

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


@pytest.fixture(scope="session")
def sample_image(docker_api: APIClient) -> str:
    """The small image that stands for a browser."""
    try:
        docker_api.inspect_image(SAMPLE_IMAGE)  # type: ignore[no-untyped-call] # the stubs leave it untyped
    except NotFound:
        pytest.fail(f"the image {SAMPLE_IMAGE} is missing; run make setup")
    return SAMPLE_IMAGE


@pytest.fixture(scope="session")
def manage(redis_url: str, docker_api: APIClient, sample_image: str) -> Manage:
    """Manage a pool of a deployment of its own, on the machine's engine unless told otherwise."""
    return lambda api=docker_api, runtime=None, **changes: managed(redis_url, api, runtime, **changes)


@pytest_asyncio.fixture(loop_scope="module")
async def bench(shared: Bench) -> AsyncIterator[Bench]:
    """A test's turn with the one pool that its module has as the fixture `shared`."""
    async with shared.turn() as bench:
        yield bench


@pytest.fixture
def stopwatch(record_property: Callable[[str, object], None]) -> Stopwatch:
    return Stopwatch(record_property)


@pytest.fixture
def lost_sockets() -> Iterator[None]:
    """The SDK loses its socket wherever nobody listens: they are found here rather than in another test."""
    yield
    gc.collect()


@pytest.fixture
def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
