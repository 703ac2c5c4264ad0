"""The probes in their order: TCP, HTTP, engine. Each has its own timeout; none raises."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from pool.config import HealthOptions, HttpProbe, TcpProbe
from pool.config.options import published
from pool.errors import ContainerGone, EngineError
from pool.health.outside import ask_http, ask_tcp
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

    async def check(self, ref: str, info: ContainerInfo) -> HealthReport:
        """Run the probes in order; the engine is asked in any case, since it tells dead from slow.

        A container that answers is healthy even if its engine does not: that says nothing about the container.
        """
        return await self._with_engine(ref, await self._from_outside(info))

    async def wait(self, container: EngineContainer, info: ContainerInfo, *, timeout_s: float) -> HealthReport:
        """Wait until a started container is healthy, dead, or out of time; returns the last report."""
        until = time.monotonic() + timeout_s
        pause = _FIRST_POLL_S
        while True:
            report = await self._quickly(container.ref, info)
            if report.healthy or report.dead or time.monotonic() + pause > until:
                return report
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _SLOWEST_POLL_S)

    async def wait_healthy(self, container: EngineContainer, info: ContainerInfo, timeout_s: float) -> str:
        """Wait as `wait` does; returns what is wrong, in words, or nothing."""
        report = await self.wait(container, info, timeout_s=timeout_s)
        return "" if report.healthy else str(report)

    async def _quickly(self, ref: str, info: ContainerInfo) -> HealthReport:
        """Do as `check` does, but do not ask the engine about a server that has answered itself."""
        if self._options.http is None:
            return await self.check(ref, info)
        outside = await self._from_outside(info)
        return outside if outside.healthy else await self._with_engine(ref, outside)

    async def _from_outside(self, info: ContainerInfo) -> HealthReport:
        if not info.ports and (self._options.tcp or self._options.http):
            return HealthReport("tcp", "no port is published: the container died as it started")
        if self._options.tcp is not None:
            report = await self._tcp(self._options.tcp, info)
            if not report.healthy:
                return report
        if self._options.http is not None:
            return await self._http(self._options.http, info)
        return HealthReport()

    async def _tcp(self, probe: TcpProbe, info: ContainerInfo) -> HealthReport:
        problem = await ask_tcp(info.host, published(info.ports, probe.port), timeout_s=probe.timeout_s)
        return HealthReport("tcp", problem) if problem else HealthReport()

    async def _http(self, probe: HttpProbe, info: ContainerInfo) -> HealthReport:
        problem = await ask_http(
            info.host,
            published(info.ports, probe.port),
            path=probe.path,
            status=probe.status,
            headers=probe.headers,
            timeout_s=probe.timeout_s,
        )
        return HealthReport("http", problem) if problem else HealthReport()

    async def _with_engine(self, ref: str, outside: HealthReport) -> HealthReport:
        engine = await self._ask_engine(ref)
        if engine is not None and (engine.dead or outside.healthy):
            return engine
        return outside

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
