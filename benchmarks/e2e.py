"""Real browsers: the 40 tests of `examples/shop` with a pool and without one, resets, and what the gateway costs.

    make images
    python -m benchmarks.e2e                # a table; --json for programs

It needs a Docker engine and some minutes. With the pool, four workers share two containers; without it, two workers
start a container for each test, so that both have two browsers at a time. Compare the rows of one run, never of two.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import secrets
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import docker
from mcp import Client

from benchmarks.fresh_container import LABEL, RUN
from pool.client import AsyncClient
from tests.e2e.browsers import POOL, Served, properties, served, shop

_PAGE = "data:text/html,<title>hello</title>"
_USE = re.compile(r"containers held (\d+)% of ([\d.]+) s")
_WITHOUT = ("-p", "no:containerpool", "-p", "benchmarks.fresh_container")
#: Half of the tests, in words of pytest's -k, and whether with the pool: a busy spell of the machine hits both ways.
_TURNS = (("check_out", True), ("check_out", False), ("not check_out", False), ("not check_out", True))
_EACH = 20
_WORKERS = 4
_SIZE = 2
#: In fresh containers, now and then, the first page never comes. That test counts for none of the times.
_MAY_FAIL = 2
_OF_A_WAIT = ("pool_priority", "pool_waited_s")
_PRIORITIES = ("critical", "high", "normal", "low")
_LEASE_S = 600.0
_SUITE_S = 1800.0
_RUN = secrets.token_hex(4)


def p95(values: Sequence[float]) -> float:
    """Return what 19 of 20 do not exceed."""
    return quantiles(values, n=20)[-1]


def row(name: str, values: Iterable[float], **more: Any) -> dict[str, Any]:
    """Sum milliseconds up."""
    every = list(values)
    return {"name": name, "p50_ms": median(every), "p95_ms": p95(every), "n": len(every), **more}


def numbers(report: Path, name: str) -> list[float]:
    """Return a property of all tests that is a number."""
    return [float(value) for value in properties(report, name)]


async def suite(browsers: Served, report: Path, workers: int, *options: str) -> str:
    """Run tests of the shop, which write a report; returns what was printed."""
    command = shop("-n", str(workers), *options, report=report)
    ended = await browsers.run(*command, deadline_s=_SUITE_S, **{RUN: _RUN})
    if len(re.findall(r" PASSED ", ended.out)) < _EACH - (0 if workers == _WORKERS else _MAY_FAIL):
        sys.exit(f"the shop's tests did not pass:\n{ended.out}")
    return ended.out


async def suites(browsers: Served, directory: Path) -> list[dict[str, Any]]:
    """The same tests with the pool and without one, by turns."""
    report = directory / "junit.xml"
    pooled: list[tuple[float, float]] = []  # share of use, seconds from the first request to the last release
    fresh: list[float] = []  # seconds of each test, from its container's start to its removal
    waits: dict[str, list[float]] = {}
    started: list[float] = []
    for tests, with_pool in _TURNS:
        if with_pool:
            out = await suite(browsers, report, _WORKERS, "-k", tests)
            pooled += [(int(share) / 100, float(seconds)) for share, seconds in _USE.findall(out)]
            for priority, wait_s in zip(*(properties(report, name) for name in _OF_A_WAIT), strict=True):
                waits.setdefault(priority, []).append(float(wait_s) * 1000)
        else:
            await suite(browsers, report, _SIZE, "-k", tests, *_WITHOUT)
            started += [float(seconds) * 1000 for seconds in properties(report, "fresh_started_s")]
            both = zip(numbers(report, "fresh_began"), numbers(report, "fresh_ended"), strict=True)
            fresh += [ended - began for began, ended in both]
    pooled_s = sum(seconds for _, seconds in pooled)
    use = sum(share * seconds for share, seconds in pooled) / pooled_s
    test_s, fresh_s = pooled_s * _SIZE / sum(map(len, waits.values())), median(fresh)
    return [
        {"name": "40 tests, pool", "tests_s": pooled_s, "use": use, "goal": 0.85},
        {"name": "one test with its reset, pool: mean", "mean_ms": test_s * 1000},
        *(row(f"wait, {name}", waits[name]) for name in _PRIORITIES if name in waits),
        row("one test and its fresh container", (seconds * 1000 for seconds in fresh), ratio=fresh_s / test_s),
        row("fresh container → HTTP 400", started),
    ]


async def resets(client: AsyncClient, rounds: int) -> list[dict[str, Any]]:
    """From the release of a browser that was used until the next one has it, verified clean."""
    times = []
    for _ in range(rounds):
        async with await client.acquire(POOL, timeout_s=_LEASE_S) as lease, Client(f"{lease.url}/mcp") as session:
            await session.call_tool("browser_navigate", {"url": _PAGE})
            await session.call_tool("browser_take_screenshot", {})
        began = time.monotonic()
        await (await client.acquire(POOL, wait_s=60)).release()
        times.append((time.monotonic() - began) * 1000)
        await (await client.acquire(POOL, wait_s=60)).release()
    return [row("soft reset of a used browser: release → next lease", times)]


async def navigations(client: AsyncClient, rounds: int) -> list[dict[str, Any]]:
    """One page again and again, by turns on the published port and through the gateway."""
    times: dict[str, list[float]] = {"direct": [], "through the gateway": []}
    async with await client.acquire(POOL, timeout_s=_LEASE_S) as lease:
        urls = {"direct": lease.url, "through the gateway": lease.gateway_url}
        for url in urls.values():
            async with Client(f"{url}/mcp") as session:
                await session.call_tool("browser_navigate", {"url": _PAGE})
        async with Client(f"{urls['direct']}/mcp") as near, Client(f"{urls['through the gateway']}/mcp") as far:
            for _ in range(rounds):
                for way, session in zip(times, (near, far), strict=True):
                    began = time.monotonic()
                    await session.call_tool("browser_navigate", {"url": _PAGE})
                    times[way].append((time.monotonic() - began) * 1000)
    rows = [row(f"navigate, {way}", values) for way, values in times.items()]
    rows[1]["ratio"] = rows[1]["p50_ms"] / rows[0]["p50_ms"]
    return rows


async def measure(rounds: int) -> list[dict[str, Any]]:
    """Measure everything."""
    engine = docker.from_env()
    engine.api.trust_env = False
    try:
        async with served(engine.api) as browsers:
            with tempfile.TemporaryDirectory(prefix="cp") as directory:
                rows = await suites(browsers, Path(directory))
        changes = {"size": 1, "access": "both", "gateway": {"host_header": "localhost:{port}"}}
        async with (
            served(engine.api, **changes) as browsers,
            AsyncClient(browsers.http_url) as remote,
            AsyncClient(browsers.url) as near,
        ):
            return [*rows, *await resets(near, rounds), *await navigations(remote, rounds)]
    finally:
        for left in engine.containers.list(all=True, filters={"label": f"{LABEL}={_RUN}"}):
            left.remove(force=True)
        engine.close()


def line(found: dict[str, Any]) -> str:
    """Write a row for people."""
    words = [f"{found['name']:52}"]
    for key, form in {
        "tests_s": "{:.1f} s of tests", "use": "containers used {:.0%}",
        "mean_ms": "{:.0f} ms", "p50_ms": "p50 {:.0f} ms", "p95_ms": "p95 {:.0f} ms", "ratio": "× {:.2f}",
    }.items():  # fmt: skip
        words += [form.format(found[key])] if key in found else []
    return "  ".join(words)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="resets, and navigations of each kind")
    parser.add_argument("--json", action="store_true", help="for programs")
    arguments = parser.parse_args()
    rows = asyncio.run(measure(max(2, arguments.rounds)))
    text = json.dumps({"rows": rows}) if arguments.json else "\n".join(map(line, rows))
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    main()
