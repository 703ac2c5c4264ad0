"""API tokens: how they are made, checked and made invalid."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pool.access.identity import Identity, Role
from pool.errors import InvalidRequest
from pool.store import TokenRecord, TokenStore, check_pool_name

#: What every API token begins with; leases' tokens begin differently.
PREFIX = "cpt_"

_TOKEN = re.compile(PREFIX + r"([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_SECRET_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:+-]{0,63}")
#: ASCII, so that no two owners look alike and are not, and none has two spellings; no `/`, which parts it from what a
#: client adds.
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:+-]{0,99}")
_MOST = 1_000_000
_DAY_S = 86_400
_LONGEST_DAYS = 3650


class Parsed(NamedTuple):
    """A token as its bearer gives it."""

    id: str
    digest: str


def parse_token(text: str) -> Parsed | None:
    """Return id and digest of what may be a token; None of what cannot be one.

    The digest is a plain SHA-256: a slow hash protects secrets that people choose, since those can be guessed by the
    million; nobody guesses one of 256 random bits, at whatever speed. What is in Redis gives no token away.
    """
    match = _TOKEN.fullmatch(text)
    return Parsed(match[1], _digest(match[2])) if match else None


def matches(record: TokenRecord | None, parsed: Parsed) -> bool:
    """Whether a bearer's token is the one on record, in a time that does not depend on how alike the two are."""
    known = record.digest if record is not None else _digest("")
    return hmac.compare_digest(known, parsed.digest) and record is not None


def valid(record: TokenRecord, now: float) -> bool:
    """Whether a token is neither revoked nor expired; `now` in seconds since the epoch."""
    return record.revoked_at is None and (record.expires_at is None or now < record.expires_at)


def identity_of(record: TokenRecord) -> Identity:
    """Return what a token's bearer may do."""
    pools = frozenset(record.pools) if record.pools else None
    return Identity(record.name, Role(record.role), record.owner, pools, record.limits, record.id)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class TokenKeeper:
    """Makes tokens and makes them invalid.

    Args:
        store: Where they are kept.
        clock: Returns seconds since the epoch.
    """

    def __init__(self, store: TokenStore, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    async def create(
        self,
        name: str,
        *,
        role: Role | str = Role.CLIENT,
        owner: str | None = None,
        pools: Sequence[str] = (),
        max_leases: int | None = None,
        max_queued: int | None = None,
        expires_days: float | None = None,
        by: str = "",
    ) -> tuple[TokenRecord, str]:
        """Make a token; return what is kept of it, and the token itself, which nobody can show again.

        Args:
            name: Who uses it; no other valid token has it.
            role: `client` or `operator`.
            owner: The only owner that it may ask for, and whatever begins with that and a `/`.
            pools: The only pools that it may use; all by default.
            max_leases: Leases that its owner may hold at once, in all pools together.
            max_queued: Requests of its owner that may wait at once, in all pools together.
            expires_days: Days after which it is not valid any more.
            by: Who makes it.

        Raises:
            InvalidRequest: A field is wrong.
        """
        now = self._clock()
        role = _role(role)
        limits = _limits(owner, {"max_leases": max_leases, "max_queued": max_queued})
        _check_bounds(role, owner, pools, expires_days)
        await self._check_names(name, owner, now)
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        record = TokenRecord(
            id=secrets.token_hex(6),
            digest=_digest(secret),
            name=name,
            role=role.value,
            created_at=now,
            created_by=by,
            owner=owner,
            pools=tuple(sorted(set(pools))),
            limits=limits,
            expires_at=None if expires_days is None else now + expires_days * _DAY_S,
        )
        await self._store.add(record)  # 48 random bits and a secret: a second token of this id would open nothing
        return record, f"{PREFIX}{record.id}_{secret}"

    async def list(self) -> list[TokenRecord]:
        """Return all tokens, invalid ones included."""
        return await self._store.all()

    async def revoke(self, name: str) -> TokenRecord:
        """Make a token invalid, by its name or id; every server notices within about a second.

        Raises:
            InvalidRequest: There is no such token that is valid.
        """
        now = self._clock()
        records = await self._store.all()
        wanted = [record for record in records if name in (record.id, record.name) and record.revoked_at is None]
        if not wanted:
            known = ", ".join(record.name for record in records if valid(record, now)) or "none"
            raise InvalidRequest("token", name, f"name one that is not revoked yet; valid are: {known}")
        await self._store.revoke(wanted[-1].id, at=now)
        return wanted[-1]

    async def _check_names(self, name: str, owner: str | None, now: float) -> None:
        if not _NAME.fullmatch(name):
            raise InvalidRequest("name", name, "use 1 to 64 of A-Z, a-z, 0-9 and . _ @ : + -, a letter or digit first")
        for record in await self._store.all():
            if not valid(record, now):
                continue
            if record.name == name:
                raise InvalidRequest("name", name, f"token {record.id} has it; revoke that first, or use another name")
            if owner and record.owner and record.owner != owner and record.owner.lower() == owner.lower():
                allowed = f"token {record.name!r} is bound to {record.owner!r}: owners that differ in case only mislead"
                raise InvalidRequest("owner", owner, allowed)


def _role(role: Role | str) -> Role:
    try:
        return Role(role)
    except ValueError:
        raise InvalidRequest("role", role, "use client or operator") from None


def _limits(owner: str | None, wanted: dict[str, int | None]) -> dict[str, int]:
    limits = {name: value for name, value in wanted.items() if value is not None}
    for name, value in limits.items():
        if not 1 <= value <= _MOST:
            raise InvalidRequest(name, value, f"use a whole number from 1 to {_MOST}")
        if owner is None:
            raise InvalidRequest(name, value, "leases and requests are counted by owner; bind the token to one")
    return limits


def _check_bounds(role: Role, owner: str | None, pools: Sequence[str], expires_days: float | None) -> None:
    if owner is not None and not _OWNER.fullmatch(owner):
        raise InvalidRequest("owner", owner, "use 1 to 100 of A-Z, a-z, 0-9 and . _ @ : + -, a letter or digit first")
    if role is Role.OPERATOR and (owner is not None or pools):
        field, value = ("owner", owner) if owner is not None else ("pools", ", ".join(pools))
        raise InvalidRequest(field, value, "an operator may do everything; bind a client's token")
    for pool in pools:
        check_pool_name(pool)
    if expires_days is not None and not 0 < expires_days <= _LONGEST_DAYS:
        raise InvalidRequest("expires_days", expires_days, f"use days above 0 and up to {_LONGEST_DAYS}")
