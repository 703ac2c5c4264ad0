"""What the kernel itself knows of a container, where engine and pool share a host: a fraction of the engine's time.

Nothing here is believed on the engine's word alone: the kernel must confirm, for the very process, that it belongs to
the container, and that the files are those it runs on. Where it does not, the answer is None, and the engine is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pool.ports import Change, Process
from pool.runtimes.docker.cgroups import control_groups
from pool.runtimes.docker.overlay import read_overlay


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the engine said of a running container.

    Attributes:
        first_pid: Process id of its first process, on the engine's host.
        upper: Directory of what differs from the image; empty if the engine keeps that in another way.
        lower: Directories of the image's layers.
    """

    first_pid: int
    upper: str
    lower: tuple[str, ...]


class LocalHost:
    """Answers for the containers of the engine on this host.

    Attributes:
        reads_layers: Whether the engine itself tells changed files from its layers; None as long as it was not asked.
    """

    def __init__(self) -> None:
        self.reads_layers: bool | None = None
        self._seen: dict[str, _Seen] = {}
        self._foreign: dict[str, int] = {}

    def note(self, raw: Mapping[str, Any]) -> None:
        """Remember what an inspection says, for later questions."""
        if not raw["State"]["Running"]:
            self.forget(raw["Id"])
            return
        driver = raw.get("GraphDriver") or {}
        places = (driver.get("Data") or {}) if driver.get("Name") == "overlay2" else {}
        lower = tuple(places.get("LowerDir", "").split(":"))
        self._seen[raw["Id"]] = _Seen(raw["State"]["Pid"], places.get("UpperDir", ""), lower)

    def forget(self, ref: str) -> None:
        """Forget a container that does not run any more."""
        self._seen.pop(ref, None)
        self._foreign.pop(ref, None)

    def give_up(self, ref: str) -> None:
        """Remember that a container cannot be seen from here, until it is started again."""
        if seen := self._seen.get(ref):
            self._foreign[ref] = seen.first_pid

    def given_up(self, ref: str) -> bool:
        """Whether it is no use to look at the container, as it was last started, from here."""
        seen = self._seen.get(ref)
        return seen is not None and self._foreign.get(ref) == seen.first_pid

    def processes(self, ref: str) -> list[Process] | None:
        """Return the processes of a container, or None if they cannot be seen from here."""
        seen = self._seen.get(ref)
        return read_processes(ref, seen.first_pid) if seen else None

    def changes(self, ref: str) -> list[Change] | None:
        """Return what differs from the image, or None if that cannot be seen from here."""
        seen = self._seen.get(ref)
        if seen is None or not seen.upper or _cgroup(ref, seen.first_pid) is None:
            return None
        try:
            return read_overlay(seen.upper, seen.lower) if _runs_on(seen.first_pid, seen.upper) else None
        except OSError:
            return None  # not allowed to look, or it went meanwhile: the engine knows


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
        groups = control_groups(ref, pid)
    except OSError:
        return None
    return next((group for group in groups.values() if (group / "cgroup.procs").exists()), None)


def _command(pid: int) -> str | None:
    """Return a command line as `ps` shows it, or None if the process has ended meanwhile."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ")
        return words.decode(errors="replace") or f"[{Path(f'/proc/{pid}/comm').read_text().strip()}]"
    except (FileNotFoundError, ProcessLookupError):
        return None


def _runs_on(pid: int, upper: str) -> bool:
    """Tell whether the kernel has mounted this directory as the changing layer of a process's root."""
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        mount, _, filesystem = line.partition(" - ")
        if mount.split(" ")[4] == "/":
            kind, _, options = filesystem.split(" ", 2)
            return kind == "overlay" and f"upperdir={upper}" in options.split(",")
    return False
