"""Lends containers to the tests of one process, and gives them back with the outcome of the test."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pytest

from pool.client import Client, Lease, connect
from pool.embedded import find_server
from pool.errors import LeaseLost, PoolError
from pool.models import Outcome
from pool.pytest_plugin import telling
from pool.pytest_plugin.asking import refusal, wish_of
from pool.pytest_plugin.poolctl import Poolctl
from pool.pytest_plugin.settings import Settings

_NOTHING_RUNS = """containerpool: no pool runs here, and nobody said where one does. Either
  - start one with `poolctl serve CONFIG`,
  - say where it is with --pool-url URL, the setting pool_url, or $POOL_URL, or
  - let pytest run one for the session with --pool-start CONFIG."""
_SESSION_FIXTURE = "pool_container_session"


@dataclass
class Held:
    """A lease in a test's hands.

    Attributes:
        record: What is told of it at the end, plain enough to go from process to process.
        log: The tail of the container's log, or why there is none; None before anybody wanted it.
        why_lost: What to say of its loss; empty while it holds.
        told_lost: A report has said that it is lost.
    """

    lease: Lease
    record: dict[str, Any]
    log: telling.Log | None = None
    why_lost: str = ""
    told_lost: bool = False

    def look(self) -> str:
        """Return why the lease is lost, by what this process knows; empty while it holds, or was given back."""
        if not self.why_lost and not self.lease.released and self.lease.lost:
            try:
                self.lease.check()
            except LeaseLost as error:
                self.lose(error)
        return self.why_lost

    def lose(self, error: LeaseLost) -> None:
        """Note that it is lost."""
        self.why_lost = f"{error.message}; {error.hint}" if error.hint else error.message
        self.record["lost"] = error.message


@dataclass
class _Use:
    """What one attempt at one test has to do with the pool.

    Attributes:
        mine: The lease of `pool_container`.
        records: Of all attempts, in order: plugins may run a test again.
        phases: Phase → its outcome.
    """

    mine: Held | None = None
    records: list[dict[str, Any]] = field(default_factory=list)
    phases: dict[str, str] = field(default_factory=dict)


_USE = pytest.StashKey[_Use]()


class Lender:
    """Lends containers to the tests of this process.

    Args:
        settings: What the user said.
        config: Of this run.
    """

    def __init__(self, settings: Settings, config: pytest.Config) -> None:
        self._settings = settings
        self._html = config.pluginmanager.hasplugin("html")
        self._client: Client | None = None
        self._url = ""
        xdist = getattr(config, "workerinput", {})
        self._run: str = xdist.get("testrunuid") or uuid.uuid4().hex
        self._worker: str = xdist.get("workerid") or "main"
        self._session: Held | None = None
        self._session_outcomes: set[Outcome] = set()

    # Connecting

    def find_url(self) -> str:
        """Return where the pools are.

        Raises:
            pytest.fail.Exception: Nobody says it, and no private server runs.
        """
        started = self._settings.start is not None
        url = (None if started else self._settings.url) or os.environ.get("POOL_URL")
        if not url:
            server = find_server()
            if server is None:
                pytest.fail(_NOTHING_RUNS, pytrace=False)
            url = server.url
        self._url = url
        return url

    def connect(self, url: str) -> Client:
        """Return the client of this process.

        Raises:
            pytest.fail.Exception: It cannot connect; says why.
        """
        if self._client is None:
            access = {"token": self._settings.token} if self._settings.token else {}
            try:
                self._client = connect(url, **access)  # type: ignore[arg-type]  # as connect checks it
            except PoolError as error:
                raise refusal(error) from None
            self._url = url
        return self._client

    @cached_property
    def _poolctl(self) -> Poolctl:
        return Poolctl(self._url, token=self._settings.token)

    # Lending

    def lend(self, client: Client, item: Any, pool: str | None, given: Mapping[str, Any]) -> Lease:
        """Return a container for a test, or for the process.

        Args:
            client: To ask.
            item: The node that asks: the test, or the session.
            pool: The pool's name; None where there is only one.
            given: Arguments for `Client.acquire`.

        Raises:
            pytest.fail.Exception: There is none to be had; says why.
        """
        item = item if isinstance(item, pytest.Item) else None
        asked_at = time.time()
        record: dict[str, Any] = {
            "nodeid": item.nodeid if item is not None else f"{_SESSION_FIXTURE} of {self._worker}",
            "worker": self._worker,
            "asked_at": asked_at,
            "outcome": None,
        }
        if item is not None:
            item.stash.setdefault(_USE, _Use()).records.append(record)
        try:
            pool, wish = wish_of(item, pool, given, run=self._run, worker=self._worker)
            if wish.get("owner") is None:
                wish["owner"] = self._owner()
            lease = client.acquire(pool, **wish)
        except PoolError as error:
            record |= {"refused": error.code, "waited_s": time.time() - asked_at}
            raise refusal(error) from None
        record |= telling.facts_of(lease.data) | {"granted_at": time.time()}
        held = Held(lease, record)
        if item is None:
            self._session = held
        else:
            item.stash[_USE].mine = held
        return lease

    def _owner(self) -> str | None:
        """Return who asks; a token may be bound to an owner, and then says it itself."""
        token = self._settings.token or os.environ.get("POOL_TOKEN") or os.environ.get("POOL_TOKEN_FILE")
        bound = token and self._url.partition("://")[0].lower() in ("http", "https")
        return None if bound else f"pytest-{self._run[:12]}"

    # What becomes of the test

    def saw(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Take note of how a phase of a test ended, and say in its report what there is to say."""
        use = item.stash.get(_USE, None)
        shared = self._session if _SESSION_FIXTURE in getattr(item, "fixturenames", ()) else None
        if use is None and shared is None:
            return
        use = item.stash.setdefault(_USE, _Use())
        if report.when == "setup":
            use.phases.clear()
            if use.mine is not None and use.mine.record["outcome"] is not None:  # of an earlier attempt
                use.mine = None
        held = [one for one in (use.mine, shared) if one is not None]
        for one in held:
            if report.when == "call" and (why := one.look()):
                telling.fail(report, f"containerpool: {why}")
                one.told_lost = True
        use.phases[report.when] = report.outcome
        if shared is not None and report.when == "teardown":
            self._session_outcomes.add(_outcome(use.phases, crashed=report.failed))
        for one in held:
            self._tell_of(item, report, one, attempt=len(use.records))
        if use.records:
            report.__dict__["containerpool"] = [dict(record) for record in use.records]
        if held:
            telling.set_properties(item, report, held[0].record)

    def _tell_of(self, item: pytest.Item, report: pytest.TestReport, held: Held, *, attempt: int) -> None:
        if not report.failed:
            return
        held.record["failed"] = True
        if held.log is None:
            held.log = self._log(held)
        folder = self._settings.evidence and telling.folder_of(self._settings.evidence, item.nodeid, attempt)
        if folder is not None and "folder" not in held.record:
            held.record["folder"] = str(folder)
            held.record["not_kept"] = telling.keep(folder, held.lease.data, held.record, held.log)
        telling.add_sections(report, held.lease.data, held.record, held.log, html=self._html)

    def _log(self, held: Held) -> telling.Log:
        """Return the tail of a container's log while it is ours; later, it could be somebody else's."""
        if held.look():
            return telling.Log(why="the lease was lost, so what the log holds may be another test's")
        if held.lease.released:
            return telling.Log(why="the container was given back before the failure was known")
        return self._poolctl.log(held.record["pool"], held.record["container"])

    def give_back(self, item: pytest.Item, *, crashed: bool) -> None:
        """Give a test's container back.

        Args:
            item: The test, all of whose fixtures are torn down.
            crashed: Its teardown failed.

        Raises:
            pytest.fail.Exception: The lease was lost, no report has said so, and nothing else failed.
        """
        use = item.stash.get(_USE, None)
        if use is None or use.mine is None or use.mine.record["outcome"] is not None:
            return
        held = use.mine
        if crashed and held.log is None:
            held.log = self._log(held)
        self._release(held, _outcome(use.phases, crashed=crashed))
        if held.why_lost and not held.told_lost and not crashed:
            held.told_lost = True
            pytest.fail(f"containerpool: {held.why_lost}", pytrace=False)

    def _release(self, held: Held, outcome: Outcome) -> None:
        record = held.record
        try:
            if held.lease.released:
                record["outcome"] = "by the test"
            else:
                held.lease.release(outcome)
                record["outcome"] = outcome.value
        except LeaseLost as error:
            if not held.why_lost:
                held.lose(error)
            record["outcome"] = "lost"
        except PoolError as error:  # it lapses by itself, and the test is not to blame
            record |= {"outcome": "unknown", "note": f"not given back, it lapses by itself: {error.message}"}
        record["released_at"] = time.time()
        record["held_s"] = record["released_at"] - record["granted_at"]

    # The end

    def end_session(self, *, interrupted: bool) -> None:
        """Give back the container of the process, and whatever an interrupt left, and disconnect."""
        if (held := self._session) is not None and held.record["outcome"] is None:
            outcome = max(self._session_outcomes, key=list(Outcome).index, default=Outcome.PASSED)
            self._release(held, Outcome.ERROR if interrupted else outcome)
        self.close()

    def close(self) -> None:
        """Disconnect, which gives back as error what is held yet. May be called twice."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def tell(self) -> dict[str, Any]:
        """Return what the process that the user sees needs at the end: where the pool is, and its own lease."""
        session = self._session
        return {"url": self._url, "records": [dict(session.record)] if session is not None else []}


def _outcome(phases: Mapping[str, str], *, crashed: bool) -> Outcome:
    """Return how the work under a lease ended; what did not come to its end is an error, as after an interrupt."""
    if crashed or phases.get("setup") == "failed":
        return Outcome.ERROR
    if "call" not in phases and phases.get("setup") != "skipped":
        return Outcome.ERROR
    return Outcome.FAILED if phases.get("call") == "failed" else Outcome.PASSED
