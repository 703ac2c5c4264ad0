"""Prometheus for tests: its tools, what queries name, and a private server that runs what is in `deploy/prometheus`."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from pool.metrics import FAMILIES, Family, Kind
from tests.support import eventually

ROOT = Path(__file__).parents[1]
#: The files that are committed.
PROMETHEUS = ROOT / "deploy" / "prometheus"
#: Where the alerts' pages are, in tests: the name of the alert stands for ALERT.
RUNBOOK = "https://docs.test/runbook/ALERT/"

_LISTENING = "0A"


def find_tool(name: str) -> str:
    """Return `prometheus` or `promtool`: an installed one, or what `deploy/setup` unpacked."""
    unpacked = ROOT / ".state" / "prometheus" / name
    found = shutil.which(name) or (str(unpacked) if unpacked.is_file() else None)
    assert found, f"{name} is missing: sh deploy/setup prometheus"
    return found


def rules_of(name: str) -> list[dict[str, Any]]:
    """The rules of a committed file, in its order."""
    document = yaml.safe_load((PROMETHEUS / "rules" / name).read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


# Queries

#: Name of each label → the values it can have; empty where they are not known before.
Labels = Mapping[str, Sequence[str]]

#: What Prometheus itself gives each series that it scrapes.
_OF_TARGETS: Labels = {"job": (), "instance": ()}
_GROUPING = re.compile(r"\b(?:without|by|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"\b(?P<name>(?:pool|up|process)\w*(?::\w+)*)\b\s*(?:\{(?P<matchers>[^}]*)\})?")
_MATCHER = re.compile(r'(?P<label>\w+)\s*(?P<how>=~|!~|!=|=)\s*"(?P<value>[^"]*)"')


@cache
def known_series() -> dict[str, Labels]:
    """Every series that a scrape or a recording rule gives, with its labels."""
    known = {name: labels for family in FAMILIES.values() for name, labels in _series_of(family)}
    known["up"] = _OF_TARGETS
    for rule in rules_of("recording.yml"):
        known[rule["record"]] = {label: v for name, _ in selectors(rule["expr"]) for label, v in known[name].items()}
    return known


def _series_of(family: Family) -> Iterator[tuple[str, Labels]]:
    labels: Labels = {"pool": (), **family.labels} if "pool" in family.names else family.labels
    labels = {**labels, **_OF_TARGETS}
    if family.kind is Kind.HISTOGRAM:
        yield f"{family.name}_sum", labels
        yield f"{family.name}_count", labels
        yield f"{family.name}_bucket", {**labels, "le": ()}
    else:
        yield family.name, labels


def selectors(query: str) -> Iterator[tuple[str, str]]:
    """Yield name and matchers of each series that a query asks for."""
    for found in _SELECTOR.finditer(_GROUPING.sub(" ", query)):
        yield found["name"], found["matchers"] or ""


def mistakes(query: str, known: Mapping[str, Labels]) -> list[str]:
    """Say what a query names that there is not: series, labels, values of labels."""
    found: list[str] = []
    labels: set[str] = set()
    for name, matchers in selectors(query):
        if name not in known:
            found.append(f"there is no series {name}")
            continue
        labels |= known[name].keys()
        for label, _, value in _MATCHER.findall(matchers):
            if label not in known[name]:
                found.append(f"{name} has no label {label}")
            elif allowed := known[name][label]:
                found += [f"{name}: {label} is never {each}" for each in value.split("|") if each not in allowed]
    grouped = {label.strip() for group in _GROUPING.findall(query) for label in group.split(",") if label.strip()}
    return found + [f"nothing in it has the label {label}" for label in sorted(grouped - labels)]


# A server


@dataclass
class Prometheus:
    """A private server, on a port that the system chose."""

    url: str
    targets: Path
    session: aiohttp.ClientSession

    def scrape(self, *addresses: str) -> None:
        """Say which servers of ours it scrapes; it sees for itself that the file changed."""
        fresh = self.targets.with_suffix(".part")
        fresh.write_text(json.dumps([{"targets": list(addresses)}]))
        fresh.rename(self.targets)

    async def ask(self, path: str, **query: str) -> Any:
        async with self.session.get(f"{self.url}/api/v1/{path}", params=query) as response:
            assert response.status == 200, await response.text()
            return (await response.json())["data"]

    async def values(self, query: str) -> list[float]:
        """The values of a query, now."""
        return [float(each["value"][1]) for each in (await self.ask("query", query=query))["result"]]

    async def firing(self, **labels: str) -> dict[str, Any]:
        """The alerts that fire and have these labels, by their names."""
        alerts = (await self.ask("alerts"))["alerts"]
        return {
            alert["labels"]["alertname"]: alert
            for alert in alerts
            if alert["state"] == "firing" and labels.items() <= alert["labels"].items()
        }


@asynccontextmanager
async def prometheus(home: Path, *, interval_s: int = 1, for_s: int = 1) -> AsyncIterator[Prometheus]:
    """Run the committed configuration, more often than it says and with alerts that wait for a shorter time.

    Args:
        home: A directory of its own.
        interval_s: Between two scrapes, and two looks at the rules.
        for_s: How long what an alert looks for must have been so.
    """
    binary, config = find_tool("prometheus"), _hasten(home, interval_s, for_s)
    log = home / "log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            binary,
            f"--config.file={config}",
            f"--storage.tsdb.path={home / 'data'}",
            "--web.listen-address=127.0.0.1:0",
            "--log.level=warn",
            stdout=out,
            stderr=out,
        )
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30)) as session:
            server = Prometheus("", config.with_name("targets.yml"), session)

            async def ready() -> bool:
                assert process.returncode is None, log.read_text()
                port = _port_of(process.pid)
                server.url = f"http://127.0.0.1:{port}"
                return port is not None and await _is_ready(server)

            await eventually(ready, deadline_s=60)
            yield server
    finally:
        if process.returncode is None:
            process.kill()  # its data is nobody's
        await process.wait()


def _hasten(home: Path, interval_s: int, for_s: int) -> Path:
    """Derive a configuration from the committed one that needs no patience; returns its file."""
    folder = home / "config"
    shutil.copytree(PROMETHEUS, folder)
    for rules in (folder / "rules").glob("*.yml"):
        rules.write_text(re.sub(r"^( +for:) \w+$", rf"\1 {for_s}s", rules.read_text(), flags=re.MULTILINE))
    config = folder / "prometheus.yml"
    document = yaml.safe_load(config.read_text())
    pace = {"scrape_interval": f"{interval_s}s", "scrape_timeout": f"{interval_s}s"}
    document["global"] |= pace | {"evaluation_interval": f"{interval_s}s"}
    document["global"]["external_labels"]["containerpool_runbook"] = RUNBOOK
    config.write_text(yaml.safe_dump(document))
    (folder / "targets.yml").write_text("[]")
    return config


async def _is_ready(server: Prometheus) -> bool:
    try:
        async with server.session.get(f"{server.url}/-/ready") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


def _port_of(pid: int) -> int | None:
    """The port on which a process listens; None as long as there is none."""
    sockets = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == _LISTENING and f"socket:[{words[9]}]" in sockets:
            return int(words[1].rpartition(":")[2], 16)
    return None
