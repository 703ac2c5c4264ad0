"""What the user says of the pool: options of the command line, and settings in pytest's configuration file."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

#: Those of `pool.models.Priority`, which is not loaded for a run that uses no pool.
PRIORITIES = ("critical", "high", "normal", "low")
_LONGEST_S = 86_400
_WAIT_S = 60.0

#: Option → setting, placeholder, help.
_OPTIONS = {
    "--pool-url": (
        "pool_url",
        "URL",
        "Where the pools are: redis://, unix:// or http(s):// of a manager. By default $POOL_URL, or your private one.",
    ),
    "--pool": ("pool_name", "NAME", "Pool of `pool_container`. Needed where there are several."),
    "--pool-priority": ("pool_priority", "PRIORITY", "critical, high, normal (default) or low."),
    "--pool-wait": ("pool_wait", "SECONDS", f"How long a test may wait for a container; {_WAIT_S:g} by default."),
    "--pool-timeout": ("pool_timeout", "SECONDS", "A lease's longest life. By default what the pool says."),
    "--pool-evidence": ("pool_evidence", "DIR", "Keep lease, log and evidence of each failed test below DIR."),
    "--pool-start": ("pool_start", "CONFIG", "Run the pools of this configuration for the length of the session."),
    "--pool-token": ("", "TOKEN", "API token of a manager; others see it, so better set $POOL_TOKEN."),
}


def add_options(parser: pytest.Parser) -> None:
    """Add the options, each with its setting in the configuration file but for the token, which is a secret."""
    group = parser.getgroup("containerpool", "containers from a pool")
    for option, (setting, placeholder, text) in _OPTIONS.items():
        group.addoption(option, dest=_dest(option), metavar=placeholder, default=None, help=text)
        if setting:
            parser.addini(setting, f"{option}: {text}", default=None)


def _dest(option: str) -> str:
    return option.removeprefix("--").replace("-", "_") + ("_name" if option == "--pool" else "")


@dataclass(frozen=True)
class Settings:
    """What was said.

    Attributes:
        url: Where the pools are; None where the environment says it, or nobody.
        pool: Name of the pool; None where there is only one.
        wait_s: How long a test may wait, in seconds.
        timeout_s: A lease's longest life, in seconds; None for what the pool says.
        evidence: Where to keep what failed tests leave.
        start: The configuration whose pools run for the session.
        token: For a manager's API; None where the environment says it, or nobody.
    """

    url: str | None = None
    pool: str | None = None
    priority: str = "normal"
    wait_s: float = _WAIT_S
    timeout_s: float | None = None
    evidence: Path | None = None
    start: Path | None = None
    token: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, config: pytest.Config) -> Settings:
        """Read the options, and the settings where an option is not given.

        Raises:
            UsageError: One has a value that is not allowed, or two exclude each other.
        """
        said = {option: _said(config, option) for option in _OPTIONS}
        url, start = _either_or(said["--pool-url"], said["--pool-start"])
        priority = said["--pool-priority"]
        if priority and priority.value not in PRIORITIES:
            raise priority.refused(f"use one of {', '.join(PRIORITIES)}")
        wait, timeout = said["--pool-wait"], said["--pool-timeout"]
        return cls(
            url=url.value if url else None,
            pool=pool.value if (pool := said["--pool"]) else None,
            priority=priority.value if priority else "normal",
            wait_s=wait.seconds(0) if wait else _WAIT_S,
            timeout_s=timeout.seconds(0.1) if timeout else None,
            evidence=evidence.path if (evidence := said["--pool-evidence"]) else None,
            start=start.path if start else None,
            token=token.value if (token := said["--pool-token"]) else None,
        )

    def request(self) -> dict[str, Any]:
        """Return what is asked for, as `Client.acquire` takes it."""
        return {"priority": self.priority, "wait_s": self.wait_s, "timeout_s": self.timeout_s}


#: What the configuration of a run says of the pool.
SETTINGS = pytest.StashKey[Settings]()


@dataclass(frozen=True)
class _Said:
    """One option or setting.

    Attributes:
        where: What the user calls it.
        base: What a relative path starts from.
    """

    where: str
    value: str
    base: Path
    by_option: bool

    def refused(self, allowed: str) -> pytest.UsageError:
        return pytest.UsageError(f"{self.where}: {self.value!r} is not allowed; {allowed}")

    def seconds(self, least: float) -> float:
        try:
            seconds = float(self.value)
        except ValueError:
            seconds = math.nan
        if not least <= seconds <= _LONGEST_S:
            raise self.refused(f"use seconds from {least:g} to {_LONGEST_S}")
        return seconds

    @property
    def path(self) -> Path:
        return self.base / Path(self.value).expanduser()


def _said(config: pytest.Config, option: str) -> _Said | None:
    value = config.getoption(_dest(option))
    if value:
        return _Said(option, value, config.invocation_params.dir, by_option=True)
    setting = _OPTIONS[option][0]
    value = config.getini(setting) if setting else None
    return _Said(f"the setting {setting}", value, config.rootpath, by_option=False) if value else None


def _either_or(url: _Said | None, start: _Said | None) -> tuple[_Said | None, _Said | None]:
    """Return the one of two that counts: an option goes before a setting.

    Raises:
        UsageError: Both are options, or both are settings.
    """
    if url is None or start is None:
        return url, start
    if url.by_option == start.by_option:
        raise start.refused(f"{url.where} says where the pools are already; give one of the two")
    return (url, None) if url.by_option else (None, start)
