"""The same hand-off, done by others: one process gives back, another one that waits has it.

    pip install '.[peers]'
    python benchmarks/peers/handoff.py

All take turns in one run, on one private Redis. llm-sandbox has no second process: there it is another thread.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection as Pipe
from statistics import quantiles
from typing import Any

from rich.console import Console
from rich.table import Table
from sides import PATIENCE_S, PEERS, Peer

from pool.bench.stage import fake_pool, server
from pool.store import Connection

_WIDTH_WITHOUT_TERMINAL = 150


def _other_side(peer: str, url: str, key: str, pipe: Pipe) -> None:
    """Take it, say when, give it back when told to; until the pipe is closed."""
    side = next(candidate for candidate in PEERS if candidate.name == peer).side(url, key, first=False)
    pipe.send("ready")
    try:
        while pipe.recv() == "take":
            side.take()
            pipe.send(time.monotonic_ns())
            pipe.recv()
            side.give()
            pipe.send("given")
    except EOFError:
        side.close()


@contextmanager
def _running(peer: Peer, url: str, key: str) -> Iterator[Pipe]:
    """Run the other side in a process, or a thread, of its own; yield the pipe to it."""
    near, far = multiprocessing.Pipe()
    runner: Any
    if peer.threads:
        runner = threading.Thread(target=_other_side, args=(peer.name, url, key, far), daemon=True)
    else:
        runner = multiprocessing.get_context("spawn").Process(
            target=_other_side, args=(peer.name, url, key, far), daemon=True
        )
    runner.start()
    if not peer.threads:
        far.close()  # now only the process has it: its end is the pipe's end
    try:
        yield near
    finally:
        near.close()
        runner.join(10)
        if not peer.threads and runner.is_alive():
            runner.kill()
            runner.join()


@contextmanager
def _pool_of_one(url: str) -> Iterator[str]:
    """Open a pool of one container that does not exist; yield its name."""
    with asyncio.Runner() as runner:
        connection = Connection(url)
        opened = fake_pool(connection, 1)
        try:
            yield runner.run(opened.__aenter__()).pool
        finally:
            runner.run(opened.__aexit__(None, None, None))
            runner.run(connection.close())


class Match:
    """A peer at work: one side here, the other one elsewhere."""

    def __init__(self, peer: Peer, url: str, key: str, pipe: Pipe) -> None:
        self._pipe = pipe
        self._side = peer.side(url, key, first=True)
        self.times_ms: list[float] = []

    def start(self) -> None:
        """Take it, so that the other side has to wait."""
        self._receive()
        self._side.take()
        self._pipe.send("take")

    def finish(self) -> None:
        """Hand it over for the last time, so that nobody waits any more."""
        self._side.give()
        self._receive()
        self._side.close()

    def round(self) -> None:
        """Hand it over, and take it back."""
        begun = time.monotonic_ns()
        self._side.give()
        self.times_ms.append((self._receive() - begun) / 1e6)
        self._pipe.send("give")
        self._receive()
        self._side.take()
        self._pipe.send("take")

    def _receive(self) -> Any:
        try:
            if self._pipe.poll(PATIENCE_S):
                return self._pipe.recv()
        except EOFError:
            raise SystemExit("error: the other side of a hand-off ended") from None
        raise SystemExit("error: the other side of a hand-off says nothing")


def measure(rounds: int) -> dict[str, list[float]]:
    """Return for each installed peer how long its hand-offs took, in milliseconds."""
    with ExitStack() as stack:
        url = stack.enter_context(server(None))
        matches: dict[str, Match] = {}
        for peer in PEERS:
            if not peer.installed:
                continue
            key = stack.enter_context(_pool_of_one(url)) if peer.needs_pool else f"peer-{secrets.token_hex(4)}"
            pipe = stack.enter_context(_running(peer, url, key))
            matches[peer.name] = Match(peer, url, key, pipe)
            matches[peer.name].start()
        for match in matches.values():  # once for nothing: now all have connected, and wait
            match.round()
            match.times_ms.clear()
        for number in range(rounds):
            if sys.stderr.isatty():
                print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
            for match in matches.values():
                match.round()
        for match in matches.values():
            match.finish()
        return {name: match.times_ms for name, match in matches.items()}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="The same hand-off, done by others, in one run.")
    parser.add_argument("--rounds", type=int, default=100, help="hand-offs of each (100)")
    parser.add_argument("--json", action="store_true", help="write JSON")
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error("--rounds: use 2 or more")
    times = measure(options.rounds)
    rows = [
        {
            "name": peer.title,
            "installed": peer.name in times,
            "p50_ms": round(_quantile(times[peer.name], 50), 4) if peer.name in times else None,
            "p95_ms": round(_quantile(times[peer.name], 95), 4) if peer.name in times else None,
            "lacks": peer.lacks,
        }
        for peer in PEERS
    ]
    if options.json:
        print(json.dumps({"rows": rows}, ensure_ascii=False))
        return
    table = Table(box=None, padding=(0, 2, 1, 0), pad_edge=False, header_style="dim")
    table.add_column("hand-off by", no_wrap=True)
    table.add_column("p50 ms", justify="right")
    table.add_column("p95 ms", justify="right")
    table.add_column("what it does not do")
    for row in rows:
        if row["installed"]:
            table.add_row(str(row["name"]), f"{row['p50_ms']:.3f}", f"{row['p95_ms']:.3f}", str(row["lacks"]))
        else:
            table.add_row(str(row["name"]), "not installed", "", str(row["lacks"]))
    console = Console(highlight=False)
    (console if console.is_terminal else Console(highlight=False, width=_WIDTH_WITHOUT_TERMINAL)).print(table)


def _quantile(times: list[float], percent: int) -> float:
    return quantiles(times, n=100, method="inclusive")[percent - 1]


if __name__ == "__main__":
    main()
