"""`python -m pool.pytest_plugin.attendant CONFIG STATE_DIR SUFFIX`: manages pools for as long as its stdin is open.

pytest holds the other end. However that ends, killed included, the pools end with it: two managers on one engine that
do not know of each other are what must not be left behind.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

from pool.app import serve
from pool.config import Config, load_config
from pool.embedded import stop_server
from pool.errors import PoolError
from pool.runtimes import DockerRuntime
from pool.telemetry import configure_logging

_LONGEST_DEPLOYMENT = 64


def private(config: Config, state_dir: Path, suffix: str) -> Config:
    """Return a configuration with a private Redis and a deployment of its own: no other manager has its containers.

    Args:
        config: As the user wrote it.
        state_dir: Where the private Redis is to live.
        suffix: What makes the deployment's name its own.
    """
    head = config.deployment[: _LONGEST_DEPLOYMENT - len(suffix) - 1]
    redis = config.redis.model_copy(update={"url": None, "state_dir": state_dir, "wait_replicas": 0})
    return config.model_copy(update={"deployment": f"{head}-{suffix}", "redis": redis})


async def _remove_all(config: Config) -> None:
    """Remove what a manager that failed left behind; it carries the deployment's label, and nobody else has that."""
    runtime = DockerRuntime(config.docker)
    try:
        for container in await runtime.list(config.deployment):
            await runtime.remove(container.ref)
        await runtime.remove_network(config.deployment)
    finally:
        await runtime.close()


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def main(path: str, state_dir: str, suffix: str) -> int:
    """Manage the pools until stdin ends; returns the exit code."""
    os.environ.pop("POOL_URL", None)  # it would go before the private Redis
    configure_logging("text")
    place, parent = Path(state_dir), os.getppid()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until the manager takes care of it
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        config = private(load_config(Path(path)), place, suffix)
        try:
            asyncio.run(serve(config, remove=True))
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            asyncio.run(_remove_all(config))
    except PoolError as error:
        print(f"error: {error.message}\n{error.hint}".rstrip(), file=sys.stderr)
        return 1
    finally:
        stop_server(place)
        if os.getppid() != parent:  # nobody else clears up any more
            shutil.rmtree(place, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
