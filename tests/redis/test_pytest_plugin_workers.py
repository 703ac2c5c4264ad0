"""The pytest plugin in many processes, and what ends them early: every container comes back."""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest

from tests.plugin_suites import PLUGINS, MakeSuite, Suite, make_suite
from tests.poolctl import exists
from tests.support import eventually
from tests.support_manager import make_bench

__all__ = ["make_bench", "make_suite"]

pytestmark = pytest.mark.long
pytest_plugins = ["pytester"]

#: Each test shows by a directory that nobody else is in its container.
EXCLUSIVE = """
import os, pathlib, pytest

@pytest.mark.parametrize("number", range(12))
def test_alone(pool_container, number):
    place = pathlib.Path({place!r}, pool_container.container.id)
    place.mkdir()
    place.rmdir()

def test_session(pool_container, worker_id):
    assert pool_container.data.metadata["worker"] == worker_id
    assert pool_container.data.owner == "pytest-" + os.environ["PYTEST_XDIST_TESTRUNUID"][:12]
"""

HOLDS = """
import os, pathlib, pytest, signal, threading

@pytest.mark.timeout({timeout_s}, method="thread", func_only=True)
def test_holds(pool_container):
    pathlib.Path("held").write_text(pool_container.container.id)
    {ends}
    threading.Event().wait(60)

def test_other(pool_container): ...
"""

MANAGED = {"limits": {"ttl_s": 2.0, "claim_ttl_s": 2.0}}


async def all_back(suite: Suite) -> None:
    await eventually(suite.bench.all_available, deadline_s=30)


async def test_more_workers_than_containers_wait_and_never_meet(make_suite: MakeSuite) -> None:
    suite = await make_suite()

    result = await suite.run("-n3", "-v", test_them=EXCLUSIVE.format(place=str(suite.folder)))

    result.assert_outcomes(passed=13)
    result.stdout.fnmatch_lines(["waits * 13 leases: mean *", "use * 2 containers held *", "ended * 13 passed"])
    assert len([line for line in result.outlines if line.startswith("lease ")]) == 13
    granted = await suite.bench.facts("lease.granted")
    assert len({fact["owner"] for fact in granted}) == 1
    await all_back(suite)


async def test_each_worker_has_its_own_container_for_the_session(make_suite: MakeSuite) -> None:
    suite = await make_suite()
    tests = """
        import pytest

        @pytest.mark.parametrize("number", range(6))
        def test_it(pool_container_session, number, worker_id):
            assert pool_container_session.data.metadata["worker"] == worker_id
            assert number != 5
    """

    result = await suite.run("-n2", test_them=tests)

    result.assert_outcomes(passed=5, failed=1)
    assert Counter(await suite.outcomes()) == {"passed": 1, "failed": 1}
    result.stdout.fnmatch_lines(["waits * 2 leases*"])
    await all_back(suite)


@pytest.mark.parametrize("ends", ["os._exit(3)", "os.kill(os.getpid(), signal.SIGKILL)"])
async def test_the_container_of_a_worker_that_crashes_comes_back_by_itself(make_suite: MakeSuite, ends: str) -> None:
    suite = await make_suite(**MANAGED)

    result = await suite.run("-n1", test_them=HOLDS.format(ends=ends, timeout_s=60))

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["open * test_them.py::test_holds: *: its process ended; the container comes back*"])
    await all_back(suite)


async def test_a_timeout_that_ends_the_process_gives_back_by_the_ttl(make_suite: MakeSuite) -> None:
    suite = await make_suite(**MANAGED)

    await suite.run(test_them=HOLDS.format(ends="", timeout_s=1))

    assert (suite.folder / "held").exists()
    await all_back(suite)


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "xdist"])
async def test_ctrl_c_gives_back_what_is_held_as_an_error(make_suite: MakeSuite, workers: tuple[str, ...]) -> None:
    suite = await make_suite()
    suite.write(test_them=HOLDS.format(ends="", timeout_s=60))
    process = await suite.start(*workers)
    await eventually(exists(suite.folder / "held"), deadline_s=60)

    os.killpg(process.pid, signal.SIGINT)

    shown = await suite.end(process)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, shown
    assert "KeyboardInterrupt" in shown
    assert "error" in await suite.outcomes()
    await all_back(suite)


async def test_ctrl_c_while_a_test_waits_withdraws_its_request(make_suite: MakeSuite) -> None:
    suite = await make_suite()
    held = await suite.bench.client.acquire(suite.bench.pool), await suite.bench.client.acquire(suite.bench.pool)
    suite.write(test_them="def test_it(pool_container): ...")
    process = await suite.start()

    async def waits() -> bool:
        return len((await suite.bench.store.status()).queue) == 1

    await eventually(waits, deadline_s=60)
    process.send_signal(signal.SIGINT)
    shown = await suite.end(process)

    assert process.returncode == pytest.ExitCode.INTERRUPTED, shown
    assert not (await suite.bench.store.status()).queue
    for lease in held:
        await lease.release()


async def test_a_run_that_stops_early_gives_everything_back(make_suite: MakeSuite) -> None:
    suite = await make_suite()
    tests = """
        def test_a(pool_container_session, pool_container): assert False
        def test_b(pool_container): ...
    """

    result = await suite.run("--maxfail=1", test_them=tests)

    result.assert_outcomes(failed=1)
    assert sorted(await suite.outcomes()) == ["failed", "failed"]
    await all_back(suite)


async def test_a_test_that_is_run_again_has_a_container_of_its_own_each_time(make_suite: MakeSuite) -> None:
    suite = await make_suite()
    tests = """
        runs = []

        def test_it(pool_container):
            runs.append(pool_container.request_id)
            assert len(runs) == 3
            assert len(set(runs)) == 3
    """
    plugins = (*PLUGINS, "-p", "rerunfailures")

    result = await suite.run("--reruns=2", "--junitxml=junit.xml", plugins=plugins, test_them=tests)

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["waits * 3 leases*", "ended * 2 failed, 1 passed"])
    assert await suite.outcomes() == ["failed", "failed", "passed"]
    junit = (suite.folder / "junit.xml").read_text()
    assert junit.count('"pool_held_s"') == junit.count("<testcase ")
