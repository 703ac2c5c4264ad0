"""The HTTP server of a process: from the configuration to a port that answers, and to a clean end."""

from __future__ import annotations

import logging
import os
import secrets
import socket

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from pool.api.context import request_ids
from pool.api.gate import GATE, Gate, authentication
from pool.api.gateway import add_gateway
from pool.api.hub import EventHub
from pool.api.keys import SERVICES, Services
from pool.api.problems import problems
from pool.api.routes import add_all
from pool.api.routes_docs import add_docs
from pool.api.routes_live import add_live
from pool.api.routing import ROUTES, Routes
from pool.api.security import (
    HEAD_TIMEOUT_S,
    HOSTS,
    AccessLog,
    Crowd,
    Hosts,
    check_exposure,
    host_check,
    is_loopback,
    load_tls,
    secure,
)
from pool.api.traffic import TRAFFIC, Traffic
from pool.api.waits import Desk
from pool.client.keeping import Keeper
from pool.config import Config, HttpOptions
from pool.errors import ConfigError
from pool.ports import Runtime
from pool.store import Connection

log = structlog.get_logger()
_access_log = logging.getLogger("pool.access")
_http_log = logging.getLogger("pool.http")


def _is_ours(record: logging.LogRecord) -> bool:
    """Leave out that a request was no HTTP: anybody can cause that, and the access log has it, without a traceback."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


_http_log.addFilter(_is_ours)


class ApiServer:
    """Answers over HTTP from `start` until `close`.

    Args:
        config: What to serve; without an `http` section, its defaults.
        connection: To the Redis of the pools; the server makes one of its own to the same.
        runtime: The engine, for logs and statistics; None where this process has none.
    """

    def __init__(self, config: Config, connection: Connection, runtime: Runtime | None) -> None:
        self._config = config
        self._http = config.http or HttpOptions()
        self._origin = connection
        self._runtime = runtime
        self._runner: web.AppRunner | None = None
        self._services: Services | None = None
        self._port = self._http.port
        self._crowd = Crowd()

    @property
    def url(self) -> str:
        """Where the server listens."""
        host = f"[{self._http.host}]" if ":" in self._http.host else self._http.host
        return f"{'https' if self._http.tls_cert else 'http'}://{host}:{self._port}"

    @property
    def services(self) -> Services:
        """What its handlers work with, while it runs."""
        if self._services is None:
            raise RuntimeError("the server was not started, or is closed")
        return self._services

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: The address, or the certificate, cannot be used.
        """
        await check_exposure(self._http, self._origin)
        connection = self._origin.again()
        keeper = Keeper(connection, f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}")
        self._services = Services(
            config=self._config,
            http=self._http,
            connection=connection,
            keeper=keeper,
            desk=Desk(keeper, liveness_s=self._http.liveness_s),
            runtime=self._runtime,
            hub=EventHub(connection),
        )
        try:
            await self._services.hub.start()
            self._runner = web.AppRunner(
                self._application(), handler_cancellation=True, shutdown_timeout=self._http.shutdown_grace_s,
                auto_decompress=False,  # the gateway passes bodies on as they are, and the API takes none compressed
                logger=_http_log, access_log=_access_log, access_log_class=AccessLog, keepalive_timeout=HEAD_TIMEOUT_S,
            )  # fmt: skip
            await self._runner.setup()
            await self._listen(self._runner)
            if self._runner.server is not None:
                self._crowd.watch(self._runner.server)
        except BaseException:
            await self.close()
            raise
        log.info("http.listening", url=self.url)

    async def close(self) -> None:
        """Answer who still calls, hand back what waits, and listen no more. May be called twice."""
        await self._crowd.close()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        services, self._services = self._services, None
        if services is not None:
            await services.hub.close()
            await services.keeper.close()

    def _application(self) -> web.Application:
        traffic = Traffic()
        middlewares = [traffic.middleware, request_ids, self._crowd.middleware, problems, host_check, authentication]
        app = web.Application(middlewares=middlewares, client_max_size=self._http.max_body_kb * 1024)
        app[SERVICES] = self.services
        app[GATE] = Gate(self._http, self.services.connection, local=is_loopback(self._http.host))
        app[HOSTS] = Hosts(self._http)
        app[TRAFFIC] = traffic
        app.on_response_prepare.append(secure)
        app[ROUTES] = routes = Routes()
        add_all(routes)
        add_docs(app, routes)
        add_live(app, routes)
        if self._http.gateway:
            add_gateway(app, routes)
        routes.register(app)
        app.on_shutdown.append(self._hand_back)
        return app

    async def _hand_back(self, _: web.Application) -> None:
        """End what would go on for long: waits, which keep their place, and streams of events."""
        self.services.desk.close()
        await self.services.hub.close()

    async def _listen(self, runner: web.AppRunner) -> None:
        site = web.TCPSite(runner, self._http.host, self._http.port, ssl_context=load_tls(self._http))
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(
                f"http: cannot listen on {self._http.host} port {self._http.port}: {error.strerror or error}",
                hint="choose another http.host or http.port; port 0 lets the system choose one",
            ) from error
        self._port = runner.addresses[0][1]
