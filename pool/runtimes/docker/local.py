"""A container's processes from the kernel's own files, where engine and pool share a host: 0.1 ms instead of 12."""

from __future__ import annotations

from pathlib import Path

from pool.ports import Process

_CGROUPS = Path("/sys/fs/cgroup")


def read_processes(ref: str, first_pid: int) -> list[Process] | None:
    """Return the processes of a container, or None if they cannot be seen from here.

    Args:
        ref: The engine's full id of the container; the kernel confirms it, so no other host's is taken for it.
        first_pid: Process id of the container's first process on the engine's host.
    """
    group = _cgroup(ref, first_pid)
    if group is None:
        return None
    pids = [int(pid) for procs in group.rglob("cgroup.procs") for pid in procs.read_text().split()]
    return [Process(pid, command) for pid in sorted(pids) if (command := _command(pid)) is not None]


def _cgroup(ref: str, pid: int) -> Path | None:
    """Find the directory of the container's control group, of version 1 or 2."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return None
    candidates = (_directory(line) for line in lines if ref in line)
    return next((directory for directory in candidates if (directory / "cgroup.procs").exists()), None)


def _directory(line: str) -> Path:
    _, controllers, path = line.split(":", 2)
    return _CGROUPS / controllers.removeprefix("name=") / path.lstrip("/")


def _command(pid: int) -> str | None:
    """Return a command line as `ps` shows it, or None if the process has ended meanwhile."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ")
        return words.decode(errors="replace") or f"[{Path(f'/proc/{pid}/comm').read_text().strip()}]"
    except (FileNotFoundError, ProcessLookupError):
        return None
