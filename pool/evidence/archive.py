"""Unpacking what came out of a container: an archive whose author may have meant harm.

Only plain files and directories are written, by names that stay inside. Since no link is ever made, no later member can
lead out of the folder by one. Sizes are counted as bytes are written, whatever a header claims.
"""

from __future__ import annotations

import os
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

#: Members that one archive may have, whatever they are: each costs an inode, and a look.
MOST_MEMBERS = 10_000
#: Members that are left out are named up to this many.
_NAMED = 20
_CHUNK_BYTES = 1 << 16
#: What forged headers have been seen to make of tarfile; not all of it is a TarError.
_BROKEN = (tarfile.TarError, EOFError, ValueError, ArithmeticError, LookupError, RecursionError, MemoryError)


@dataclass(slots=True)
class Unpacked:
    """What became of an archive.

    Attributes:
        size_bytes: What was written.
        files: How many files that is.
        left_out: What was not written, and why; after the first ones, how many more.
    """

    size_bytes: int = 0
    files: int = 0
    left_out: list[str] = field(default_factory=list)
    _more: int = 0

    def leave_out(self, name: str, why: str) -> None:
        """Note something that was not written."""
        if len(self.left_out) < _NAMED:
            self.left_out.append(f"{name[:300]}: {why}")
        else:
            self._more += 1

    def close(self, end: str) -> Unpacked:
        """Note how much more was left out, and what ended the work early, if anything did."""
        if self._more:
            self.left_out.append(f"{self._more} more")
        if end:
            self.left_out.append(f"the rest: {end}")
        return self


class _Full(Exception):
    """No more may be written, and why."""


def unpack(archive: IO[bytes], folder: Path, *, limit_bytes: int, until: float) -> Unpacked:
    """Write an archive's plain files and directories below a folder. Blocks.

    Args:
        archive: A tar archive; one that is cut off gives what it has.
        folder: Where to; it exists. Nothing is written outside, and nothing that is there is replaced.
        limit_bytes: How much may be written.
        until: When to give up, by the monotonic clock.
    """
    unpacked, end = Unpacked(), ""
    try:
        with tarfile.open(fileobj=archive, mode="r|") as tar:
            for count, member in enumerate(tar):
                _check_count(count)
                _check_time(until)
                _write(tar, member, folder, unpacked, limit_bytes, until)
    except _Full as why:
        end = str(why)
    except _BROKEN as error:
        end = f"the archive is broken: {error or type(error).__name__}"
    return unpacked.close(end)


def _check_count(count: int) -> None:
    if count >= MOST_MEMBERS:
        raise _Full(f"there are more than {MOST_MEMBERS} members")


def _check_time(until: float) -> None:
    if time.monotonic() > until:
        raise _Full("it took too long")


def _write(
    tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, unpacked: Unpacked, limit_bytes: int, until: float
) -> None:
    try:
        path = _place(member, folder)
        if member.isdir():
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            _copy(tar, member, file, unpacked, limit_bytes, until)
        unpacked.files += 1
    except tarfile.ReadError:
        raise  # the archive ends here
    except (tarfile.TarError, ValueError) as error:
        unpacked.leave_out(member.name, str(error))
    except OSError as error:  # a name that is too long, a file where a directory is to be
        unpacked.leave_out(member.name, error.strerror or str(error))


def _place(member: tarfile.TarInfo, folder: Path) -> Path:
    """Return where a member goes.

    Raises:
        ValueError: Nowhere: it is a link, a device or a pipe, or its name leads out.
        tarfile.FilterError: The same, as the standard library sees it.
    """
    if member.issym() or member.islnk():
        raise ValueError(f"a link to {member.linkname[:300]}")
    if not member.isreg() and not member.isdir():
        raise ValueError("a device or a pipe")
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in member.name:
        raise ValueError("its name leads out of the folder")
    if hasattr(tarfile, "data_filter"):  # a second lock; Python 3.11.0 to 3.11.3 have none
        tarfile.data_filter(member, str(folder))
    return folder.joinpath(*parts)


def _copy(
    tar: tarfile.TarFile, member: tarfile.TarInfo, file: IO[bytes], unpacked: Unpacked, limit_bytes: int, until: float
) -> None:
    content = tar.extractfile(member)
    while content and (chunk := content.read(_CHUNK_BYTES)):
        _check_time(until)
        if unpacked.size_bytes + len(chunk) > limit_bytes:
            raise _Full(f"there is more than {limit_bytes >> 20} MB; {member.name[:300]} was cut off")
        file.write(chunk)
        unpacked.size_bytes += len(chunk)
