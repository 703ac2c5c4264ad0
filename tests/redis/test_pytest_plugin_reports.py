"""What the pytest plugin tells: of failed tests, to JUnit and pytest-html, in folders, at the end."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, cast

import pytest

from pool.models import ContainerRecord, Outcome, PoolStatus, State
from pool.pytest_plugin.gathering import Fetching, Gathered
from pool.pytest_plugin.summary import lines
from pool.pytest_plugin.telling import clean
from tests.plugin_suites import PLUGINS, MakeSuite, make_suite
from tests.support import info
from tests.support_access import open_site, own_redis
from tests.support_api import serving
from tests.support_manager import make_bench

__all__ = ["make_bench", "make_suite"]

pytestmark = pytest.mark.long
pytest_plugins = ["pytester"]

FAILS = """
def test_fails(pool_container): assert False
def test_passes(pool_container): ...
"""


async def test_a_failed_test_says_which_container_it_had_and_why_there_is_no_log(make_suite: MakeSuite) -> None:
    suite = await make_suite()

    result = await suite.run("--junitxml=junit.xml", test_them=FAILS)

    result.stdout.fnmatch_lines(
        [
            f"*- containerpool {suite.bench.pool}-? -*",
            f"container  {suite.bench.pool}-? (*, generation 1)",
            "url        http://*",
            "lease      request *, priority normal",
            "waited     *",
            "*- containerpool logs *",
            "not had: the engine has no container *",
            "*= containerpool =*",
            "waits * 2 leases: *",
            "ended * 1 *ed, 1 *ed",
        ]
    )
    junit = (suite.folder / "junit.xml").read_text()
    for name in ("container", "generation", "request", "waited_s", "held_s", "priority"):
        assert junit.count(f'"pool_{name}"') == 2


async def test_the_use_of_a_pool_is_a_share_of_its_places_not_of_its_spares(make_suite: MakeSuite) -> None:
    suite = await make_suite(size=1, spares=1)

    result = await suite.run(test_it="def test_it(pool_container): ...")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["use * 1 container held *"])


async def test_over_http_the_log_and_the_evidence_come_from_the_manager(
    make_suite: MakeSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = await make_suite(evidence={"causes": ["failed"]})
    for number in (1, 2):
        suite.bench.inside(f"{suite.bench.pool}-{number}").logs.append("GET /shop\x1b[2J Authorization: Bearer hush")
    monkeypatch.delenv("POOL_URL")
    plugins = (*PLUGINS, "-p", "html", "-p", "metadata", "-W", "ignore::pytest.PytestAssertRewriteWarning")
    config, runtime = suite.bench.config, suite.bench.runtime
    async with serving(suite.redis_url, suite.bench.pool, runtime=runtime, config=config) as api:
        arguments = (f"--pool-url={api.server.url}", "--pool-evidence=kept", "--html=report.html")
        result = await suite.run(*arguments, "-n1", plugins=plugins, test_them=FAILS)

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*containerpool logs*", "GET /shop*Authorization: •••", "evidence   of 1 failed *"])
    [kept] = (suite.folder / "kept").iterdir()
    lease = json.loads((kept / "lease.json").read_text())
    [bundle] = [path for path in kept.iterdir() if path.is_dir()]
    facts = json.loads((bundle / "evidence.json").read_text())
    assert kept.name.startswith("test_them.py_test_fails-")
    assert (lease["pool"], lease["nodeid"]) == (suite.bench.pool, "test_them.py::test_fails")
    assert not {"token", "ref", "gateway_url"} & set(lease)
    assert (facts["lease"]["request_id"], facts["cause"]) == (lease["id"], "failed")
    assert "GET /shop" in (kept / "container.log").read_text()
    assert f"log of {lease['container']['id']}" in (suite.folder / "report.html").read_text()


async def test_evidence_that_the_manager_did_not_keep_is_said_to_be_missing(make_suite: MakeSuite) -> None:
    suite = await make_suite()

    result = await suite.run("--pool-evidence=kept", test_them=FAILS)

    result.stdout.fnmatch_lines(["note * evidence: the manager kept none of test_them.py::test_fails (*)"])
    [kept] = (suite.folder / "kept").iterdir()
    assert sorted(path.name for path in kept.iterdir()) == ["container.log", "lease.json"]


async def test_a_token_says_who_asks_and_a_clients_sees_no_logs(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makepyfile(
        """
        def test_it(pool_container):
            assert pool_container.data.owner == "team", "another owner"
            assert False, "on purpose"
        """
    )
    async with own_redis() as url, open_site(url, "shop-1") as site:
        token = await site.token(owner="team")
        arguments = (*PLUGINS, f"--pool-url={site.url}", f"--pool-token={token}", "--pool-evidence=kept")
        result = await asyncio.to_thread(pytester.runpytest_subprocess, *arguments, timeout=90)
        [record] = (await site.store.status()).containers

    result.assert_outcomes(failed=1)
    assert record.outcome is Outcome.FAILED
    result.stdout.fnmatch_lines(
        ["E * on purpose*", "not had: token 'ci' is a client's; *operator*", "note * evidence not had: token 'ci' is *"]
    )
    result.stdout.no_fnmatch_line(f"*{token}*")


class SlowManager:
    """Stands for client and `poolctl`: the bundle comes after the first look, while the reset goes on."""

    def __init__(self, state: State) -> None:
        self.looks = 0
        self.state = state
        self.fetched: list[str] = []

    def status(self, pool: str) -> PoolStatus:
        state = State.AVAILABLE if self.looks else self.state
        record = ContainerRecord(info("shop-1"), state, revision=1, fence=1, since=0.0, last_request_id="mine")
        return PoolStatus(pool, 0.0, "first", draining=False, manager="one", containers=(record,), queue=())

    def bundles(self, directory: Path | None, *, timeout_s: float) -> list[dict[str, Any]]:
        self.looks += 1
        return [{"id": "bundle", "lease": {"request_id": "mine"}}] if self.looks > 1 else []

    def fetch(self, bundle_id: str, target: Path, directory: Path | None, *, timeout_s: float) -> None:
        self.fetched.append(bundle_id)


@pytest.mark.parametrize(("state", "fetched"), [(State.CLEANING, ["bundle"]), (State.AVAILABLE, [])])
def test_evidence_is_waited_for_while_it_may_come_and_no_longer(state: State, fetched: list[str]) -> None:
    manager, gathered = SlowManager(state), Gathered()
    record = {"request": "mine", "pool": "shop", "container": "shop-1", "nodeid": "t::it", "folder": "kept"}

    Fetching(cast("Any", manager), cast("Any", manager), [None], gathered).fetch({"mine": record})

    assert manager.fetched == fetched
    assert gathered.notes == ([] if fetched else ["evidence: the manager kept none of t::it (shop-1)"])


def test_the_summary_adds_up() -> None:
    base = {"pool": "shop", "generation": 1, "worker": "gw0", "held_s": 4.0, "outcome": "passed"}
    records = [
        base | {"nodeid": f"t::{n}", "container": f"shop-{n % 2}", "request": str(n), "priority": priority}
        | {"waited_s": waited_s, "asked_at": 100.0 + n, "granted_at": 101.0 + n, "released_at": 105.0 + n}
        for n, (priority, waited_s) in enumerate([("high", 0.5), ("normal", 2.0), ("normal", 0.0), ("normal", 1.5)])
    ]  # fmt: skip
    records[3] |= {"lost": "it is lost"}
    records.append(
        {"nodeid": "t::refused", "asked_at": 120.0, "refused": "queue_full", "waited_s": 0.0, "outcome": None}
    )

    shown = list(lines(records, Gathered({"shop": 2}, {"shop": 0.02}, ["nothing more"]), 0))

    assert shown == [
        "waits      4 leases: mean 1.00 s, p95 2.00 s, longest 2.00 s",
        "  high     1 lease: mean 0.50 s, p95 0.50 s, longest 0.50 s",
        "  normal   3 leases: mean 1.17 s, p95 2.00 s, longest 2.00 s",
        "slowest    2.00 s  t::1  (shop-1, normal)",
        "           1.50 s  t::3  (shop-1, normal)",
        "           0.50 s  t::0  (shop-0, high)",
        "use        shop: 2 containers held 100% of 8.0 s; a reset takes 0.020 s on average",
        "ended      3 passed, 1 lost, 1 refused (queue_full)",
        "lost       t::3: it is lost",
        "note       nothing more",
    ]


def test_what_a_container_wrote_steers_no_terminal() -> None:
    assert clean("\x1b[31mred\x1b[0m\tok\nx\x1b]0;title\x07") == "red\tok\nx�]0;title�"
