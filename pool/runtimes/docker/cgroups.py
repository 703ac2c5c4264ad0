"""Resource use from the kernel's own files, where engine and pool share a host: 0.1 ms instead of a second."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pool.ports import Stats

_CGROUPS = Path("/sys/fs/cgroup")


def sample(raw: Mapping[str, Any]) -> Stats | None:
    """Return the resource use of a running container, or None if it cannot be seen from here.

    Args:
        raw: The engine's inspection. The kernel confirms that the process it names belongs to the container.
    """
    try:
        groups = control_groups(raw["Id"], raw["State"]["Pid"])
        if "memory" in groups:
            return _version_1(groups, raw["HostConfig"]["Memory"])
        return _version_2(groups[""], raw["HostConfig"]["Memory"]) if "" in groups else None
    except (OSError, KeyError, ValueError):
        return None  # another host's container, or it has just ended: the engine knows


def control_groups(ref: str, pid: int) -> dict[str, Path]:
    """Return the directories of a container's control groups, by controller; version 2 has one, nameless.

    Args:
        ref: The engine's full id of the container; groups of which the kernel does not say it are left out.
        pid: A process of the container, on the engine's host.

    Raises:
        OSError: There is no such process.
    """
    groups: dict[str, Path] = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if ref in path:
            directory = _CGROUPS / controllers.removeprefix("name=") / path.lstrip("/")
            groups |= dict.fromkeys(controllers.split(","), directory)
    return groups


def _version_1(groups: Mapping[str, Path], limit_bytes: int) -> Stats:
    memory = groups["memory"]
    return Stats(
        memory_bytes=_used(
            _number(memory / "memory.usage_in_bytes"), _table(memory / "memory.stat"), "total_inactive_file"
        ),
        memory_limit_bytes=limit_bytes,
        cpu_ns=_number(groups["cpuacct"] / "cpuacct.usage"),
        pids=_number(groups["pids"] / "pids.current"),
    )


def _version_2(group: Path, limit_bytes: int) -> Stats:
    return Stats(
        memory_bytes=_used(_number(group / "memory.current"), _table(group / "memory.stat"), "inactive_file"),
        memory_limit_bytes=limit_bytes,
        cpu_ns=_table(group / "cpu.stat")["usage_usec"] * 1000,
        pids=_number(group / "pids.current"),
    )


def _used(usage: int, details: Mapping[str, int], cache: str) -> int:
    """Take off the page cache that can be dropped at any time, as the engine does."""
    return max(0, usage - details.get(cache, 0))


def _number(path: Path) -> int:
    return int(path.read_text())


def _table(path: Path) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in path.read_text().splitlines())}
