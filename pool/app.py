"""The composition root: from a configuration to running managers, and from signals to a clean end."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import structlog

from pool.config import Config
from pool.embedded import ensure_server, find_server, stop_server
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
        url = config.redis.address or os.environ.get("POOL_URL") or None
        private = url is None
        if url is None:
            url = (await asyncio.to_thread(ensure_server, config.redis.state_dir)).url
            guard = asyncio.create_task(_keep_alive(config.redis.state_dir))
            stack.callback(guard.cancel)
        connection = Connection(url, patience_s=_PATIENCE_S)
        stack.push_async_callback(connection.close)
        runtime = DockerRuntime(config.docker)
        stack.push_async_callback(runtime.close)

        redis_version, engine = await connection.check(), await runtime.check()
        log.info("serve.starting", redis=connection.url, redis_version=redis_version, engine=engine)
        for image in sorted({options.container.image for options in config.pools.values()}):
            await runtime.ensure_image(image)
        if any(options.container.network is None for options in config.pools.values()):
            await runtime.ensure_network(config.deployment)
        await _manage(config, runtime, connection, remove=remove)
        if remove:
            if private:
                guard.cancel()
            await _tidy_up(config, runtime, connection, private=private)


async def collect_garbage(config: Config, *, dry_run: bool) -> list[Item]:
    """Remove what is left of former configurations, or only say what that is.

    A private server that does not run is started for it, since only its books say what is leased, and stopped again
    if no pool is in it.

    Raises:
        PoolError: Redis or the engine does not answer.
    """
    async with AsyncExitStack() as stack:
        url = config.redis.address or os.environ.get("POOL_URL") or None
        server = None if url else await asyncio.to_thread(ensure_server, config.redis.state_dir)
        connection = Connection(url or (server.url if server else ""), patience_s=_PATIENCE_S)
        stack.push_async_callback(connection.close)
        runtime = DockerRuntime(config.docker)
        stack.push_async_callback(runtime.close)

        await connection.check()
        await runtime.check()
        garbage = Garbage(config, runtime, connection)
        items = await garbage.look()
        if not dry_run:
            items = await garbage.remove(items)
        if server and server.started and not await pool_names(connection):
            await connection.close()
            await asyncio.to_thread(stop_server, config.redis.state_dir)
        return items


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


async def _manage(config: Config, runtime: DockerRuntime, connection: Connection, *, remove: bool) -> None:
    """Run one manager for each pool; if one fails to start, all stop and leave what runs, and its error is raised."""
    ending = Ending()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: ending.request(remove=remove))
    try:
        managers = [PoolManager(config, pool, runtime, connection) for pool in config.pools]
        running = [asyncio.create_task(manager.run(ending)) for manager in managers]
        await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
        ending.request(remove=ending.remove)
        results = await asyncio.gather(*running, return_exceptions=True)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    for result in results:
        if isinstance(result, BaseException):
            raise result


async def _tidy_up(config: Config, runtime: DockerRuntime, connection: Connection, *, private: bool) -> None:
    try:
        await runtime.remove_network(config.deployment)
    except EngineError as error:  # another pool of the deployment, managed elsewhere, still uses it
        log.warning("network.kept", why=error.message)
    if private and not await pool_names(connection):
        await connection.close()
        await asyncio.to_thread(stop_server, config.redis.state_dir)
        log.info("redis.stopped")
