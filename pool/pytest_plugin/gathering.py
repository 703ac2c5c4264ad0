"""What is gathered at the end of a session: the manager's evidence of failed tests, and what the pools say."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pool.client import Client, connect
from pool.errors import PoolError
from pool.models import PoolStatus, State
from pool.pytest_plugin.poolctl import Poolctl

#: How long the end of a session may be kept waiting, in seconds: for evidence in all, and for a pool that is away.
_EVIDENCE_S = 20.0
_PATIENCE_S = 2.0
#: What a command may take in any case, in seconds.
_LEAST_S = 5.0
_LOOK_S = 0.3
#: While a container is in one of these after a lease, evidence of it may still come.
_AT_WORK = (State.CLEANING, State.RESETTING, State.UNHEALTHY)


@dataclass
class Gathered:
    """What was to be had.

    Attributes:
        sizes: Pool → how many of its containers can be lent at the same time.
        resets: Pool → how long its resets take on average, in seconds; None where there was none.
        notes: What was not to be had, in words.
        bundles: How many bundles of evidence were fetched.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    resets: dict[str, float | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    bundles: int = 0


def gather(url: str, token: str | None, records: Sequence[dict[str, Any]], evidence: Sequence[Path | None]) -> Gathered:
    """Ask the pools how they are, and fetch what managers kept of failed tests.

    Args:
        url: Where the pools are.
        token: For a manager's API; None where the environment says it.
        records: What the tests told of their leases.
        evidence: Where managers keep it; None for where `poolctl evidence` finds it.
    """
    gathered = Gathered()
    pools = sorted({record["pool"] for record in records if "pool" in record})
    try:
        with connect(url, patience_s=_PATIENCE_S, **({"token": token} if token else {})) as client:  # type: ignore[arg-type]  # as connect checks it
            wanted = {record["request"]: record for record in records if record.get("folder")}
            if wanted:
                Fetching(client, Poolctl(url, token=token), evidence, gathered).fetch(wanted)
            for pool in pools:
                status = client.status(pool)
                gathered.sizes[pool], gathered.resets[pool] = status.places, status.mean_reset_s
    except PoolError as error:
        gathered.notes.append(f"the pool does not answer any more: {error.message}")
    return gathered


class Fetching:
    """Fetches bundles of evidence as they appear, for a limited time."""

    def __init__(self, client: Client, poolctl: Poolctl, places: Sequence[Path | None], gathered: Gathered) -> None:
        self._client = client
        self._poolctl = poolctl
        self._places = places
        self._gathered = gathered
        self._until = time.monotonic() + _EVIDENCE_S
        self._seen: set[str] = set()

    @property
    def _left_s(self) -> float:
        return max(self._until - time.monotonic(), _LEAST_S)

    def fetch(self, wanted: dict[str, dict[str, Any]]) -> None:
        """Put the bundles of requests into the folders of their tests; note of which there is none."""
        missing = dict(wanted)
        try:
            while missing:
                open_ = self._open(
                    missing.values()
                )  # asked before the bundles are: what is settled then has its bundle
                for request in self._look(missing):
                    del missing[request]
                if not open_ & set(missing):
                    break
                if time.monotonic() > self._until:
                    self._gathered.notes.append(f"evidence: not waited for longer than {_EVIDENCE_S:g} s")
                    break
                threading.Event().wait(_LOOK_S)
        except PoolError as error:
            self._gathered.notes.append(f"evidence not had: {error.message}")
            return
        for record in missing.values():
            self._gathered.notes.append(
                f"evidence: the manager kept none of {record['nodeid']} ({record['container']})"
            )

    def _open(self, records: Iterable[dict[str, Any]]) -> set[str]:
        """Return of which requests evidence may still come."""
        statuses: dict[str, PoolStatus] = {}
        found = set()
        for record in records:
            pool = record["pool"]
            if pool not in statuses:
                statuses[pool] = self._client.status(pool)
            if not statuses[pool].manager:  # nobody collects any
                continue
            for container in statuses[pool].containers:
                theirs = record["request"] in (container.request_id, container.last_request_id)
                if container.id == record["container"] and theirs and container.state in _AT_WORK:
                    found.add(record["request"])
        return found

    def _look(self, missing: dict[str, dict[str, Any]]) -> set[str]:
        """Fetch the bundles that are there; returns whose they are."""
        found = set()
        for place in self._places:
            for bundle in self._poolctl.bundles(place, timeout_s=self._left_s):
                request = (bundle.get("lease") or {}).get("request_id")
                if request in missing and bundle["id"] not in self._seen:
                    self._seen.add(bundle["id"])
                    self._poolctl.fetch(bundle["id"], Path(missing[request]["folder"]), place, timeout_s=self._left_s)
                    self._gathered.bundles += 1
                    found.add(request)
        return found
