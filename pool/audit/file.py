"""The audit as a file: a line of JSON for each entry, only ever appended to."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pool.audit.chain import Head, canonical, read_entry
from pool.store import AuditStore

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class AuditFile:
    """Follows chains into a file. It is opened for each write, so it may be moved away at any time.

    A file that is new begins with all that its chains still have: each file can be checked on its own.

    Args:
        path: The file. Made readable and writable for us alone.
        tell: Says that it cannot be written, and why; with an empty text, that it can again.
    """

    def __init__(self, path: Path, tell: Callable[[str, str], None]) -> None:
        self._path = path
        self._tell = tell
        self._copied: dict[str, str] = {}
        self._heads: dict[str, Head] | None = None

    async def head(self, pool: str) -> Head:
        """Return where the chain of a pool ended in the file before we wrote to it; at its beginning without a file."""
        if self._heads is None:
            try:
                self._heads = await asyncio.to_thread(_heads, self._path)
            except OSError as error:
                self._told_broken(error)
                return Head()
        return self._heads.get(pool, Head())

    async def copy(self, store: AuditStore) -> None:
        """Append what a chain has and the file has not.

        Raises:
            StoreError: Redis is away.
        """
        try:
            if store.pool not in self._copied:
                self._copied[store.pool] = await self._begin(store)
            while links := await store.read(after=self._copied[store.pool]):
                lines = [f'{{"entry":{link.text},"hash":"{link.hash}"}}\n' for link in links if read_entry(link.text)]
                await asyncio.to_thread(_append, self._path, "".join(lines))
                self._copied[store.pool] = links[-1].id
        except OSError as error:  # the chain in Redis goes on; the file catches up once it can be written
            self._told_broken(error)
        else:
            self._tell("audit.file_broken", "")

    def _told_broken(self, error: OSError) -> None:
        self._tell("audit.file_broken", f"{self._path}: {error.strerror or error}")

    async def _begin(self, store: AuditStore) -> str:
        """Return the last entry in Redis that the file has; nothing where it has none."""
        known, last = (await self.head(store.pool)).number, ""
        async for link in store.all():
            entry = read_entry(link.text)
            if entry is None or entry["n"] > known:
                break
            last = link.id
        return last


def read_lines(path: Path) -> Iterator[tuple[str, str, str, str]]:
    """Yield of each line the pool that it names, where it stands, its hash and the entry's canonical text.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open(encoding="utf-8", errors="backslashreplace") as file:
        for number, line in enumerate(file, start=1):
            pool, known, text = _parse(line)
            yield pool, f"{path}, line {number}", known, text


def _parse(line: str) -> tuple[str, str, str]:
    """Return pool, hash and entry of a line; one that is none has a text that is no entry."""
    try:
        document: Any = json.loads(line)
        entry, known = document["entry"], document["hash"]
        return str(entry["pool"]), str(known), canonical(entry) if document.keys() == {"entry", "hash"} else ""
    except (ValueError, LookupError, TypeError, RecursionError):
        return "", "", ""


def _heads(path: Path) -> dict[str, Head]:
    heads: dict[str, Head] = {}
    if path.exists():
        for pool, _, known, text in read_lines(path):
            if entry := read_entry(text):
                heads[pool] = Head(entry["n"], known)
    return heads


def _append(path: Path, text: str) -> None:
    """Append lines and have them on disk. What a crash left of a line goes: Redis still has its entry."""
    descriptor = os.open(path, _FLAGS, 0o600)
    try:
        _cut_torn_line(path, descriptor)
        data = text.encode()
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cut_torn_line(path: Path, descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    with path.open("rb") as file:
        end = size
        while end:
            begin = max(end - 4096, 0)
            file.seek(begin)
            at = file.read(end - begin).rfind(b"\n")
            if at >= 0:
                end = begin + at + 1
                break
            end = begin
    if end != size:
        os.ftruncate(descriptor, end)
