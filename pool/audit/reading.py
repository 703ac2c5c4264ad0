"""Who reads the chains: a person who asks what was done, and a check that nothing of it was changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pool.audit.chain import Verdict, read_entry, verify
from pool.audit.file import read_lines
from pool.errors import ConfigError
from pool.store import AuditStore, Connection

_KEY_HEAD, _KEY_TAIL = "cp:{", "}:audit"

#: An entry as it is stored: who, what, when, why, result, and where it stands in its chain.
Entry = dict[str, Any]


async def chain_names(connection: Connection) -> list[str]:
    """Return the names of all chains: those of pools, of former ones too, and that of accesses."""
    keys = {key async for key in connection.scan(f"{_KEY_HEAD}*{_KEY_TAIL}")}
    return sorted(key.removeprefix(_KEY_HEAD).removesuffix(_KEY_TAIL) for key in keys)


class Reader:
    """Reads chains from where it stopped.

    Args:
        connection: To Redis.
        pools: Which chains; all there are, new ones too, when None.
    """

    def __init__(self, connection: Connection, pools: Sequence[str] | None = None) -> None:
        self._connection = connection
        self._pools = pools
        self._known: dict[str, str] = {}

    async def read(self, wants: Callable[[Entry], bool] = lambda _: True) -> list[Entry]:
        """Return the entries of all chains since the last call, in the order of their times.

        What is not an entry is left out here; `verify` tells of it.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        found: list[Entry] = []
        for pool in await chain_names(self._connection) if self._pools is None else self._pools:
            async for link in AuditStore(self._connection, pool).all(after=self._known.get(pool, "")):
                self._known[pool] = link.id
                entry = read_entry(link.text)
                if entry is not None and wants(entry):
                    found.append(entry | {"hash": link.hash})
        return sorted(found, key=_moment)

    async def last(
        self, count: int, wants: Callable[[Entry], bool] = lambda _: True, *, since: str = ""
    ) -> list[Entry]:
        """Return the newest entries, in the order of their times; `read` goes on after them.

        Args:
            count: How many at most.
            wants: Chooses them.
            since: Not what was done before, RFC 3339 in UTC.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        found: list[Entry] = []
        for pool in await chain_names(self._connection) if self._pools is None else self._pools:
            found += await self._last_of(pool, count, wants, since)
        found.sort(key=_moment)
        return found[max(len(found) - count, 0) :]

    async def _last_of(self, pool: str, count: int, wants: Callable[[Entry], bool], since: str) -> list[Entry]:
        found: list[Entry] = []
        async for link in AuditStore(self._connection, pool).backwards():
            self._known.setdefault(pool, link.id)
            entry = read_entry(link.text)
            if len(found) >= count or (entry is not None and _moment(entry) < since):
                break
            if entry is not None and wants(entry):
                found.append(entry | {"hash": link.hash})
        return found[::-1]


def _moment(entry: Entry) -> str:
    return str(entry.get("at", ""))


async def verify_chain(connection: Connection, pool: str) -> Verdict:
    """Check a chain in Redis.

    Raises:
        StoreUnavailable: Redis did not answer.
    """
    links = [link async for link in AuditStore(connection, pool).all()]
    return verify(pool, ((f"audit of {pool}, {link.id}", link.hash, link.text) for link in links))


def verify_file(path: Path) -> list[Verdict]:
    """Check the chains in a file, each up to its first entry that does not fit.

    Raises:
        ConfigError: The file cannot be read.
    """
    chains: dict[str, list[tuple[str, str, str]]] = {}
    try:
        for pool, where, known, text in read_lines(path):
            chains.setdefault(pool, []).append((where, known, text))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    return [verify(pool or "no pool", links) for pool, links in chains.items()]
