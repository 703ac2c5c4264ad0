"""The state machine for a long time: `make soak`, or `python -m tests.model.soak --operations 100000`."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from pool.embedded import ensure_server, stop_server
from tests.model.backend import Backend
from tests.model.bundles import BundleMachine
from tests.model.checking import SOAK, check_model
from tests.model.draining import DrainingMachine
from tests.model.machine import PoolMachine
from tests.model.pair import Pair

MACHINES = (PoolMachine, BundleMachine, DrainingMachine)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the real scripts against the model on a private server.")
    parser.add_argument("--operations", type=int, default=100_000, help="commands to send at least (%(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="where to start (random)")
    return parser.parse_args()


def soak(url: str, operations: int, start: int) -> None:
    """Run rounds, each from its own seed, until as many commands were sent, and say how far it is."""
    began, rounds = time.monotonic(), 0
    with Backend(url) as backend:
        while Pair.operations < operations:
            print(f"round {rounds + 1}, seed {start + rounds}: {Pair.operations:,} operations so far", flush=True)
            check_model(backend, SOAK, of=MACHINES[rounds % len(MACHINES)], start=start + rounds)
            rounds += 1
    print(
        f"ok: {Pair.operations:,} operations in {rounds} rounds from seed {start}, "
        f"{time.monotonic() - began:.0f} s, no disagreement with the model"
    )


def main() -> int:
    arguments = _arguments()
    state_dir = Path(tempfile.mkdtemp(prefix="cp"))
    try:
        soak(ensure_server(state_dir).url, arguments.operations, arguments.seed)
    finally:
        stop_server(state_dir)
        shutil.rmtree(state_dir, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
