"""How the other processes are started: with nothing loaded that only the stage needs."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.concurrency import recorder, worker


def main() -> None:
    match sys.argv[1:]:
        case ["recorder", socket]:
            asyncio.run(recorder.serve(Path(socket)))
        case ["worker", url, pool, socket, name, tasks, pace_s, seed]:
            asyncio.run(worker.work(url, pool, Path(socket), name, int(tasks), float(pace_s), int(seed)))
        case words:
            sys.exit(f"what is {words}")


if __name__ == "__main__":
    main()
