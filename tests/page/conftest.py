"""A browser for the whole session, and for each test a stage of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser

from pool.embedded import temporary_server
from tests.page.browser import browsing
from tests.page.stage import Stage, on_stage


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with browsing() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def stage() -> AsyncIterator[Stage]:
    """An empty server of the API on a Redis of its own: tokens close every server of theirs."""
    with temporary_server() as redis_url:
        async with on_stage(redis_url) as stage:
            yield stage
