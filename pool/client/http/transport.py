"""Calls of a manager's HTTP API: over kept connections, each again while the server is away for a moment."""

from __future__ import annotations

import json
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

import aiohttp
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_before_delay,
    stop_never,
    wait_random_exponential,
)

from pool.client.http.access import Access
from pool.client.http.problems import error_of
from pool.errors import ClientClosed, PoolError, ShuttingDown, StoreUnavailable

#: How long a call may take that waits for nothing, in seconds; as long as a command to Redis.
CALL_S = 5.0
#: The server answers this much later than it was told to wait, at most.
_SLACK_S = 10.0
#: Statuses that mean that nobody of ours was reached, if the answer is no problem of ours.
_BETWEEN = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})

T = TypeVar("T")


class Away(StoreUnavailable):
    """The server is away, or ends: worth another try.

    Attributes:
        reached: Whether the call may have been done all the same.
    """

    def __init__(self, message: str, *, hint: str = "", reached: bool) -> None:
        super().__init__(message, hint=hint)
        self.reached = reached


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a call.

    Attributes:
        sent_at: When it was sent, in seconds of the monotonic clock.
    """

    status: int
    body: Mapping[str, Any]
    sent_at: float


@dataclass(slots=True)
class _Sending:
    """How often a call was given to a connection."""

    times: int = 0


def _counting() -> aiohttp.TraceConfig:
    """Return what has aiohttp count in a call's `_Sending`."""

    async def count(_: aiohttp.ClientSession, context: Any, __: object) -> None:
        context.trace_request_ctx.times += 1

    config = aiohttp.TraceConfig()
    config.on_connection_reuseconn.append(count)
    config.on_connection_create_end.append(count)
    return config


def open_session(access: Access, **options: Any) -> aiohttp.ClientSession:
    """Return a session that trusts whom its user trusts, and keeps no cookies.

    Args:
        access: Where the server is, and by which certificates and proxy it is reached.
        **options: For the session.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=True if access.tls is None else access.tls),
        cookie_jar=aiohttp.DummyCookieJar(),
        proxy=access.proxy,
        **options,
    )


class Transport:
    """Calls of one server.

    Args:
        access: Where it is, and who asks.
        process: The client's name, for the server's log.
        patience_s: How long a call may wait for a server that is away, in seconds.
    """

    def __init__(self, access: Access, process: str, *, patience_s: float) -> None:
        self.url = access.url
        self.patience_s = patience_s
        self._token = access.token
        self._session = open_session(
            access,
            headers={"User-Agent": f"containerpool ({process})", "Accept": "application/json"},
            trace_configs=[_counting()],
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def once(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        token: str | None = None,
        wait_s: float = 0.0,
        done: tuple[type[PoolError], ...] = (),
        again: bool = False,
    ) -> Reply:
        """Send a call once; one that may be done twice, aiohttp sends anew where a kept connection breaks.

        Args:
            method: GET, POST or DELETE.
            path: From `/v1` on, escaped.
            body: Sent as JSON.
            query: Parameters of the URL.
            token: Proves who asks; the API token by default.
            wait_s: How long the server was told to wait with its answer.
            done: What the server says to a call that it has done before: no error, if it was sent before.
            again: Whether it was.

        Raises:
            Away: The server was not reached, gave no answer, or ends.
            PoolError: What the answer says.
        """
        call = f"{method} {self.url}{path}"
        headers = {"X-Request-Id": secrets.token_hex(8)}
        if token := self._token if token is None else token:
            headers["Authorization"] = f"Bearer {token}"
        sent_at = time.monotonic()
        sending = _Sending()
        try:
            async with self._session.request(
                method,
                self.url + path,
                json=body,
                params=query,
                headers=headers,
                trace_request_ctx=sending,
                allow_redirects=False,  # a token goes where its user said, and nowhere else
                timeout=aiohttp.ClientTimeout(total=wait_s + _SLACK_S if wait_s else CALL_S),
            ) as response:
                text = await response.read()
                status, media = response.status, response.content_type
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._away(error) from error
        except RuntimeError:  # aiohttp's word for a session that was closed
            if self._session.closed:
                raise ClientClosed("the client is closed", hint="connect again") from None
            raise
        try:
            return Reply(status, _checked(status, media, text, call), sent_at)
        except done:
            if again or sending.times > 1:
                return Reply(HTTPStatus.NO_CONTENT, {}, sent_at)
            raise

    def _away(self, error: Exception) -> StoreUnavailable:
        reached = not isinstance(error, aiohttp.ClientConnectorError)
        why = "it did not answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        if isinstance(error, aiohttp.ClientConnectorError):
            why = error.strerror or str(error.os_error)
        message = f"no answer from the server at {self.url}: {why}"
        if isinstance(error, aiohttp.ClientSSLError):  # no second try makes it trusted
            hint = "name the certificates to trust with ca_file= or POOL_CA_FILE"
            return StoreUnavailable(f"the server at {self.url} is not to be trusted: {error}", hint=hint)
        return Away(message, hint="start `poolctl serve` with an `http` section, or set POOL_URL", reached=reached)

    async def call(self, method: str, path: str, *, repeatable: bool = True, **what: Any) -> Reply:
        """Send a call, and again while the server is away, within our patience. See `once`.

        Args:
            method: GET, POST or DELETE.
            path: From `/v1` on, escaped.
            repeatable: Whether it may be done twice; else it is sent again only if it cannot have been done.
            **what: For `once`.
        """

        async def work(_: object) -> Reply:
            try:
                return await self.once(method, path, **what)
            except Away as away:
                if repeatable or not away.reached:
                    raise
                raise StoreUnavailable(f"{away.message}; it may have been done", hint=away.hint) from away

        return await self.patiently(work, for_s=self.patience_s)

    async def patiently(self, work: Callable[[bool], Awaitable[T]], *, for_s: float = math.inf) -> T:
        """Do something, and again with growing and scattered delays, while the server is away.

        Args:
            work: Is told whether it may have been done before.
            for_s: How long to try again, in seconds.
        """
        reached = False

        async def attempt() -> T:
            nonlocal reached
            try:
                return await work(reached)
            except Away as away:
                reached |= away.reached
                raise

        try:
            return await attempt()  # the rule, which need not pay for the exception
        except Away:
            if for_s <= 0:
                raise
        return await AsyncRetrying(
            retry=retry_if_exception_type(Away),
            wait=wait_random_exponential(multiplier=0.05, max=1.0),
            stop=stop_never if math.isinf(for_s) else stop_before_delay(for_s),
            reraise=True,
        )(attempt)


def _checked(status: int, media: str, text: bytes, call: str) -> Mapping[str, Any]:
    """Return what an answer says.

    Raises:
        Away: Its server ends, or something between says that nobody is behind it.
        PoolError: What it says is an error.
    """
    known = media in ("application/json", "application/problem+json")
    try:
        body = json.loads(text) if known and text else {}
    except ValueError:
        known, body = False, {}
    if status < HTTPStatus.MULTIPLE_CHOICES and (known or not text):
        return body if isinstance(body, dict) else {"items": body}
    error = error_of(status, body if isinstance(body, dict) and media == "application/problem+json" else {}, call=call)
    if isinstance(error, ShuttingDown | ClientClosed):  # of the server's own client
        raise Away(error.message, hint=error.hint, reached=True)
    if type(error) is StoreUnavailable or (status in _BETWEEN and not body):
        raise Away(error.message, hint=error.hint, reached=True)
    raise error
