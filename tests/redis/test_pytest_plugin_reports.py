"""What the pytest plugin tells: of failed tests, to JUnit and pytest-html, in folders, at the end."""

from __future__ import annotations

import json

import pytest

from pool.pytest_plugin.gathering import Gathered
from pool.pytest_plugin.summary import lines
from pool.pytest_plugin.telling import clean
from tests.plugin_suites import PLUGINS, MakeSuite, make_suite
from tests.support_api import serving
from tests.support_manager import make_bench

__all__ = ["make_bench", "make_suite"]
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
