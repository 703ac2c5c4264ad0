"""Bundles on disk: a folder each, `DIR/<deployment>/<pool>/<bundle id>`, readable by their owner only."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pool.config import Config
from pool.embedded import default_state_dir
from pool.errors import InvalidRequest

#: The file that says what a bundle is about.
FACTS = "evidence.json"

_ID = re.compile(r"(?P<day>\d{8}T\d{6})(?P<ms>\d{3})-[a-z0-9_.-]+-[0-9a-f]{6}")
_UNFINISHED = ".unfinished-"
#: A folder whose collecting was cut short is removed once it is so old: nobody works on it any more.
_UNFINISHED_S = 3600.0


@dataclass(frozen=True, slots=True)
class Bundle:
    """What was kept of a container at one moment.

    Attributes:
        id: Begins with the time, so ids sort by age.
        at: When it was collected, in seconds since the epoch.
        size_bytes: What its files take.
        facts: What `evidence.json` says; empty if it cannot be read.
    """

    id: str
    path: Path
    at: float
    size_bytes: int
    facts: Mapping[str, Any]

    @property
    def image(self) -> str:
        """The image that belongs to it; empty if there is none."""
        return str(self.facts.get("image") or "")

    def files(self) -> dict[str, int]:
        """Return the sizes of its files in bytes, by their names in it."""
        return {str(file.relative_to(self.path)): file.lstat().st_size for file in sorted(_files(self.path))}

    @staticmethod
    def moment(bundle_id: str) -> float | None:
        """Return when the bundle of an id was collected, in seconds since the epoch; None if it is no such id."""
        match = _ID.fullmatch(bundle_id)
        if match is None:
            return None
        try:
            day = datetime.strptime(match["day"], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        except ValueError:  # digits, but no date
            return None
        return day.timestamp() + int(match["ms"]) / 1000

    @classmethod
    def read(cls, path: Path) -> Bundle | None:
        """Read a bundle; None if the folder is none."""
        at = cls.moment(path.name)
        if at is None or path.is_symlink() or not path.is_dir():
            return None
        try:
            facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            facts = {}
        size = sum(file.lstat().st_size for file in _files(path))
        return cls(path.name, path, at, size, facts if isinstance(facts, dict) else {})


class Shelf:
    """The bundles of one pool.

    Args:
        root: The configured directory.
        deployment: The deployment's name.
        pool: The pool's name.
    """

    def __init__(self, root: Path, deployment: str, pool: str) -> None:
        self.path = root / deployment / pool
        self._levels = (root, root / deployment, self.path)

    def begin(self, container_id: str, now: float) -> tuple[str, Path]:
        """Make a folder to collect in; returns the id of the bundle that it will be, and the folder.

        Raises:
            OSError: It cannot be made.
        """
        moment = datetime.fromtimestamp(now, UTC)
        stamp = f"{moment:%Y%m%dT%H%M%S}{moment.microsecond // 1000:03}"
        bundle_id = f"{stamp}-{container_id}-{secrets.token_hex(3)}"
        for level in self._levels:  # one by one, since what `parents` makes on the way is open to all
            level.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = self.path / f"{_UNFINISHED}{bundle_id}"
        folder.mkdir(mode=0o700)
        return bundle_id, folder

    def finish(self, bundle_id: str, folder: Path, facts: Mapping[str, Any]) -> Bundle:
        """Say what the bundle is about and let it appear, whole.

        Raises:
            OSError: The disk is full, or the folder is gone.
        """
        document = {"id": bundle_id} | dict(facts)
        write_private(folder / FACTS, json.dumps(document, indent=2).encode() + b"\n")
        folder.rename(self.path / bundle_id)
        bundle = Bundle.read(self.path / bundle_id)
        if bundle is None:
            raise FileNotFoundError(2, "the bundle is gone", str(self.path / bundle_id))
        return bundle

    def bundles(self) -> list[Bundle]:
        """Return the pool's bundles, oldest first."""
        return sorted(_bundles(self.path), key=lambda bundle: bundle.id)

    def overdue(self, *, now: float, keep_s: float, max_bytes: int) -> list[Bundle]:
        """Return the bundles that are too old, or too much; the newest is never too much."""
        bundles = self.bundles()
        gone = [bundle for bundle in bundles if bundle.at < now - keep_s]
        kept = bundles[len(gone) :]
        total = sum(bundle.size_bytes for bundle in kept)
        for bundle in kept[:-1]:
            if total <= max_bytes:
                break
            total -= bundle.size_bytes
            gone.append(bundle)
        return gone

    def remove_unfinished(self, now: float) -> None:
        """Remove what a manager that died left half-collected."""
        for folder in self.path.glob(f"{_UNFINISHED}*"):
            try:
                old = folder.lstat().st_mtime < now - _UNFINISHED_S
            except OSError:  # it is finished, or gone
                continue
            if old:
                discard(folder)


def evidence_root(config: Config, pool: str) -> Path:
    """Return the directory of a pool's bundles as configured, or the one in the state directory."""
    return config.pools[pool].evidence.dir or default_evidence_root(config.redis.state_dir)


def default_evidence_root(state_dir: Path | None = None) -> Path:
    """Return the directory of bundles in a state directory, by default the user's."""
    return (state_dir or default_state_dir()).expanduser().absolute() / "evidence"


def find_bundles(roots: Iterable[Path]) -> list[Bundle]:
    """Return the bundles of all deployments and pools in some directories, oldest first."""
    found = (
        bundle
        for root in dict.fromkeys(root.absolute() for root in roots)
        for deployment in _folders(root)
        for pool in _folders(deployment)
        for bundle in _bundles(pool)
    )
    return sorted(found, key=lambda bundle: bundle.id)


def discard(folder: Path) -> bool:
    """Remove a folder of ours and what is in it; returns whether it is gone."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def write_private(path: Path, content: bytes) -> None:
    """Write a new file that only its owner can read.

    Raises:
        OSError: It exists, or cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def copy_bundle(bundle: Bundle, target: Path) -> Path:
    """Copy a bundle into a directory, as a new folder of the bundle's id; returns that.

    Nothing is replaced, and nothing is written through a symbolic link: each folder is opened as what it is, and what
    is in it is named relative to it, so that nobody can put a link in the way meanwhile.

    Raises:
        InvalidRequest: The directory cannot be written to, is a link, or has such a folder.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        directory = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        link = "a symbolic link" if target.is_symlink() else (error.strerror or str(error))
        raise InvalidRequest("dir", str(target), f"{link}; give a directory, or one to be made") from error
    try:
        _copy_folder(bundle.path, directory, bundle.id)
    except FileExistsError as error:
        raise InvalidRequest("dir", str(target), f"{bundle.id} is there already; give another directory") from error
    except OSError as error:
        raise InvalidRequest("dir", str(target), f"it cannot be written to: {error.strerror}") from error
    finally:
        os.close(directory)
    return target / bundle.id


def _copy_folder(source: Path, parent: int, name: str) -> None:
    os.mkdir(name, mode=0o700, dir_fd=parent)
    folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        with os.scandir(source) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    _copy_folder(Path(entry.path), folder, entry.name)
                elif entry.is_file(follow_symlinks=False):
                    _copy_file(entry.path, folder, entry.name)
    finally:
        os.close(folder)


def _copy_file(source: str, parent: int, name: str) -> None:
    new = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=parent)
    with os.fdopen(new, "wb") as out, os.fdopen(os.open(source, os.O_RDONLY | os.O_NOFOLLOW), "rb") as content:
        shutil.copyfileobj(content, out)


def _bundles(pool: Path) -> Iterator[Bundle]:
    for folder in _folders(pool):
        if bundle := Bundle.read(folder):
            yield bundle


def _folders(path: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
    except OSError:  # nothing was ever kept there, or it has just been removed
        return []


def _files(path: Path) -> Iterator[Path]:
    for directory, _, names in os.walk(path):
        for name in names:
            yield Path(directory) / name
