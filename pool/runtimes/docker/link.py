"""The link to one engine: found lazily, every call with a deadline, every failure one clear error."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from docker import APIClient
from docker.errors import DockerException
from docker.tls import TLSConfig
from docker.utils import version_lt

from pool.config import DockerOptions
from pool.errors import EngineTooOld, EngineUnavailable
from pool.runtimes.docker import faults
from pool.runtimes.docker.payloads import whole_seconds
from pool.runtimes.docker.streams import Address, RefusedStream, Stream

#: The API the pool is written for: Docker Engine 20.10 and later. Newer engines are spoken to in this version as long
#: as they understand it, so that all answers look alike.
API_VERSION = "1.41"

#: Calls that may hang, each holding a thread until the SDK's own time limit, before others have to wait.
_THREADS = 32

T = TypeVar("T")


def find_engine(options: DockerOptions, environment: Mapping[str, str]) -> Address:
    """Return where the engine is: by configuration, else by Docker's own variables, else the local socket."""
    if options.url:
        return Address(options.url, options.tls_dir)
    directory = options.tls_dir
    if directory is None and environment.get("DOCKER_TLS_VERIFY"):
        directory = Path(environment.get("DOCKER_CERT_PATH") or Path.home() / ".docker")
    return Address(environment.get("DOCKER_HOST") or "unix:///var/run/docker.sock", directory)


class EngineLink:
    """Runs the SDK's blocking calls in threads of its own, and opens streams beside it.

    Attributes:
        timeout_s: Seconds that one call may take.
    """

    def __init__(self, options: DockerOptions) -> None:
        self._address = find_engine(options, os.environ)
        self.timeout_s = options.timeout_s
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="containerpool-docker")
        self._connecting = asyncio.Lock()
        self._client: APIClient | None = None

    @property
    def url(self) -> str:
        """Where the engine is."""
        return self._address.url

    async def close(self) -> None:
        """Close the connections; threads of hung calls end with their own time limit."""
        if self._client is not None:
            self._client.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def check(self) -> str:
        """Ask the engine who it is.

        Raises:
            EngineUnavailable: Nobody answers.
            EngineTooOld: It does not speak our version of the API.
        """
        self._client, version = await self._negotiate(self._client)
        return version

    async def call(
        self, doing: str, work: Callable[[APIClient], T], *, deadline_s: float | None = None, extra_s: float = 0.0
    ) -> T:
        """Run one call of the SDK in a thread.

        Args:
            doing: What it is about, for messages.
            work: The call.
            deadline_s: Seconds it may take; the configured `timeout_s` by default.
            extra_s: Seconds on top, for what the engine itself was told to wait.

        Raises:
            EngineError: It failed, see `faults`.
        """
        client = await self._connected()
        async with self.deadline(doing, (deadline_s or self.timeout_s) + extra_s):
            return await self._in_thread(work, client)

    async def stream(
        self,
        doing: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        hijack: bool = False,
    ) -> Stream:
        """Open a stream; the deadline is for its beginning.

        Raises:
            EngineError: It failed, see `faults`.
        """
        client = await self._connected()
        target = f"/v{client.api_version}{path}" + (f"?{urlencode(query)}" if query else "")
        async with self.deadline(doing):
            return await Stream.open(self._address, method, target, body=body, hijack=hijack)

    async def events(self, *, since: float, filters: Mapping[str, list[str]]) -> AsyncGenerator[dict[str, Any], None]:
        """Yield raw events until the stream breaks.

        Args:
            since: Seconds since the epoch; what happened from then on is delivered too.
            filters: The engine's filters.

        Raises:
            EngineUnavailable: The stream could not be opened, or broke.
        """
        query = {"since": f"{since:.9f}", "filters": json.dumps(filters)}
        stream = await self.stream("listening to events", "GET", "/events", query=query)
        pending = b""
        try:
            async with aclosing(stream.chunks()) as chunks:
                async for chunk in chunks:
                    *lines, pending = (pending + chunk).split(b"\n")
                    for line in lines:
                        yield json.loads(line)
        except (OSError, EOFError, ValueError) as error:
            raise EngineUnavailable(f"the event stream of {self.url} broke") from error
        finally:
            await stream.close()
        raise EngineUnavailable(f"the engine at {self.url} ended the event stream")

    async def pieces(self, doing: str, source: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Yield what a stream brings; the deadline is for each piece, since nobody knows how many there are.

        Raises:
            EngineError: One did not come in time, or the stream broke.
        """
        async with aclosing(source):
            while True:
                async with self.deadline(doing):
                    piece = await anext(source, None)
                if piece is None:
                    return
                yield piece

    @asynccontextmanager
    async def deadline(self, doing: str, deadline_s: float | None = None) -> AsyncIterator[None]:
        """Limit the time of what is inside, and turn its failures into our errors."""
        limit_s = deadline_s or self.timeout_s
        try:
            async with asyncio.timeout(limit_s):
                yield
        except TimeoutError as error:
            raise faults.timed_out(doing, self.url, limit_s) from error
        except RefusedStream as error:
            raise faults.refusal(error.status, error.message, doing=doing) from error
        except (DockerException, *faults.TRANSPORT_ERRORS, ValueError) as error:
            raise faults.translate(error, doing=doing, url=self.url) from error

    async def _connected(self) -> APIClient:
        if self._client is not None:
            return self._client
        async with self._connecting:
            if self._client is None:
                self._client, _ = await self._negotiate(None)
            return self._client

    async def _negotiate(self, client: APIClient | None) -> tuple[APIClient, str]:
        """Return a client that speaks a version both sides know, and the engine's name and version."""
        probe = client or self._new_client(API_VERSION)
        async with self.deadline("asking for its version"):
            await self._address.probe()
            answer = await self._in_thread(lambda: probe.version(api_version=False))
        name, offered = f"Docker Engine {answer.get('Version', '')}".strip(), str(answer.get("ApiVersion", "0"))
        if version_lt(offered, API_VERSION):
            raise EngineTooOld(
                f"{name} at {self.url} speaks API {offered}; the pool needs {API_VERSION} or later",
                hint="upgrade it to Docker Engine 20.10 or later",
            )
        lowest = str(answer.get("MinAPIVersion", API_VERSION))
        if client is None and version_lt(API_VERSION, lowest):
            probe.close()
            probe = self._new_client(lowest)
        return probe, f"{name} (API {offered})"

    def _new_client(self, version: str) -> APIClient:
        address = self._address
        if not address.url.startswith(("unix://", "tcp://")):
            raise EngineUnavailable(
                f"engines at {address.url} cannot be used; the pool takes unix:// and tcp://",
                hint="for ssh, forward the socket: ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock HOST",
            )
        try:
            client = APIClient(
                address.url,
                version=version,
                timeout=whole_seconds(self.timeout_s),
                tls=_tls(address),
                max_pool_size=_THREADS,
            )
        except DockerException as error:
            raise EngineUnavailable(
                f"the engine at {address.url} cannot be used: {error}",
                hint="docker.tls_dir must hold ca.pem, cert.pem and key.pem",
            ) from error
        client.trust_env = False  # else REQUESTS_CA_BUNDLE replaces the engine's own CA, and proxies get in between
        return client

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)


def _tls(address: Address) -> TLSConfig | bool:
    if address.tls_dir is None:
        return False
    authority, certificate, key = address.certificates
    return TLSConfig(client_cert=(certificate, key), ca_cert=authority, verify=True)
