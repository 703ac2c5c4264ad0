"""The pytest plugin in one process: fixtures, marker, options, and what becomes of a lease when a test ends somehow."""

from __future__ import annotations

from pathlib import Path

import pytest

from pool.models import Priority
from pool.pytest_plugin.settings import PRIORITIES
from tests.plugin_suites import MakeSuite, make_suite
from tests.support import eventually
from tests.support_manager import make_bench

__all__ = ["make_bench", "make_suite"]

pytestmark = pytest.mark.long
pytest_plugins = ["pytester"]

FIXTURES = """
import pool
import pytest

def test_the_container_of_a_test_is_leased_to_it(pool_container, pool_client, pool_container_name, request):
    [mine] = [c for c in pool_client.status(pool_container_name).containers if c.id == pool_container.container.id]
    assert mine.request_id == pool_container.request_id
    assert mine.metadata["nodeid"] == request.node.nodeid
    assert mine.metadata["worker"] == "main"
    assert mine.owner.startswith("pytest-") and mine.owner == "pytest-" + mine.metadata["run"][:12]
    assert pool_container.url.startswith("http://")

def test_the_container_of_the_session_is_another_one(pool_container_session, pool_container):
    assert pool_container_session.container.id != pool_container.container.id

@pytest.mark.parametrize("number", [1, 2])
def test_the_container_of_the_session_stays(pool_container_session, number, first=[]):
    first.append(pool_container_session.request_id)
    assert first[0] == pool_container_session.request_id

async def test_an_asynchronous_test_has_a_container_too(pool_container):
    pool_container.check()

async def test_the_asynchronous_client_takes_the_same_request(pool_url, pool_container_name, pool_request):
    async with pool.connect_async(pool_url) as client:
        async with await client.acquire(pool_container_name, **pool_request) as lease:
            lease.check()

@pytest.mark.pool(priority="critical", label="shop", timeout_s=40, wait_s=30, metadata={"why": "checkout"})
class TestMarker:
    def test_the_marker_says_what_is_asked_for(self, pool_container):
        data = pool_container.data
        assert (data.priority.label, data.metadata["why"], data.metadata["worker"]) == ("critical", "checkout", "main")
        assert 35 < data.deadline_at - data.granted_at <= 40

    @pytest.mark.pool(priority="high")
    def test_the_marker_of_a_test_goes_before_that_of_its_class(self, pool_container):
        assert pool_container.data.priority.label == "high"
        assert pool_container.data.metadata["why"] == "checkout"

class TestRequest:
    @pytest.fixture
    def pool_request(self, pool_request):
        return pool_request | {"owner": "run-42", "priority": "low", "metadata": {"suite": "shop"}}

    def test_the_fixture_says_what_is_asked_for(self, pool_container):
        assert pool_container.data.owner == "run-42"
        assert pool_container.data.priority.label == "low"
        assert pool_container.data.metadata["suite"] == "shop"

    @pytest.mark.pool(priority="high")
    def test_the_marker_goes_before_the_fixture(self, pool_container):
        assert pool_container.data.priority.label == "high"
"""

OUTCOMES = """
import pytest

@pytest.fixture
def breaks_at_setup(pool_container):
    raise OSError("setup")

@pytest.fixture
def breaks_at_teardown(pool_container):
    yield
    raise OSError("teardown")

def test_a_passes(pool_container): ...
def test_b_fails(pool_container): assert False
def test_c_setup(breaks_at_setup): ...
def test_d_teardown(breaks_at_teardown): ...
def test_e_skips(pool_container): pytest.skip("later")
@pytest.mark.xfail
def test_f_xfails(pool_container): assert False
def test_g_gives_back_itself(pool_container): pool_container.release("failed")
@pytest.mark.timeout(1, method="signal", func_only=True)
def test_h_times_out(pool_container):
    import threading
    threading.Event().wait(60)
def test_i_teardown_of_the_last(breaks_at_teardown): ...
"""

LOSSES = """
import threading
import pytest

lost = threading.Event()

@pytest.fixture
def pool_request(pool_request):
    lost.clear()
    return pool_request | {"on_lost": lambda lease: lost.set()}

def revoke(client, lease):
    client.quarantine(lease.data.pool, lease.container.id, reason="by hand", force=True)

def test_body_passes(pool_container, pool_client):
    revoke(pool_client, pool_container)
    assert lost.wait(20)

@pytest.fixture
def revoked_late(pool_container, pool_client):
    yield
    revoke(pool_client, pool_container)

def test_lost_in_teardown(revoked_late): ...
"""


async def test_fixtures_lend_what_was_asked_for(make_suite: MakeSuite) -> None:
    suite = await make_suite()

    result = await suite.run(test_them=FIXTURES)

    result.assert_outcomes(passed=10)
    await eventually(suite.bench.all_available)


async def test_the_outcome_of_a_test_is_the_outcome_of_its_lease(make_suite: MakeSuite) -> None:
    suite = await make_suite()

    result = await suite.run(test_them=OUTCOMES)

    result.assert_outcomes(passed=4, failed=2, errors=3, skipped=1, xfailed=1)
    assert await suite.outcomes() == [
        "passed", "failed", "error", "error", "passed", "passed", "failed", "failed", "error",
    ]  # fmt: skip
    await eventually(suite.bench.all_available)


async def test_a_test_whose_lease_is_lost_fails_and_says_so(make_suite: MakeSuite) -> None:
    suite = await make_suite()

    result = await suite.run("-v", test_them=LOSSES)

    result.assert_outcomes(passed=1, failed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_lost_in_teardown*",
            "containerpool: *lease*lost*",
            "*test_body_passes*",
            "containerpool: the lease of container * is lost: *",
            "ended * 2 lost",
        ]
    )


@pytest.mark.parametrize(
    ("arguments", "ini", "told"),
    [
        (("--pool-priority", "urgent"), "", "--pool-priority: 'urgent' is not allowed; use one of critical, high"),
        (("--pool-wait", "-1"), "", "--pool-wait: '-1' is not allowed; use seconds from 0 to 86400"),
        ((), "pool_timeout = soon", "the setting pool_timeout: 'soon' is not allowed; use seconds from 0.1"),
        (("--pool-url", "redis://a", "--pool-start", "c.yaml"), "", "--pool-url says where the pools are already"),
    ],
)
def test_a_wrong_option_is_refused_by_name(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], ini: str, told: str
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makefile(".ini", pytest=f"[pytest]\n{ini}\n")
    pytester.makepyfile("def test_it(): ...")

    result = pytester.runpytest_subprocess("-p", "containerpool", *arguments)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *{told}*"])


async def test_what_cannot_be_asked_fails_the_test_alone(make_suite: MakeSuite) -> None:
    suite = await make_suite()
    tests = """
        import pytest

        @pytest.mark.pool(prio="high")
        def test_unknown(pool_container): ...
        @pytest.mark.pool("a", "b")
        def test_two_names(pool_container): ...
        @pytest.mark.pool(priority="urgent")
        def test_value(pool_container): ...
        @pytest.mark.pool("nobodys")
        def test_pool(pool_container): ...
        @pytest.mark.pool(timeout_s=0.2, wait_s=0)
        def test_full(pool_client, pool_container_name, pool_container_session, pool_container): ...

        class TestFixture:
            @pytest.fixture
            def pool_request(self):
                return {"request_id": "mine"}
            def test_request(self, pool_container): ...

        def test_good(pool_container): ...
    """

    result = await suite.run(test_them=tests)

    result.assert_outcomes(passed=2, errors=5)
    result.stdout.fnmatch_lines(
        [
            "containerpool: @pytest.mark.pool: 'prio' is not allowed; use name, priority, *(request_invalid)",
            "containerpool: @pytest.mark.pool: ('a', 'b') is not allowed; *",
            "containerpool: priority: 'urgent' is not allowed; use one of critical, high, normal, low *",
            "containerpool: *nobodys* (pool_unknown)",
            "containerpool: the fixture pool_request: 'request_id' is not allowed; use priority, *",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")


async def test_a_wait_in_vain_fails_the_test_and_is_counted(make_suite: MakeSuite) -> None:
    suite = await make_suite()
    tests = """
        def test_it(pool_client, pool_container_name, pool_container_session, request):
            with pool_client.acquire(pool_container_name):
                request.getfixturevalue("pool_container")
    """

    result = await suite.run("--pool-wait=0", test_them=tests)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*containerpool: * (acquire_timeout)", "ended * 1 refused (acquire_timeout)*"])


def test_without_a_pool_the_first_use_says_what_to_do(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("POOL_STATE_DIR", str(tmp_path / "none"))
    monkeypatch.delenv("POOL_URL", raising=False)
    pytester.makepyfile("def test_plain(): ...\ndef test_it(pool_container): ...")

    result = pytester.runpytest_subprocess("-p", "containerpool")

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["containerpool: no pool runs here*", "*poolctl serve*", "*--pool-url*", "*--pool-start*"]
    )
    assert not (tmp_path / "none").exists()


def test_a_pool_that_does_not_answer_is_named(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile("def test_it(pool_container): ...")

    result = pytester.runpytest_subprocess("-p", "containerpool", f"--pool-url=unix://{pytester.path}/none.sock")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["containerpool: *none.sock* (store_unavailable)"])


def test_a_run_that_uses_no_pool_shows_nothing_of_it_and_loads_nothing(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(
        """
        import sys

        def test_it():
            heavy = {"aiohttp", "asyncio", "docker", "pydantic", "redis", "rich", "structlog", "typer", "yaml"}
            assert not heavy & set(sys.modules)
            assert not {"pool.client", "pool.models", "pool.errors"} & set(sys.modules)
        """
    )

    result = pytester.runpytest_subprocess("-p", "containerpool", "-v")

    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*= containerpool =*")


def test_the_priorities_are_those_of_the_pool() -> None:
    assert list(PRIORITIES) == [priority.label for priority in Priority]
