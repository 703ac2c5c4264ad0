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
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import docker
from mcp import Client

from pool.client import AsyncClient
from pool.models import Priority
from tests.e2e.browsers import POOL, Served, properties, served, shop

_PAGE = "data:text/html,<title>hello</title>"
_USE = re.compile(r"containers held (\d+)% of ([\d.]+) s")
_WITHOUT = ("-p", "no:containerpool", "-p", "benchmarks.fresh_container")
_EACH = 40
_LEASE_S = 600.0


def p95(values: Sequence[float]) -> float:
    """Return what 19 of 20 do not exceed."""
    return quantiles(values, n=20)[-1]


def row(name: str, values: Iterable[float], **more: Any) -> dict[str, Any]:
    """Sum milliseconds up."""
    every = list(values)
    return {"name": name, "p50_ms": median(every), "p95_ms": p95(every), "n": len(every), **more}


async def suite(browsers: Served, workers: int, *options: str) -> tuple[float, str, Path]:
    """Run the tests of the shop; returns seconds, what was printed, and the report."""
    report = Path(tempfile.mkdtemp(prefix="cp")) / "junit.xml"
    began = time.monotonic()
    ended = await browsers.run(*shop("-n", str(workers), *options, report=report))
    if ended.code or len(re.findall(r" PASSED ", ended.out)) != _EACH:
        sys.exit(f"the shop's tests did not pass:\n{ended.out}")
    return time.monotonic() - began, ended.out, report


async def suites(browsers: Served) -> list[dict[str, Any]]:
    """The same tests with the pool and without one."""
    pooled_s, out, report = await suite(browsers, 4)
    use = _USE.search(out)
    assert use  # noqa: S101 - the plugin says so with -v
    waits = zip(properties(report, "pool_priority"), map(float, properties(report, "pool_waited_s")), strict=True)
    by_priority: dict[str, list[float]] = {}
    for priority, wait_s in waits:
        by_priority.setdefault(priority, []).append(wait_s * 1000)
    fresh_s, _, report = await suite(browsers, 2, *_WITHOUT)
    started = [float(seconds) * 1000 for seconds in properties(report, "fresh_started_s")]
    tests_s = float(use[2])
    return [
        {"name": "40 tests, pool", "wall_s": pooled_s, "tests_s": tests_s, "use": int(use[1]) / 100, "goal": 0.85},
        *(row(f"wait, {name}", by_priority[name]) for name in map(str, Priority) if name in by_priority),
        {"name": "40 tests, a fresh container each", "wall_s": fresh_s, "ratio": fresh_s / pooled_s},
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
            rows = await suites(browsers)
        changes = {"size": 1, "access": "both", "gateway": {"host_header": "localhost:{port}"}}
        async with (
            served(engine.api, **changes) as browsers,
            AsyncClient(browsers.http_url) as remote,
            AsyncClient(browsers.url) as near,
        ):
            return [*rows, *await resets(near, rounds), *await navigations(remote, rounds)]
    finally:
        engine.close()


def line(found: dict[str, Any]) -> str:
    """Write a row for people."""
    words = [f"{found['name']:52}"]
    for key, form in {
        "wall_s": "{:.1f} s in all", "tests_s": "{:.1f} s of tests", "use": "containers used {:.0%}",
        "p50_ms": "p50 {:.0f} ms", "p95_ms": "p95 {:.0f} ms", "ratio": "× {:.2f}",
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
