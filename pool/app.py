"""The composition root: from a configuration to running managers, and from signals to a clean end."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import structlog

from pool.api import ApiServer
from pool.config import Config
from pool.embedded import EmbeddedServer, ensure_server, find_server, stop_server
from pool.errors import EngineError, StoreUnavailable
from pool.manager import Ending, Garbage, Item, PoolManager
from pool.runtimes import DockerRuntime
from pool.store import Connection, pool_names

log = structlog.get_logger()

#: A manager has loops that try again by themselves; a single command need not be patient.
_PATIENCE_S = 1.0

#: How often the private server is looked after.
_GUARD_INTERVAL_S = 0.25


async def serve(config: Config, *, remove: bool = False) -> None:
    """Manage the pools of a configuration until SIGTERM or SIGINT.

    Containers stay as they are when it ends, leases included: the next start adopts them.

    Args:
        config: What to manage.
        remove: At the end, wait for the leases, then remove containers, network and pools, and stop the private
            Redis server if nothing else is in it.

    Raises:
        PoolError: Redis, the engine, an image, a port or a name is not as the configuration needs it.
    """
    async with AsyncExitStack() as stack:
        connection, runtime, server = await _connect(stack, config)
        if server:
            guard = asyncio.create_task(_keep_alive(config.redis.state_dir))
            stack.callback(guard.cancel)

        redis_version, engine = await connection.check(), await runtime.check()
        log.info("serve.starting", redis=connection.url, redis_version=redis_version, engine=engine)
        api = await _open_api(stack, config, runtime, connection)
        for image in sorted({options.container.image for options in config.pools.values()}):
            await runtime.ensure_image(image)
        if any(options.container.network is None for options in config.pools.values()):
            await runtime.ensure_network(config.deployment)
        await _manage(config, runtime, connection, api, remove=remove)
        if remove:
            if server:
                guard.cancel()
            await _tidy_up(config, runtime, connection, private=server is not None)


async def collect_garbage(config: Config, *, dry_run: bool) -> list[Item]:
    """Remove what is left of former configurations, or only say what that is.

    A private server that does not run is started for it, since only its books say what is leased, and stopped again
    if no pool is in it.

    Raises:
        PoolError: Redis or the engine does not answer.
    """
    async with AsyncExitStack() as stack:
        connection, runtime, server = await _connect(stack, config)

        await connection.check()
        await runtime.check()
        garbage = Garbage(config, runtime, connection)
        items = await garbage.look()
        if not dry_run:
            items = await garbage.remove(items)
        if server and server.started:
            await _stop_if_empty(config, connection)
        return items


async def _connect(stack: AsyncExitStack, config: Config) -> tuple[Connection, DockerRuntime, EmbeddedServer | None]:
    """Return Redis and the engine, which the stack closes; with the private server, where no other is configured."""
    url = config.redis.address or os.environ.get("POOL_URL") or None
    server = None if url else await asyncio.to_thread(ensure_server, config.redis.state_dir)
    connection = Connection(url or (server.url if server else ""), patience_s=_PATIENCE_S)
    stack.push_async_callback(connection.close)
    runtime = DockerRuntime(config.docker)
    stack.push_async_callback(runtime.close)
    return connection, runtime, server


async def _stop_if_empty(config: Config, connection: Connection) -> bool:
    """Stop the private server if no pool is in it; returns whether it was."""
    if await pool_names(connection):
        return False
    await connection.close()
    await asyncio.to_thread(stop_server, config.redis.state_dir)
    return True


async def _keep_alive(state_dir: Path | None) -> None:
    """Start the private Redis server again whenever it is gone; its log on disk has every lease."""
    while True:
        await asyncio.sleep(_GUARD_INTERVAL_S)
        try:
            if await asyncio.to_thread(find_server, state_dir) is None:
                server = await asyncio.to_thread(ensure_server, state_dir)
                log.warning("redis.restarted", pid=server.pid)
        except StoreUnavailable as error:
            log.warning("redis.not_restarted", why=error.message)


async def _open_api(
    stack: AsyncExitStack, config: Config, runtime: DockerRuntime, connection: Connection
) -> ApiServer | None:
    """Start the HTTP server, if there is to be one. It answers before the pools are ready, and says so."""
    if config.http is None:
        return None
    api = ApiServer(config, connection, runtime)
    stack.push_async_callback(api.close)
    await api.start()
    return api


async def _manage(
    config: Config, runtime: DockerRuntime, connection: Connection, api: ApiServer | None, *, remove: bool
) -> None:
    """Run one manager for each pool; if one fails to start, all stop and leave what runs, and its error is raised."""
    ending = Ending()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    end = asyncio.create_task(_end(stopping, api, ending, remove=remove))
    try:
        managers = [PoolManager(config, pool, runtime, connection) for pool in config.pools]
        running = [asyncio.create_task(manager.run(ending)) for manager in managers]
        await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
        ending.request(remove=ending.remove)
        results = await asyncio.gather(*running, return_exceptions=True)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        end.cancel()
        await asyncio.wait([end])
    for result in results:
        if isinstance(result, BaseException):
            raise result


async def _end(stopping: asyncio.Event, api: ApiServer | None, ending: Ending, *, remove: bool) -> None:
    """Answer who still calls while the managers are there to serve it, then have them stop."""
    await stopping.wait()
    if api is not None:
        await api.close()
    ending.request(remove=remove)


async def _tidy_up(config: Config, runtime: DockerRuntime, connection: Connection, *, private: bool) -> None:
    try:
        await runtime.remove_network(config.deployment)
    except EngineError as error:  # another pool of the deployment, managed elsewhere, still uses it
        log.warning("network.kept", why=error.message)
    if private and await _stop_if_empty(config, connection):
        log.info("redis.stopped")
