"""Where all that the workers tell comes together: in the process that the user sees. PYTEST_DONT_REWRITE."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from pool.pytest_plugin.settings import SETTINGS

if TYPE_CHECKING:
    from pool.pytest_plugin.gathering import Gathered
    from pool.pytest_plugin.serving import Served


class Desk:
    """Starts the pool of the session where that is wanted, and gathers what reports tell.

    Args:
        config: Of this run.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._settings = config.stash[SETTINGS]
        self._served: Served | None = None
        self._url = ""
        #: By request; what was refused has none, and goes by its time.
        self._records: dict[tuple[str, object], dict[str, Any]] = {}
        self._gathered: Gathered | None = None

    # The pool of the session

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Start the pools, before there is any worker.

        Raises:
            UsageError: They do not start; says why.
        """
        if self._settings.start is None or self._config.getoption("collectonly"):
            return
        from pool.pytest_plugin.serving import serve  # noqa: PLC0415 - only who starts a pool pays for it

        before = os.environ.get("POOL_URL")
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        self._served = serve(self._settings.start, terminal, self._config.add_cleanup)
        self._url = os.environ["POOL_URL"] = self._served.url
        self._config.add_cleanup(lambda: _restore("POOL_URL", before))

    def pytest_report_header(self) -> str | None:
        """Say what runs."""
        return self._served.header if self._served is not None else None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker of xdist where the pool of the session is."""
        if self._served is not None:
            node.workerinput["containerpool_url"] = self._served.url

    # What comes in

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what a report tells of leases."""
        for record in report.__dict__.get("containerpool", ()):
            self._note(record)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Note what a worker of xdist tells at its end; one that crashed tells nothing."""
        self.hear(getattr(node, "workeroutput", {}).get("containerpool", {}))

    def hear(self, told: dict[str, Any]) -> None:
        """Note what the process of some tests tells at its end."""
        self._url = told.get("url") or self._url
        for record in told.get("records", ()):
            self._note(record)

    def _note(self, record: dict[str, Any]) -> None:
        self._records[record["nodeid"], record.get("request") or record["asked_at"]] = record

    # The end

    def finish(self) -> None:
        """Gather what is only known now, while a pool of the session still runs."""
        if not self._records or not self._url:
            return
        from pool.pytest_plugin.gathering import gather  # noqa: PLC0415 - only who used a pool pays for it

        evidence = self._served.evidence if self._served is not None else (None,)
        self._gathered = gather(self._url, self._settings.token, list(self._records.values()), evidence)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show how the tests fared with the pool, if they used one."""
        if self._records:
            from pool.pytest_plugin.summary import lines  # noqa: PLC0415 - likewise

            terminalreporter.write_sep("=", "containerpool")
            for line in lines(list(self._records.values()), self._gathered, self._config.get_verbosity()):
                terminalreporter.write_line(line)


def _restore(name: str, before: str | None) -> None:
    if before is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = before


#: The one of a run.
DESK = pytest.StashKey[Desk]()
