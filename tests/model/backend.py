"""Where the state machine runs the scripts: one event loop with one connection."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from fakeredis import FakeAsyncRedis

from pool.store import Connection

T = TypeVar("T")


class Backend:
    """A connection and the loop that it lives on.

    Args:
        url: Where the server is; fakeredis when None.
    """

    def __init__(self, url: str | None) -> None:
        self._loop = asyncio.new_event_loop()
        fake = FakeAsyncRedis(decode_responses=True) if url is None else None
        # On a busy machine a connection may come late; a command that was not sent can be sent again unnoticed.
        self.connection = Connection(url or "redis://fake", patience_s=30, redis=fake)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run(self.connection.close())
        self.run(self._loop.shutdown_asyncgens())
        self._loop.close()
