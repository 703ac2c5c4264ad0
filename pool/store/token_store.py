"""API tokens in Redis: one hash for the whole Redis, since a token is good for all pools that it names."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from pool.store.connection import Connection

TOKENS_KEY = "cp:tokens"
#: What stands behind a token's id in the fields that change after it was made. They are fields of their own, so that
#: whoever notes a use can never write over a revocation.
_REVOKED, _USED = ":revoked", ":used"


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """An API token as Redis has it. Times are seconds since the epoch.

    Attributes:
        id: The part of the token that is no secret.
        digest: Hexadecimal SHA-256 of the part that is.
        name: Who uses it.
        role: `client` or `operator`.
        owner: To which owner it is bound; None: none.
        pools: To which pools; empty: none.
        limits: Name of a limit → how many.
        created_by: Who made it.
        expires_at: None: never.
        revoked_at: None: it is not.
        last_used_at: To the minute; None: never.
    """

    id: str
    digest: str = field(repr=False)
    name: str
    role: str
    created_at: float
    created_by: str = ""
    owner: str | None = None
    pools: tuple[str, ...] = ()
    limits: dict[str, int] = field(default_factory=dict)
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None


class TokenStore:
    """Keeps tokens.

    Args:
        connection: To Redis.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, record: TokenRecord) -> bool:
        """Keep a new token; False if there is one of this id."""
        facts = {
            name: getattr(record, name)
            for name in (
                "digest", "name", "role", "created_at", "created_by", "owner", "pools", "limits", "expires_at",
            )
        }  # fmt: skip
        async with self._connection.plain() as redis:
            return bool(await redis.hsetnx(TOKENS_KEY, record.id, json.dumps(facts)))

    async def get(self, token_id: str) -> TokenRecord | None:
        """Return a token by its id; None where there is none."""
        names = [token_id, token_id + _REVOKED, token_id + _USED]
        async with self._connection.plain() as redis:
            values: Any = await redis.hmget(TOKENS_KEY, names)
        return None if values[0] is None else _record(token_id, *values)

    async def all(self) -> list[TokenRecord]:
        """Return all tokens that were ever made, in the order of their making."""
        async with self._connection.plain() as redis:
            fields: Any = await redis.hgetall(TOKENS_KEY)
        records = [
            _record(name, value, fields.get(name + _REVOKED), fields.get(name + _USED))
            for name, value in fields.items()
            if ":" not in name
        ]
        return sorted(records, key=lambda record: record.created_at)

    async def any(self) -> bool:
        """Whether a token was ever made, revoked or not."""
        async with self._connection.plain() as redis:
            return bool(await redis.exists(TOKENS_KEY))

    async def revoke(self, token_id: str, *, at: float) -> bool:
        """Make a token invalid; False if it is already."""
        async with self._connection.plain() as redis:
            return bool(await redis.hsetnx(TOKENS_KEY, token_id + _REVOKED, str(at)))

    async def used(self, token_id: str, *, at: float) -> None:
        """Note that a token was used."""
        async with self._connection.plain() as redis:
            await redis.hset(TOKENS_KEY, token_id + _USED, str(int(at)))


def _record(token_id: str, text: str, revoked: str | None, used: str | None) -> TokenRecord:
    facts: dict[str, Any] = json.loads(text)
    return TokenRecord(
        id=token_id,
        **(facts | {"pools": tuple(facts["pools"])}),
        revoked_at=None if revoked is None else float(revoked),
        last_used_at=None if used is None else float(used),
    )


async def count_of_owner(connection: Connection, pool: str, owner: str) -> tuple[int, int]:
    """Return how many leases an owner, and whoever is called `owner/…`, holds in a pool, and how many requests wait."""
    counts = []
    async with connection.plain() as redis:
        for book in ("held", "queued"):
            fields: Any = await redis.hgetall(f"cp:{{{pool}}}:{book}")
            counts.append(sum(int(n) for name, n in fields.items() if name == owner or name.startswith(f"{owner}/")))
    return counts[0], counts[1]
