"""What a report says of the container that a test had, and what is kept of it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pool.models import LeaseData
from pool.redaction import redact

_LONGEST_NAME = 100


@dataclass(frozen=True)
class Log:
    """The tail of a container's log.

    Attributes:
        why: Why there is none; empty where there is one.
    """

    text: str = ""
    why: str = ""


def facts_of(lease: LeaseData) -> dict[str, Any]:
    """Return what is told of a lease at the end; no secret is in it."""
    return {
        "pool": lease.pool,
        "container": lease.container.id,
        "generation": lease.container.generation,
        "request": lease.request_id,
        "priority": lease.priority.label,
        "waited_s": lease.waited_s,
        "held_s": None,
    }


def fail(report: pytest.TestReport, why: str) -> None:
    """Let a test fail whose body did not; where it failed anyhow, say this beside it."""
    if report.failed:
        report.sections.append(("containerpool lease", why))
        return
    report.outcome = "failed"
    report.longrepr = why
    report.__dict__.pop("wasxfail", None)


def add_sections(
    report: pytest.TestReport, lease: LeaseData, record: Mapping[str, Any], log: Log, *, html: bool
) -> None:
    """Tell in a failed test's report which container it had, and what that wrote."""
    report.sections.append((f"containerpool {lease.container.id}", describe(lease, record)))
    report.sections.append((f"containerpool logs {lease.container.id}", log.text or f"not had: {log.why}"))
    if html and log.text:
        extras = import_module("pytest_html.extras")  # only where that plugin is installed
        there = report.__dict__.setdefault("extras", [])
        there.append(extras.text(log.text, name=f"log of {lease.container.id}"))


def describe(lease: LeaseData, record: Mapping[str, Any]) -> str:
    """Return what is to be known of a lease, for people; the URL of the gateway is a secret, and left out."""
    container = lease.container
    lines = [
        f"container  {container.id} ({container.name}, generation {container.generation})",
        f"url        {container.url or 'through the gateway only'}",
        f"lease      request {lease.request_id}, fence {lease.fence}, priority {lease.priority.label}",
        f"owner      {lease.owner}",
        f"waited     {lease.waited_s:.2f} s",
    ]
    if record.get("lost"):
        lines.append(f"lost       {record['lost']}")
    if record.get("folder"):
        lines.append(f"kept       {record.get('not_kept') or record['folder']}")
    return "\n".join(lines)


def set_properties(item: pytest.Item, report: pytest.TestReport, record: Mapping[str, Any]) -> None:
    """Set the test's properties, as JUnit XML and other plugins show them; those of an earlier attempt go."""
    known = {f"pool_{name}": record.get(name) for name in ("container", "generation", "request", "priority")}
    known |= {f"pool_{name}": _rounded(record.get(name)) for name in ("waited_s", "held_s")}
    others = [(name, value) for name, value in item.user_properties if name not in known]
    item.user_properties[:] = others + [(name, value) for name, value in known.items() if value is not None]
    report.user_properties = list(item.user_properties)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def folder_of(root: Path, nodeid: str, attempt: int = 1) -> Path:
    """Return where what a test left is kept: its name as a file's, and a piece that no other test's has.

    Args:
        root: Below which.
        nodeid: The test.
        attempt: Counts from 1 where a plugin runs a test again.

    >>> folder_of(Path("kept"), "tests/test_shop.py::test_pay[a/b]").name
    'tests_test_shop.py_test_pay_a_b-1dea06'
    """
    name = re.sub(r"[^A-Za-z0-9.-]+", "_", nodeid).strip("_.")[-_LONGEST_NAME:]
    return root / f"{name}-{hashlib.sha256(nodeid.encode()).hexdigest()[:6]}{f'.{attempt}' if attempt > 1 else ''}"


def keep(folder: Path, lease: LeaseData, record: Mapping[str, Any], log: Log) -> str:
    """Write lease and log of a failed test into its folder; returns why that was not possible, or nothing."""
    document = lease.to_json()
    for secret in ("token", "ref", "gateway_url"):
        del document[secret]
    document |= {"url": lease.container.url or None, "lost": record.get("lost"), "nodeid": record["nodeid"]}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "lease.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        (folder / "container.log").write_text(log.text or f"not had: {log.why}\n", encoding="utf-8")
    except OSError as error:
        return f"not kept: {error}"
    return ""


def clean(text: str) -> str:
    """Return what somebody else's program wrote, without what would steer a terminal, and without our secrets."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return redact(
        "".join(sign if sign.isprintable() or sign in "\n\t" else "\N{REPLACEMENT CHARACTER}" for sign in plain)
    )
