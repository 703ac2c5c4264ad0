"""Asks `poolctl` what operators ask it: its own process, which needs none of our imports and can be cut short."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from pool.errors import EngineTimeout, PoolError
from pool.pytest_plugin.telling import Log, clean

_LOG_LINES = 50
_LOG_S = 20.0
#: After so many failures in a row, nobody is kept waiting for a log any more.
_TRIES = 3


class Poolctl:
    """Runs commands about the pools at a URL.

    Args:
        url: Where the pools are.
        token: For a manager's API; None where the environment says it.
    """

    def __init__(self, url: str, *, token: str | None = None) -> None:
        self._environment = os.environ | {"POOL_URL": url} | ({"POOL_TOKEN": token} if token else {})
        self._failures: list[str] = []

    def run(self, *words: str, timeout_s: float) -> str:
        """Return what a command writes.

        Raises:
            PoolError: It failed, or took too long.
        """
        command = [sys.executable, "-P", "-m", "pool.cli", *words]  # -P: the user's directory may have a `pool`, too
        try:
            ended = subprocess.run(  # noqa: S603 - our own program
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EngineTimeout(f"`poolctl {' '.join(words[:2])}` gave no answer within {timeout_s:g} s") from None
        if ended.returncode:
            said = clean(ended.stderr.decode(errors="replace")).strip()
            raise PoolError(said.removeprefix("error: ") or f"`poolctl {words[0]}` ended with {ended.returncode}")
        return ended.stdout.decode(errors="replace")

    def log(self, pool: str, container: str) -> Log:
        """Return the tail of a container's log, or why it was not to be had."""
        if len(self._failures) >= _TRIES:
            return Log(why=f"{self._failures[-1]}; not asked for again")
        try:
            text = self.run("logs", container, "--pool", pool, "--tail", str(_LOG_LINES), timeout_s=_LOG_S)
        except PoolError as error:
            self._failures.append(error.message)
            return Log(why=error.message)
        self._failures.clear()
        return Log(clean(text).rstrip() or "(empty)")

    def bundles(self, directory: Path | None, *, timeout_s: float) -> list[dict[str, Any]]:
        """Return what is known of each bundle of evidence.

        Args:
            directory: Where they are; None for where `poolctl evidence` finds them.
            timeout_s: How long that may take.

        Raises:
            PoolError: It cannot be known.
        """
        where = ["--dir", str(directory)] if directory else []
        found: list[dict[str, Any]] = json.loads(self.run("evidence", "list", "--json", *where, timeout_s=timeout_s))[
            "bundles"
        ]
        return found

    def fetch(self, bundle_id: str, target: Path, directory: Path | None, *, timeout_s: float) -> None:
        """Copy a bundle into a folder.

        Raises:
            PoolError: It could not be copied.
        """
        where = ["--dir", str(directory)] if directory else []
        self.run("evidence", "get", bundle_id, str(target), *where, timeout_s=timeout_s)
