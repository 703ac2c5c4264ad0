"""Containers for tests, as fixtures of pytest: `docs/pytest.md`.

pytest imports this in every run, so nothing but pytest and the standard library is loaded here. The rest comes with the
first test that asks for a container. PYTEST_DONT_REWRITE: there is no assertion in it.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from pool.pytest_plugin.desk import DESK, Desk
from pool.pytest_plugin.settings import SETTINGS, Settings, add_options

if TYPE_CHECKING:
    from pool.client import Client, Lease
    from pool.pytest_plugin.lending import Lender

__all__ = ["pool_client", "pool_container", "pool_container_name", "pool_container_session", "pool_request", "pool_url"]

_MARKER = (
    "pool(name=None, *, priority=, timeout_s=, wait_s=, requirements=, label=, metadata=): "
    "what the container of this test's `pool_container` is to be, and how urgent; arguments as of Client.acquire."
)
#: Who lends containers to the tests of this process; there is none before the first of them asks.
_LENDER = pytest.StashKey["Lender"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options and their settings in the configuration file."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Check the options; have the process that the user sees gather what there is to tell."""
    config.addinivalue_line("markers", _MARKER)
    config.stash[SETTINGS] = Settings.of(config)
    if hasattr(config, "workerinput"):
        if url := config.workerinput.get("containerpool_url"):
            os.environ["POOL_URL"] = url  # of the pool of the session: what the tests start finds it, too
    else:
        config.stash[DESK] = Desk(config)
        config.pluginmanager.register(config.stash[DESK], "containerpool-desk")


def _lender(config: pytest.Config) -> Lender:
    """Return who lends containers in this process."""
    if _LENDER not in config.stash:
        from pool.pytest_plugin.lending import Lender  # noqa: PLC0415 - only who uses a pool pays for it

        lender = config.stash[_LENDER] = Lender(config.stash[SETTINGS], config)
        config.add_cleanup(lender.close)
    return config.stash[_LENDER]


@pytest.fixture(scope="session")
def pool_url(pytestconfig: pytest.Config) -> str:
    """Where the pools are: `--pool-url`, the setting `pool_url`, `POOL_URL`, or your private Redis if it runs."""
    return _lender(pytestconfig).find_url()


@pytest.fixture(scope="session")
def pool_client(pytestconfig: pytest.Config, pool_url: str) -> Client:
    """The client of this process; each xdist worker has its own. It is closed at the end of the session."""
    return _lender(pytestconfig).connect(pool_url)


@pytest.fixture(scope="session")
def pool_container_name(pytestconfig: pytest.Config) -> str | None:
    """Name of the pool: `--pool`, or the setting `pool_name`. Override it for a directory, a module or a class."""
    return pytestconfig.stash[SETTINGS].pool


@pytest.fixture(scope="session")
def pool_request(pytestconfig: pytest.Config) -> dict[str, Any]:
    """What is asked for, as arguments of `Client.acquire`. Override it to ask otherwise; the marker goes before it."""
    return pytestconfig.stash[SETTINGS].request()


@pytest.fixture
def pool_container(
    request: pytest.FixtureRequest,
    pool_client: Client,
    pool_container_name: str | None,
    pool_request: dict[str, Any],
) -> Lease:
    """A container for this test alone. It goes back after the test's teardown, with the test's outcome."""
    return _lender(request.config).lend(pool_client, request.node, pool_container_name, pool_request)


@pytest.fixture(scope="session")
def pool_container_session(
    request: pytest.FixtureRequest,
    pool_client: Client,
    pool_container_name: str | None,
    pool_request: dict[str, Any],
) -> Lease:
    """A container for all tests of this process that ask for it, so for each xdist worker; not reset in between."""
    return _lender(request.config).lend(pool_client, None, pool_container_name, pool_request)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse a marker with arguments that do not exist, before anything is waited for."""
    if item.get_closest_marker("pool") is not None:
        from pool.pytest_plugin.asking import check_markers  # noqa: PLC0415 - likewise

        check_markers(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Give the test's container back once everything that may use it is torn down."""
    crashed = True
    try:
        result = yield
        crashed = False
    finally:
        if (lender := item.config.stash.get(_LENDER, None)) is not None:
            lender.give_back(item, crashed=crashed)
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note the outcome; let a test fail whose lease is lost; tell of the container in a failed test's report."""
    report = yield
    if (lender := item.config.stash.get(_LENDER, None)) is not None:
        lender.saw(item, report)
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Give back what is still held, also after an interrupt; then gather what there is to tell."""
    config = session.config
    if (lender := config.stash.get(_LENDER, None)) is not None:
        lender.end_session(interrupted=exitstatus in (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR))
        if hasattr(config, "workeroutput"):
            config.workeroutput["containerpool"] = lender.tell()
    if (desk := config.stash.get(DESK, None)) is not None:
        if lender is not None:
            desk.hear(lender.tell())
        desk.finish()
