"""A manager, as a process: `python -m pool.demo.manager CONFIG [--remove]`, what `poolctl serve` does."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from pool.app import serve
from pool.config import load_config
from pool.errors import PoolError
from pool.telemetry import configure_logging


def main(path: str, *flags: str) -> None:
    """Serve a configuration until SIGTERM; an error ends the process with its message."""
    configure_logging()
    try:
        asyncio.run(serve(load_config(Path(path)), remove="--remove" in flags))
    except PoolError as error:
        sys.exit(f"{error.message}\n{error.hint}".strip())


if __name__ == "__main__":
    main(*sys.argv[1:])
