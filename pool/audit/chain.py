"""Entries that name each other: what is changed, removed, inserted or moved afterwards does not fit any more."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

#: What the first entry of a chain names.
GENESIS = "0" * 64


def canonical(entry: Mapping[str, Any]) -> str:
    """Write an entry in the only way that is hashed: sorted keys, no blanks, ASCII."""
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(text: str) -> str:
    """Return the hexadecimal SHA-256 of an entry's canonical text."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends: an anchor, when it is kept where nobody who can change the chain can change it.

    Attributes:
        number: Of the last entry, counted from 1; 0 for a chain without any.
        hash: Of the last entry.
    """

    number: int = 0
    hash: str = GENESIS

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"


@dataclass(frozen=True, slots=True)
class Fault:
    """The first entry of a chain that does not fit.

    Attributes:
        where: Which one it is, for a person.
        what: What is wrong with it.
    """

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of checking a chain.

    Attributes:
        pool: Whose chain.
        entries: How many of them fit.
        first: Number of the first entry that there is.
        head: The last entry that fits.
        fault: The first entry that does not; None where all do.
        hashes: Number of each entry that fits → its hash.
    """

    pool: str
    entries: int
    first: int
    head: Head
    fault: Fault | None = None
    hashes: Mapping[int, str] = field(default_factory=dict, repr=False)

    def anchored(self, anchor: Head) -> Fault | None:
        """Say what is wrong if a head that was noted earlier is not in the chain."""
        where = f"anchor {anchor.number}"
        if anchor.number < self.first:
            return Fault(where, f"entry {anchor.number} is not kept any more: the chain begins with {self.first}")
        if anchor.number not in self.hashes:
            return Fault(where, f"the chain ends with entry {self.head.number}: later ones were removed")
        if self.hashes[anchor.number] != anchor.hash:
            return Fault(where, f"entry {anchor.number} has another hash: the chain was written anew")
        return None


def extend(head: Head, entries: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Head, str]]:
    """Yield each entry as it goes on from a head: the new head, and the canonical text."""
    for entry in entries:
        text = canonical({**entry, "n": head.number + 1, "prev": head.hash})
        head = Head(head.number + 1, digest(text))
        yield head, text


def read_entry(text: str) -> dict[str, Any] | None:
    """Return an entry of its text; None where the text is none."""
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError):
        return None
    fits = isinstance(entry, dict) and type(entry.get("n")) is int and isinstance(entry.get("prev"), str)
    return entry if fits else None


def verify(pool: str, links: Iterable[tuple[str, str, str]]) -> Verdict:
    """Check a chain up to the first entry that does not fit.

    Args:
        pool: Whose chain.
        links: Of each entry, where it stands, its hash and its text.
    """
    hashes: dict[int, str] = {}
    first, head = 0, None
    for where, known, text in links:
        entry = read_entry(text)
        what = _fault(entry, known, text, pool, head)
        if what or entry is None:
            return Verdict(pool, len(hashes), first, head or Head(), Fault(where, what), hashes)
        head = Head(entry["n"], known)
        first = first or head.number
        hashes[head.number] = known
    return Verdict(pool, len(hashes), first, head or Head(), None, hashes)


def _fault(entry: Mapping[str, Any] | None, known: str, text: str, pool: str, head: Head | None) -> str:
    """Say what is wrong with an entry after the one that `head` is; nothing where it fits."""
    if entry is None:
        return "it is no entry"
    number = entry["n"]
    if digest(canonical(entry)) != known or canonical(entry) != text:
        return f"entry {number} was changed: its hash is another"
    if entry.get("pool") != pool:
        return f"entry {number} belongs to the chain of {entry.get('pool')!r}"
    if head is None:  # what stood before the first one that is kept is not known
        return "it calls itself the first, and names another before it" if _lies(entry) else ""
    if number > head.number + 1:
        return f"entry {number} follows entry {head.number}: what was between them is missing"
    if number <= head.number:
        return f"entry {number} follows entry {head.number}: it was inserted or moved"
    if entry["prev"] != head.hash:
        return f"entry {number} names another before it: entry {head.number} was changed or put in its place"
    return ""


def _lies(entry: Mapping[str, Any]) -> bool:
    number: int = entry["n"]
    return number < 1 or (number == 1) != (entry["prev"] == GENESIS)
