"""Each test of the contract runs four times: on Redis and over HTTP, with the asynchronous client and the other one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from pool.store import PoolStore
from tests.clients import api_server, open_client
from tests.support import open_pool
from tests.support_access import redis_of_module

__all__ = ["redis_of_module"]


@pytest.fixture(params=["redis", "http"])
async def url(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[str]:
    """Where the client connects: straight to Redis, or to a manager's HTTP server."""
    if request.param == "redis":
        yield redis_url
        return
    async with api_server(redis_url) as server:
        yield server.url


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def client(kind: str, url: str) -> AsyncIterator[Any]:
    async with open_client(kind, url, owner="tester") as client:
        yield client


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[PoolStore]:
    """A pool of one container that needs no reset."""
    async with open_pool(redis_url, "a", ttl_s=3, claim_ttl_s=3, on_release="none") as store:
        yield store
