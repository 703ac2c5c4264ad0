"""What the tests of the shop share: the shop, and a browser from the pool for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import docker
import pytest

import pool
from browser import Browser
from shop import open_shop
from traces import Traces


def pytest_configure(config: pytest.Config) -> None:
    """Open the shop, once for all workers. Containers reach it by the name that the pool's configuration gives."""
    if not hasattr(config, "workerinput"):
        stack = ExitStack()
        config.add_cleanup(stack.close)
        shop = stack.enter_context(open_shop())
        os.environ["SHOP_URL"] = f"http://host.docker.internal:{shop.port}"


@pytest.fixture(scope="session")
def shop_url() -> str:
    """Where browsers in containers find the shop."""
    return os.environ["SHOP_URL"]


@pytest.fixture
def browser(pool_container: pool.Lease) -> Iterator[Browser]:
    """A browser that nobody else uses, from the pool."""
    with Browser.at(pool_container.url) as browser:
        yield browser


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The engine that runs the containers."""
    client = docker.from_env()
    client.api.trust_env = False
    yield client
    client.close()


@pytest.fixture(autouse=True)
def nothing_left(
    engine: docker.DockerClient,
    pool_container: pool.Lease,
    browser: Browser,
    shop_url: str,
    request: pytest.FixtureRequest,
) -> Iterator[None]:
    """No test finds anything of another one, though each leaves all that it can. Yours need no such fixture."""
    traces = Traces(engine, pool_container.container.name, browser, shop_url)
    found = traces.found()
    assert not found, f"left behind by another test: {', '.join(found)}"
    yield
    traces.leave(request.node.name)
