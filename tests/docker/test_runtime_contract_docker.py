"""The Docker runtime does what every runtime does."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
from docker import APIClient
from docker.errors import NotFound

from pool.ports import Runtime
from pool.runtimes import DockerRuntime
from tests.runtime_contract import RuntimeContract


@pytest.fixture
def runtime(docker_runtime: DockerRuntime) -> Runtime:
    return docker_runtime


@pytest.fixture
def image(sample_image: str) -> str:
    return sample_image


@pytest.fixture
def tag(docker_api: APIClient, deployment: str) -> Iterator[str]:
    """Name of an image to be; removed afterwards."""
    name = f"containerpool-{deployment}:kept"
    yield name
    with suppress(NotFound):
        docker_api.remove_image(name, force=True)


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port on which a process listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


class TestDockerRuntime(RuntimeContract):
    """The contract on a real engine."""
