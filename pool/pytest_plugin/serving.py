"""A pool for the length of a session: `poolctl serve --remove` on a private state directory and deployment."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from pool.client import Client, connect
from pool.config import Config, load_config
from pool.embedded import find_server, stop_server
from pool.errors import ConfigError, PoolError, UnknownPool
from pool.evidence import evidence_root
from pool.models import State
from pool.pytest_plugin.attendant import private
from pool.pytest_plugin.telling import clean
from pool.states import IDLE_STATES

#: How long the pools may take to become ready, and how long their end may take, in seconds.
_READY_S = 300.0
_END_S = 60.0
_LOOK_S = 0.1
_LOG = "serve.log"
_LOG_LINES = 25
_READY = (*IDLE_STATES, State.PAUSED)


@dataclass(frozen=True)
class Served:
    """Pools that run.

    Attributes:
        url: Where they are.
        header: What pytest's header says of them.
        evidence: Where their manager keeps evidence.
    """

    url: str
    header: str
    evidence: Sequence[Path]


def serve(path: Path, terminal: pytest.TerminalReporter | None, at_end: Callable[[Callable[[], None]], None]) -> Served:
    """Start the pools of a configuration and wait until all containers are ready.

    Args:
        path: The configuration.
        terminal: Where progress is shown; None for nowhere.
        at_end: Takes what ends the pools again, whatever happens.

    Raises:
        UsageError: They do not start; says why.
    """
    deployment_end = secrets.token_hex(3)
    state_dir = Path(tempfile.mkdtemp(prefix="cp"))  # short, since a socket's path may not be long
    try:
        config = private(load_config(path), state_dir, deployment_end)
    except ConfigError as error:
        shutil.rmtree(state_dir)
        raise pytest.UsageError("\n".join(["--pool-start: " + error.message, error.hint]).rstrip()) from None
    began = time.monotonic()
    with (state_dir / _LOG).open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-P", "-m", "pool.pytest_plugin.attendant", str(path), str(state_dir), deployment_end],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,  # out of reach of Ctrl-C: the tests give their containers back first
        )
    serving = _Serving(config, process, state_dir, path)
    at_end(serving.end)
    url = serving.wait(terminal)
    sizes = ", ".join(f"{pool} ({len(config.slots(pool))})" for pool in config.pools)
    header = f"containerpool: {sizes} from {path}, ready after {time.monotonic() - began:.1f} s"
    return Served(url, header, sorted({evidence_root(config, pool) for pool in config.pools}))


class _Serving:
    """The process that manages the pools."""

    def __init__(self, config: Config, process: subprocess.Popen[bytes], state_dir: Path, path: Path) -> None:
        self._config = config
        self._process = process
        self._state_dir = state_dir
        self._path = path

    def wait(self, terminal: pytest.TerminalReporter | None) -> str:
        """Return where the pools are, once all containers are ready.

        Raises:
            UsageError: They do not become so; the message has the end of the manager's log.
        """
        until = time.monotonic() + _READY_S
        shown = ""
        client: Client | None = None
        try:
            while True:
                if client is None and (server := find_server(self._state_dir)) is not None:
                    url = server.url
                    client = connect(url)
                ready = self._ready(client)
                shown = self._show(terminal, ready, shown)
                if client is not None and all(ready[pool] == len(self._config.slots(pool)) for pool in ready):
                    return url
                if self._ended(_LOOK_S):
                    raise self._failed("ended before the pools were ready")
                if time.monotonic() > until:
                    raise self._failed(f"had not got the pools ready after {_READY_S:g} s")
        except PoolError as error:
            raise self._failed(f"cannot be asked: {error.message}") from None
        finally:
            if client is not None:
                client.close()
            if shown and terminal is not None:
                terminal.ensure_newline()

    def _ready(self, client: Client | None) -> dict[str, int]:
        """Return how many containers of each pool are ready.

        Raises:
            UsageError: One of them could not be started.
        """
        ready = dict.fromkeys(self._config.pools, 0)
        for pool in ready if client is not None else ():
            try:
                status = client.status(pool)  # type: ignore[union-attr]  # the loop is empty without it
            except UnknownPool:  # it is not opened yet
                continue
            for container in status.containers:
                if container.state is State.QUARANTINED:
                    raise self._failed(f"could not start container {container.id}: {container.note}")
            ready[pool] = sum(container.state in _READY for container in status.containers)
        return ready

    def _show(self, terminal: pytest.TerminalReporter | None, ready: Mapping[str, int], shown: str) -> str:
        """Show progress where it has changed; returns what is shown."""
        counts = ", ".join(f"{pool} {count}/{len(self._config.slots(pool))}" for pool, count in ready.items())
        line = f"containerpool: starting {self._path}: {counts}"
        if terminal is not None and line != shown:
            if terminal.isatty:
                terminal.rewrite(line, erase=True)
            elif not shown:
                terminal.write_line(line)
        return line

    def _ended(self, timeout_s: float) -> bool:
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _failed(self, what: str) -> pytest.UsageError:
        return pytest.UsageError(
            f"--pool-start: the manager of {self._path} {what}; the end of its log:\n{self._tail()}"
        )

    def _tail(self) -> str:
        log = clean((self._state_dir / _LOG).read_text(errors="replace"))
        return "\n".join(log.splitlines()[-_LOG_LINES:]) or "(empty)"

    def end(self) -> None:
        """End the manager, which removes the containers once no lease is held, and its Redis."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        deployment = self._config.deployment
        if not self._ended(_END_S):
            self._process.kill()
            self._process.wait()
            text = (
                f"the manager of --pool-start did not end within {_END_S:g} s; containers may be left, with the label "
            )
            warnings.warn(pytest.PytestWarning(f"{text}containerpool.deployment={deployment}"), stacklevel=2)
        stop_server(self._state_dir)
        shutil.rmtree(self._state_dir, ignore_errors=True)
