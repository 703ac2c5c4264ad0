"""Two real browsers. `make e2e` runs these; `make test` does not, since it has no image for them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from docker import APIClient
from docker.errors import ImageNotFound

from tests.docker.conftest import bench, docker_api
from tests.e2e.browsers import Served, pool_options, served

__all__ = ["bench", "browsers", "docker_api", "image"]


@pytest.fixture(scope="session")
def image(docker_api: APIClient) -> str:
    name: str = pool_options()["container"]["image"]
    try:
        docker_api.inspect_image(name)  # type: ignore[no-untyped-call] # the stubs leave it untyped
    except ImageNotFound:
        pytest.fail(f"the image {name} is missing; run make images")
    return name


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browsers(docker_api: APIClient, image: str) -> AsyncIterator[Served]:
    """Two browsers for the whole session, as a user has them."""
    async with served(docker_api) as browsers:
        yield browsers
