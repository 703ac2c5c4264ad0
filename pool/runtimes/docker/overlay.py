"""What a container changed, read from the layers of overlay2; `docker diff` mounts and compares two whole trees for it.

The answer is the engine's (moby, pkg/archive, `ChangesDirs`), found where a change must have left something: in the
changing layer. There, a character device 0/0 deletes what lies below, and an opaque directory hides it. Where the
engine does not say `Native Overlay Diff: true`, a directory may be a reference to another one: this does not hold then.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pool.ports import Change, ChangeKind

_OPAQUE = "trusted.overlay.opaque"
_CAPABILITY = "security.capability"

#: Deeper trees are left to the engine: each level holds a file descriptor here.
_DEEPEST = 100


class _Below(NamedTuple):
    """What the image has at a path.

    Attributes:
        found: None where it has nothing.
        path: Where that lies.
        layers: For a directory, where its contents lie, the nearest first.
    """

    found: os.stat_result | None
    path: str
    layers: tuple[str, ...]


_NOTHING = _Below(None, "", ())


def read_overlay(upper: str, lower: Sequence[str]) -> list[Change]:
    """Return what differs from the image.

    The changing layer is a tenant's: it is walked by open directories, not by path, so that no link leads elsewhere.

    Args:
        upper: The changing layer, as a directory.
        lower: The layers below it, the nearest first.

    Raises:
        OSError: It may not be read, or is too deep.
    """
    with _opened(upper, None) as top:
        return list(_inside(top, "", tuple(lower), depth=0))


def _inside(directory: int, path: str, layers: tuple[str, ...], *, depth: int) -> Iterator[Change]:
    """Compare the contents of a directory with those of the directories that it lies upon; none if it hides them."""
    if depth > _DEEPEST:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    for name in sorted(os.listdir(directory)):
        own = os.stat(name, dir_fd=directory, follow_symlinks=False)
        below = _look_below(layers, name)
        here = f"{path}/{name}"
        if _is_whiteout(own):
            if below.found is not None:
                yield _change(ChangeKind.DELETED, here)
        elif stat.S_ISDIR(own.st_mode):
            with _opened(name, directory) as opened:
                yield from _directory(opened, here, own, below, depth=depth)
        elif below.found is None:
            yield _change(ChangeKind.ADDED, here, own)
        elif _differs(own, below.found) or _capability(f"/proc/self/fd/{directory}/{name}") != _capability(below.path):
            yield _change(ChangeKind.MODIFIED, here, own, below.found)


def _directory(opened: int, path: str, own: os.stat_result, below: _Below, *, depth: int) -> Iterator[Change]:
    """Name a directory of the changing layer, if it or something in it has changed, and what that is."""
    contents = list(_inside(opened, path, below.layers, depth=depth + 1))
    if below.layers and _is_opaque(opened):
        present = set(os.listdir(opened))
        gone = [name for name in _names_below(below.layers) if name not in present]
        contents += [_change(ChangeKind.DELETED, f"{path}/{name}") for name in gone]
    if below.found is None:
        yield _change(ChangeKind.ADDED, path, own)
    elif contents or _differs(own, below.found):
        yield _change(ChangeKind.MODIFIED, path, own, below.found)
    yield from contents


def _look_below(layers: tuple[str, ...], name: str) -> _Below:
    """Find what lower layers make of a name: the nearest decides what it is, directories lie upon each other."""
    below = _NOTHING
    for layer in layers:
        path = f"{layer}/{name}"
        try:
            found = Path(path).lstat()
        except FileNotFoundError:
            continue
        if _is_whiteout(found):
            break
        directory = stat.S_ISDIR(found.st_mode)
        if below.found is None:
            below = _Below(found, path, (path,) if directory else ())
        elif directory:
            below = below._replace(layers=(*below.layers, path))
        if not directory or _is_opaque(path):
            break
    return below


def _names_below(layers: tuple[str, ...]) -> list[str]:
    names = {entry.name for layer in layers for entry in Path(layer).iterdir()}
    return sorted(name for name in names if _look_below(layers, name).found is not None)


def _is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _is_opaque(directory: int | str) -> bool:
    return _OPAQUE in os.listxattr(directory) and os.getxattr(directory, _OPAQUE) == b"y"


def _differs(own: os.stat_result, below: os.stat_result) -> bool:
    """Compare what the engine compares; of directories it takes neither size nor time."""
    if _status(own) != _status(below):
        return True
    if stat.S_ISDIR(own.st_mode):
        return False
    return own.st_size != below.st_size or not _same_time(own.st_mtime_ns, below.st_mtime_ns)


def _same_time(own_ns: int, below_ns: int) -> bool:
    """Compare times of change; layers that came as archives have no fractions of seconds."""
    own, below = divmod(own_ns, 1_000_000_000), divmod(below_ns, 1_000_000_000)
    return own == below or (own[0] == below[0] and 0 in (own[1], below[1]))


def _capability(path: str) -> bytes:
    if _CAPABILITY not in os.listxattr(path, follow_symlinks=False):
        return b""
    return os.getxattr(path, _CAPABILITY, follow_symlinks=False)


def _status(found: os.stat_result) -> str:
    return f"{found.st_mode:o} {found.st_uid} {found.st_gid} {found.st_rdev}"


def _change(
    kind: ChangeKind, path: str, own: os.stat_result | None = None, below: os.stat_result | None = None
) -> Change:
    """Return a change with its path as text: a name may be any bytes."""
    status = "" if own is None or (below is not None and _status(own) == _status(below)) else _status(own)
    return Change(kind, os.fsencode(path).decode(errors="replace"), status)


@contextmanager
def _opened(name: str, directory: int | None) -> Iterator[int]:
    opened = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
    try:
        yield opened
    finally:
        os.close(opened)
