"""What operators look into through a manager's HTTP API: events, logs, evidence. The rest is the client's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from typing import Any
from urllib.parse import quote

import aiohttp

from pool.client.http.access import Access
from pool.client.http.problems import error_of
from pool.client.http.transport import open_session
from pool.errors import StoreUnavailable
from pool.models import Event

#: How long the server may take to begin with its answer, in seconds.
_BEGIN_S = 10.0
#: What was missed comes in one go; silence of this length, in seconds, means that there is no more of it.
_QUIET_S = 0.5
_AGAIN_S = 1.0
_JSON = ("application/json", "application/problem+json")
#: Before the first event of a stream.
_BEGINNING = "0-0"


class Remote:
    """A manager's HTTP API.

    Args:
        access: Where it is, and who asks.
        session: To ask over.
    """

    def __init__(self, access: Access, session: aiohttp.ClientSession) -> None:
        self._access = access
        self._session = session

    async def document(self, path: str, **query: str) -> dict[str, Any]:
        """Return the JSON at a path.

        Raises:
            PoolError: What the answer says.
            StoreUnavailable: There is none.
        """
        async with self.open(path, query=query) as response:
            found: dict[str, Any] = await response.json()
            return found

    @asynccontextmanager
    async def open(
        self, path: str, *, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask for what is at a path; its body is read inside, however long that takes.

        Raises:
            PoolError: What the answer says.
            StoreUnavailable: There is none, or it broke off.
        """
        token = {"Authorization": f"Bearer {self._access.token}"} if self._access.token else {}
        try:
            async with self._session.get(
                self._access.url + path,
                params=query,
                headers={**token, **(headers or {})},
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    raise await _error(response, f"GET {self._access.url}{path}")
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            why = str(error) or type(error).__name__
            raise StoreUnavailable(
                f"no answer from the server at {self._access.url}: {why}",
                hint="start `poolctl serve` with an `http` section, or give another --url",
            ) from error


async def _error(response: aiohttp.ClientResponse, call: str) -> Exception:
    try:
        body = await response.json() if response.content_type in _JSON else {}
    except ValueError:
        body = {}
    return error_of(response.status, body if isinstance(body, dict) else {}, call=call)


@asynccontextmanager
async def remote(url: str) -> AsyncIterator[Remote]:
    """Prepare to ask a manager's HTTP API.

    Raises:
        InvalidRequest: The URL, or the token in the environment, cannot be used.
    """
    access = await asyncio.to_thread(Access.of, url, {})
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_BEGIN_S)
    async with open_session(access, timeout=timeout) as session:
        yield Remote(access, session)


def container_path(container: str, what: str) -> str:
    """Return the path of what belongs to a container."""
    return f"/v1/containers/{quote(container, safe='')}/{what}"


class RemoteFeed:
    """The pools' events over HTTP; see `pool.cli.feed.Feed`.

    Args:
        api: The API.
    """

    def __init__(self, api: Remote) -> None:
        self._api = api

    async def kept(self, pool: str | None, since_s: float) -> tuple[list[tuple[str, Event]], dict[str, str]]:
        """Return what happened in a pool, or in all, oldest first, and the last event that there is of each pool.

        Raises:
            UnknownPool: There is no such pool.
            AccessDenied: The token is not an operator's.
        """
        names = [pool] if pool is not None else await self._names()
        known = dict.fromkeys(names, f"{int(since_s * 1000) - 1}-0" if since_s >= 1 else _BEGINNING)
        found: list[tuple[str, Event]] = []
        if not names:
            return found, known
        patience_s = _BEGIN_S
        async with aclosing(self._stream(pool, known)) as entries:
            while True:
                try:
                    async with asyncio.timeout(patience_s):
                        entry = await anext(entries)
                except (TimeoutError, StopAsyncIteration):
                    return found, known
                patience_s = _QUIET_S
                if entry is not None:
                    found.append(entry)
                    known[entry[0]] = entry[1].id

    async def _names(self) -> list[str]:
        return [row["pool"] for row in (await self._api.document("/v1/pools"))["pools"]]

    async def news(self, pool: str | None, known: Mapping[str, str]) -> AsyncGenerator[tuple[str, Event], None]:
        """Yield what happens from then on; it outlives a server that is away for a while.

        Raises:
            AccessDenied: The token is not an operator's.
        """
        position = dict(known)
        while True:
            try:
                async with aclosing(self._stream(pool, position)) as entries:
                    async for entry in entries:
                        if entry is not None:
                            position[entry[0]] = entry[1].id
                            yield entry
            except StoreUnavailable:
                await asyncio.sleep(_AGAIN_S)

    async def _stream(
        self, pool: str | None, known: Mapping[str, str]
    ) -> AsyncGenerator[tuple[str, Event] | None, None]:
        """Yield events after those that are known, and None for each other sign of life."""
        headers = {"Accept": "text/event-stream"}
        if known:
            headers["Last-Event-ID"] = ",".join(f"{name}:{position}" for name, position in known.items())
        query = {"pool": pool} if pool is not None else {}
        async with self._api.open("/v1/events", query=query, headers=headers) as response:
            yield None
            async for line in response.content:
                name, _, value = line.decode().rstrip("\r\n").partition(": ")
                yield _event(json.loads(value)) if name == "data" else None


def _event(body: Mapping[str, Any]) -> tuple[str, Event]:
    at = datetime.fromisoformat(body["at"]).timestamp()
    return body["pool"], Event(id=body["id"], at=at, type=body["type"], fields=body["facts"])
