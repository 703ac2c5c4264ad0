"""What a container looked like when it was new, and how it differs now, both seen from outside."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from pool.config import ResetOptions
from pool.ports import Change, ChangeKind, Process

#: What the listing says of a log besides its path.
_SAID_OF_LOGS = re.compile(r" \((?:not empty|a link)\)$")


@dataclass(frozen=True, slots=True)
class Baseline:
    """A container's processes, changed paths and temporary files at one moment.

    Attributes:
        generation: The container generation that this is true of.
        processes: Command lines, sorted, each as often as it runs.
        changes: `kind path` of what differs from the image, sorted.
        files: What lies at the paths that a reset wipes, and in tmpfs, sorted.
        statuses: Of changed paths, those whose type, permissions or owner are not the image's, and what they are; None
            where nobody could tell.
    """

    generation: int
    processes: tuple[str, ...]
    changes: tuple[str, ...]
    files: tuple[str, ...]
    statuses: Mapping[str, str] | None = None

    @classmethod
    def of(
        cls, generation: int, processes: Sequence[Process], changes: Sequence[Change], files: Iterable[str]
    ) -> Baseline:
        """Build it from what runtime and shell say."""
        return cls(
            generation,
            tuple(sorted(process.command for process in processes)),
            tuple(sorted(f"{change.kind.value} {change.path}" for change in changes)),
            tuple(sorted(files)),
            _statuses(changes),
        )

    def with_changes_of(self, other: Baseline) -> Baseline:
        """Return it with another one's changed paths: for whoever does not want to compare them."""
        return replace(self, changes=other.changes, statuses=other.statuses)

    def to_json(self) -> str:
        """Write it for Redis."""
        return json.dumps([self.generation, self.processes, self.changes, self.files, self.statuses])

    @classmethod
    def from_json(cls, text: str) -> Baseline:
        """Read what `to_json` wrote."""
        generation, processes, changes, files, *statuses = json.loads(text)  # older ones end with the files
        return cls(generation, tuple(processes), tuple(changes), tuple(files), *statuses)

    def differences(self, now: Baseline, options: ResetOptions) -> list[str]:
        """Name everything in which a container differs from this baseline; an empty list means clean."""
        expected, found = Counter(self.processes), Counter(now.processes)
        left = [
            f"process {command}"
            for command in (found - expected).elements()
            if not _matches(command, options.ignore_processes)
        ]
        left += [f"missing process {command}" for command in (expected - found).elements()]
        wiped = [*options.recipe.temporary, *options.recipe.caches]
        touched = _ancestors([*wiped, *options.recipe.logs])
        for change in sorted(set(now.changes) ^ set(self.changes)):
            kind, _, path = change.partition(" ")
            if _matches(path, options.ignore_files):
                continue
            if kind == ChangeKind.MODIFIED and _matches(path, options.recipe.logs):
                continue  # emptied
            if kind == ChangeKind.MODIFIED and path in touched:
                continue  # a directory keeps its changed time stamp after the files in it are gone
            if change in self.changes and _matches(path, wiped):
                continue  # gone now, as the recipe wants it
            left.append(f"file {path} ({kind})" if change in now.changes else f"file {path} (no longer {kind})")
        left += [
            f"file {path} (type, permissions or owner)"
            for path in self._altered(now)
            if not _matches(path, options.ignore_files)
        ]
        left += [
            f"file {path}"
            for path in sorted(set(now.files) - set(self.files))
            if not _matches(_SAID_OF_LOGS.sub("", path), options.ignore_files)
        ]
        return list(dict.fromkeys(left))

    def _altered(self, now: Baseline) -> list[str]:
        """Return paths that were there before and still are, with another type, other permissions or another owner."""
        if self.statuses is None or now.statuses is None:
            return []
        came_or_went = _added(self.changes) ^ _added(now.changes)
        paths = (set(self.statuses) | set(now.statuses)) - came_or_went
        return sorted(path for path in paths if self.statuses.get(path) != now.statuses.get(path))


def _added(changes: Iterable[str]) -> set[str]:
    prefix = f"{ChangeKind.ADDED} "
    return {change.removeprefix(prefix) for change in changes if change.startswith(prefix)}


def _statuses(changes: Sequence[Change]) -> dict[str, str] | None:
    if any(change.status is None for change in changes):
        return None
    return {change.path: change.status for change in changes if change.status}


def _matches(text: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns)


def _ancestors(patterns: Iterable[str]) -> set[str]:
    """Return the directories that lead to the paths of a recipe: a wipe changes their time stamps."""
    return {str(parent) for pattern in patterns for parent in PurePosixPath(pattern).parents}
