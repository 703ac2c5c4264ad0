"""Whether this host lets the pool work: directories, disk space, open files."""

from __future__ import annotations

import os
import resource
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from pool.cli.doctor.finding import Finding, fail, judged, ok, size
from pool.config import Config
from pool.embedded import default_state_dir
from pool.evidence import evidence_root

#: Files that a manager has open beside those for its containers, and those for each container.
_FILES = 128
_FILES_EACH = 4
_COMFORTABLE_FILES = 1024

_LITTLE_BYTES = 2 * 2**30
_TOO_LITTLE_BYTES = 200 * 2**20
_LITTLE_SHARE = 0.05


def check_host(config: Config | None) -> Iterator[Finding]:
    """Yield what this host has for a manager of this configuration."""
    state_dir = (config.redis.state_dir if config else None) or default_state_dir()
    yield _directory("host.state_dir", state_dir)
    socket = state_dir / "redis" / "redis.sock"
    if socket.exists():
        yield _private("host.socket", socket)
    if config is not None:
        for root in dict.fromkeys(evidence_root(config, pool) for pool in config.pools):
            if root.exists():
                yield _directory("host.evidence", root)
    yield disk("host.disk", state_dir)
    yield _open_files(config)


def disk(check: str, path: Path) -> Finding:
    """Return how much room there is where a path is, or will be."""
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    usage = shutil.disk_usage(there)
    share = usage.free / usage.total
    return judged(
        check,
        f"{size(usage.free)} of {size(usage.total)} free for {path}",
        "make room: `poolctl gc`, `docker system df`, a larger disk",
        bad=usage.free < _TOO_LITTLE_BYTES,
        poor=usage.free < _LITTLE_BYTES or share < _LITTLE_SHARE,
    )


def _directory(check: str, path: Path) -> Finding:
    """Return whether a directory is ours alone, or can be made."""
    if not path.exists():
        parent = next(parent for parent in path.parents if parent.exists())
        return judged(
            check,
            f"{path} is not there yet",
            f"let this user write to {parent}, or set redis.state_dir or POOL_STATE_DIR",
            bad=not os.access(parent, os.W_OK | os.X_OK),
        )
    if not path.is_dir() or not os.access(path, os.W_OK | os.X_OK):
        return fail(check, f"{path} is no directory that this user can write to", "set POOL_STATE_DIR to one")
    return _private(check, path)


def _private(check: str, path: Path) -> Finding:
    """Return whether nobody else can write to what decides who gets which container."""
    facts = path.stat()
    mode = stat.S_IMODE(facts.st_mode)
    if facts.st_uid != os.geteuid():
        return fail(check, f"{path} belongs to uid {facts.st_uid}", "run as its owner, or use another directory")
    return judged(
        check,
        f"{path}, mode {mode:o}, ours",
        f"chmod go-w {path}: others can write to it",
        bad=bool(mode & 0o022),
    )


def _open_files(config: Config | None) -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    containers = sum(len(config.slots(pool)) for pool in config.pools) if config else 0
    needed = _FILES + _FILES_EACH * containers
    if soft == resource.RLIM_INFINITY:
        return ok("host.open_files", "no limit")
    return judged(
        "host.open_files",
        f"{soft} may be open (`ulimit -Hn` allows {_number(hard)}), about {needed} are needed",
        f"ulimit -n {max(_COMFORTABLE_FILES, 2 * needed)}, or LimitNOFILE= of its systemd unit",
        bad=soft < needed,
        poor=soft < max(_COMFORTABLE_FILES, 2 * needed),
    )


def _number(limit: int) -> str:
    return "any number" if limit == resource.RLIM_INFINITY else str(limit)
