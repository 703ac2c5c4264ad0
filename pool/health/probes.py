"""The probes in their order: TCP, HTTP, engine. Each has its own timeout; none raises."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import aiohttp

from pool.config import HealthOptions, HttpProbe, TcpProbe
from pool.errors import ContainerGone, EngineError
from pool.models import ContainerInfo
from pool.ports import EngineContainer, EngineState, Runtime

_FIRST_POLL_S = 0.01
_SLOWEST_POLL_S = 0.2
_DEAD = frozenset({EngineState.EXITED, EngineState.DEAD, EngineState.REMOVING, EngineState.CREATED})


@dataclass(frozen=True, slots=True)
class HealthReport:
    """What the probes found.

    Attributes:
        probe: The probe that failed: tcp, http or engine; empty when healthy.
        detail: What it saw, in words; empty when healthy.
        dead: The engine says that the container does not run: no need to ask again.
    """

    probe: str = ""
    detail: str = ""
    dead: bool = False

    @property
    def healthy(self) -> bool:
        """Whether all probes passed."""
        return not self.probe

    def __str__(self) -> str:
        return f"{self.probe}: {self.detail}" if self.probe else "healthy"


class Prober:
    """Checks the containers of one pool.

    Args:
        runtime: The engine to ask.
        options: Which probes, and how patient.
    """

    def __init__(self, runtime: Runtime, options: HealthOptions) -> None:
        self._runtime = runtime
        self._options = options
        self._http: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the HTTP session."""
        if self._http is not None:
            await self._http.close()

    async def check(self, ref: str, info: ContainerInfo) -> HealthReport:
        """Run the probes in order; the engine is asked in any case, since it tells dead from slow.

        A container that answers is healthy even if its engine does not: that says nothing about the container.
        """
        outside = await self._from_outside(info)
        engine = await self._ask_engine(ref)
        if engine is not None and (engine.dead or outside.healthy):
            return engine
        return outside

    async def wait(self, container: EngineContainer, info: ContainerInfo, *, timeout_s: float) -> HealthReport:
        """Wait until a started container is healthy, dead, or out of time; returns the last report."""
        until = time.monotonic() + timeout_s
        pause = _FIRST_POLL_S
        while True:
            report = await self.check(container.ref, info)
            if report.healthy or report.dead or time.monotonic() + pause > until:
                return report
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _SLOWEST_POLL_S)

    async def wait_healthy(self, container: EngineContainer, info: ContainerInfo, timeout_s: float) -> str:
        """Wait as `wait` does; returns what is wrong, in words, or nothing."""
        report = await self.wait(container, info, timeout_s=timeout_s)
        return "" if report.healthy else str(report)

    async def _from_outside(self, info: ContainerInfo) -> HealthReport:
        if not info.ports and (self._options.tcp or self._options.http):
            return HealthReport("tcp", "no port is published: the container died as it started")
        if self._options.tcp is not None:
            report = await self._tcp(self._options.tcp, info)
            if not report.healthy:
                return report
        if self._options.http is not None:
            return await self._ask_http(self._options.http, info)
        return HealthReport()

    async def _tcp(self, probe: TcpProbe, info: ContainerInfo) -> HealthReport:
        port = _published(info, probe.port)
        try:
            async with asyncio.timeout(probe.timeout_s):
                _, writer = await asyncio.open_connection(info.host, port)
        except (OSError, TimeoutError) as error:
            return HealthReport("tcp", f"no connection to {info.host}:{port}: {str(error) or 'timed out'}")
        writer.close()
        return HealthReport()

    async def _ask_http(self, probe: HttpProbe, info: ContainerInfo) -> HealthReport:
        if self._http is None:
            # A connection kept open would be a process of the container's server that no baseline has.
            self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, limit=0))
        url = f"http://{info.host}:{_published(info, probe.port)}{probe.path}"
        timeout = aiohttp.ClientTimeout(total=probe.timeout_s)
        try:
            async with self._http.get(url, timeout=timeout, headers=probe.headers, allow_redirects=False) as response:
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return HealthReport("http", f"GET {url}: {str(error) or type(error).__name__}")
        if status not in probe.status:
            return HealthReport("http", f"GET {url}: status {status}, not one of {probe.status}")
        return HealthReport()

    async def _ask_engine(self, ref: str) -> HealthReport | None:
        try:
            container = await self._runtime.inspect(ref)
        except ContainerGone:
            return HealthReport("engine", "the container is gone", dead=True)
        except EngineError:
            return None
        if container.running:
            return HealthReport()
        code = f" with code {container.exit_code}" if container.state is EngineState.EXITED else ""
        return HealthReport("engine", f"the container is {container.state}{code}", dead=container.state in _DEAD)


def _published(info: ContainerInfo, port: int | None) -> int:
    return info.ports[port] if port is not None else next(iter(info.ports.values()))
