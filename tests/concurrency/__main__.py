"""The long run: `python -m tests.concurrency --seconds 600`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import time

import structlog

from tests.concurrency import play
from tests.concurrency.book import Report
from tests.concurrency.scene import Cast, set_up


async def soak(cast: Cast, seconds: float) -> Report:
    """Disturb a crowd again and again, in any order, until the time is over."""
    until = time.monotonic() + seconds
    chance = random.Random(cast.seed)
    async with set_up(cast) as scene:
        await play.begin(scene)
        while time.monotonic() < until:
            disturb = chance.choice(play.DISTURBANCES)
            print(f"{until - time.monotonic():5.0f} s to go: {disturb.__name__}", flush=True)
            await disturb(scene)
            await play.everybody_served_again(scene)
            print(f"              {(await scene.report()).counts}", flush=True)
        return await play.end(scene)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.concurrency", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long; then everything is checked")
    parser.add_argument("--containers", type=int, default=10)
    parser.add_argument("--on-release", choices=["soft", "none"], default="soft")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    cast = Cast(options.containers, on_release=options.on_release, seed=options.seed)
    print(asyncio.run(soak(cast, options.seconds)).counts)


if __name__ == "__main__":
    main()
