"""The state machine for a long time: `make soak`, or `python -m tests.model.soak --operations 100000`.

With `--broken` it is itself what is tested: it must notice each broken script without the scenes' help.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from unittest.mock import patch

from pool.embedded import temporary_server
from tests.model.backend import Backend
from tests.model.bundles import BundleMachine
from tests.model.checking import BROKEN, SOAK, check_model
from tests.model.draining import DrainingMachine
from tests.model.keys import Disagreement
from tests.model.machine import PoolMachine
from tests.model.pair import Pair
from tests.model.spares import SpareMachine
from tests.redis.test_model_mutations import CASES

MACHINES = (PoolMachine, BundleMachine, DrainingMachine, SpareMachine)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the real scripts against the model on a private server.")
    parser.add_argument("--operations", type=int, default=100_000, help="commands to send at least (%(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="where to start (random)")
    parser.add_argument("--broken", action="store_true", help="break the scripts one by one instead")
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


def notice_all(url: str, start: int) -> bool:
    """Break the scripts one by one, and say after how many commands the state machine noticed."""
    missed = 0
    for machine, mutation in CASES:
        began = Pair.operations
        broken = mutation.scripts()
        with Backend(url) as backend, patch("pool.store.connection.load_scripts", lambda broken=broken: broken):
            try:
                check_model(backend, BROKEN, of=machine, start=start)
            except Disagreement:
                print(f"{Pair.operations - began:7,} operations: {mutation.breaks}", flush=True)
            else:
                missed += 1
                print(f"not noticed: {mutation.breaks}, from seed {start}", flush=True)
    return not missed


def main() -> int:
    arguments = _arguments()
    with temporary_server() as url:
        if arguments.broken:
            return 0 if notice_all(url, arguments.seed) else 1
        soak(url, arguments.operations, arguments.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
