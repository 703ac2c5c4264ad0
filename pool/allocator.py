"""What may be asked of a pool: requests are checked here, before Redis sees them, and so are operators' wishes."""

from __future__ import annotations

import json
import reprlib
import secrets
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pool.errors import InvalidRequest, UnknownContainer, WrongState
from pool.models import ContainerRecord, Priority, ResetLevel, ResetReason, State
from pool.states import TRANSITIONS
from pool.store import PoolStore, RequestSpec, check_pool_name

#: A client process counts as alive for this long after its last sign of life.
LIVENESS_S = 10.0

_LONGEST_S = 86_400
_LONGEST_REASON = 500
#: How often an operator's wish follows a container that is being moved by others.
_TRIES = 10
_LONGEST_METADATA = 10_000
_MOST_RETRIES = 10
#: As many containers as a pool can have.
_MOST_AT_ONCE = 1000


#: Text for people: control characters would only serve to deceive whoever reads it in a log or a terminal.
_Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]


class _Wish(BaseModel):
    """The fields of a request that its user chooses."""

    model_config = ConfigDict(strict=True)

    owner: _Text
    label: _Text | None = None
    request_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:~@-]{1,128}$")]
    wait_s: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
    ttl_s: Annotated[float, Field(ge=0.1, le=86_400, allow_inf_nan=False)] | None
    timeout_s: Annotated[float, Field(ge=0.1, le=86_400, allow_inf_nan=False)] | None


_ALLOWED = {
    "owner": "use 1 to 200 printable characters that say who asks, such as a test run",
    "label": "use 1 to 200 printable characters that say what kind of work it is, or none for the owner's",
    "request_id": "use 1 to 128 of A-Z, a-z, 0-9 and _ . : ~ @ -",
    "wait_s": "use seconds from 0 (do not wait) to 86400",
    "ttl_s": "use seconds from 0.1 to 86400, or none for the pool's default",
    "timeout_s": "use seconds from 0.1 to 86400, or none for the pool's default",
}


def build_request(
    *,
    process: str,
    priority: str | Priority,
    request_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    **wish: Any,
) -> RequestSpec:
    """Check a user's wish and make the request that Redis gets, with a new secret token.

    Args:
        process: The client process that waits, as its heartbeats name it.
        priority: critical, high, normal or low.
        request_id: Chosen by the client; a new one by default.
        metadata: What the request says about itself, kept with the lease.
        **wish: `owner`, `label`, `wait_s`, `ttl_s` and `timeout_s`; None for the latter two means the pool's default.

    Raises:
        InvalidRequest: A field is wrong; names field, value and what is allowed.
    """
    wish["request_id"] = request_id if request_id is not None else secrets.token_hex(8)
    try:
        checked = _Wish.model_validate(wish)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        raise InvalidRequest(name, wish.get(name), _ALLOWED[name]) from None
    return RequestSpec(
        request_id=checked.request_id,
        token=secrets.token_urlsafe(24),
        owner=checked.owner,
        process=process,
        priority=Priority.parse(priority),
        wait_s=checked.wait_s,
        ttl_s=checked.ttl_s or 0.0,
        timeout_s=checked.timeout_s or 0.0,
        liveness_s=LIVENESS_S,
        label=checked.label or "",
        metadata=_dump_metadata(metadata),
    )


def check_retries(max_retries: int) -> None:
    """Refuse what is no number of containers to try after the first.

    Raises:
        InvalidRequest: `max_retries` is none.
    """
    if not _is_whole(max_retries) or not 0 <= max_retries <= _MOST_RETRIES:
        raise InvalidRequest("max_retries", max_retries, f"use a whole number from 0 to {_MOST_RETRIES}")


def check_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Return how many containers are wanted of each pool, in the order in which they are asked for.

    That order is the same for everybody, which is why two bundles never wait for each other.

    Raises:
        InvalidRequest: There is no pool, a name is none, or a number is none.
    """
    if not isinstance(counts, Mapping) or not counts:
        raise InvalidRequest("pools", counts, "map the name of each pool to how many of its containers you need")
    for pool, count in counts.items():
        check_pool_name(pool)
        if not _is_whole(count) or not 1 <= count <= _MOST_AT_ONCE:
            raise InvalidRequest(f"pools.{pool}", count, f"use a whole number from 1 to {_MOST_AT_ONCE}")
    return {pool: counts[pool] for pool in sorted(counts)}


def _is_whole(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)


def _dump_metadata(metadata: Mapping[str, Any] | None) -> str:
    """Write what a request says about itself as Redis keeps it."""
    if metadata is None:
        return ""
    allowed = f"use a mapping from texts to what JSON has, of at most {_LONGEST_METADATA} characters as JSON, or none"
    if not isinstance(metadata, Mapping) or not all(isinstance(name, str) for name in metadata):
        raise InvalidRequest("metadata", reprlib.repr(metadata), allowed)
    try:
        text = json.dumps(dict(metadata), allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        raise InvalidRequest("metadata", reprlib.repr(metadata), allowed) from None
    if len(text) > _LONGEST_METADATA:
        raise InvalidRequest("metadata", f"{text[:40]}… ({len(text)} characters)", allowed)
    return text


def check_extension(extra_s: float, reason: str) -> None:
    """Refuse what is no extension of a lease.

    Raises:
        InvalidRequest: `extra_s` or `reason` is none.
    """
    number = isinstance(extra_s, int | float) and not isinstance(extra_s, bool)
    if not number or not 0 < extra_s <= _LONGEST_S:
        raise InvalidRequest("extra_s", extra_s, f"use seconds above 0 and up to {_LONGEST_S}")
    check_reason(reason)


def check_reason(reason: str) -> None:
    """Refuse what does not say why.

    Raises:
        InvalidRequest: `reason` is empty, too long, or no text.
    """
    if not isinstance(reason, str) or not 0 < len(reason.strip()) <= _LONGEST_REASON:
        shown = reason[:60] if isinstance(reason, str) else reason
        raise InvalidRequest("reason", shown, f"say in 1 to {_LONGEST_REASON} characters why")


def find_container(containers: tuple[ContainerRecord, ...], container_id: str) -> ContainerRecord:
    """Return a container by id.

    Raises:
        UnknownContainer: There is none; the hint lists those that there are.
    """
    for record in containers:
        if record.id == container_id:
            return record
    known = ", ".join(record.id for record in containers) or "none"
    raise UnknownContainer(f"there is no container {container_id!r}", hint=f"containers: {known}")


async def request_quarantine(store: PoolStore, container_id: str, reason: str, *, force: bool = False) -> None:
    """Take a container out of rotation and keep it as it is until `request_restore`.

    Args:
        store: The container's pool.
        container_id: Which one.
        reason: Why; it is shown, and kept.
        force: Even if it is leased: its holder loses it, and is told.

    Raises:
        UnknownContainer: The pool has no such container.
        InvalidRequest: The reason is none.
        WrongState: It is leased, or quarantined already.
    """
    check_reason(reason)
    for _ in range(_TRIES):
        record = find_container((await store.status()).containers, container_id)
        if record.state is State.ALLOCATED and not force:
            raise WrongState(
                f"container {container_id!r} is leased by {record.owner!r}",
                hint="wait until it is given back (`poolctl drain` keeps it from the next one), or use force",
            )
        if State.QUARANTINED not in TRANSITIONS[record.state]:
            why = f": {record.note}" if record.note else ""
            raise WrongState(f"container {container_id!r} is {record.state} already{why}")
        facts = {"reason": ResetReason.MANUAL.value, "note": reason}
        if await store.transition(record, State.QUARANTINED, store=facts):
            return
    raise WrongState(f"container {container_id!r} changes its state all the time", hint="try again")


async def request_restore(store: PoolStore, container_id: str) -> None:
    """Have the manager recreate a quarantined container, verify it, and lend it again.

    Raises:
        UnknownContainer: The pool has no such container.
        WrongState: It is not quarantined.
    """
    record = find_container((await store.status()).containers, container_id)
    if record.state is not State.QUARANTINED:
        hint = "`poolctl reset` resets any that is free"
        raise WrongState(f"container {container_id!r} is {record.state}, not quarantined", hint=hint)
    await request_reset(store, container_id, ResetLevel.RECREATE)


async def request_reset(store: PoolStore, container_id: str, level: ResetLevel) -> None:
    """Have the manager reset a container that nobody holds.

    Raises:
        UnknownContainer: The pool has no such container.
        WrongState: It is leased, or being reset already.
    """
    record = find_container((await store.status()).containers, container_id)
    facts: dict[str, str | int] = {"reason": ResetReason.MANUAL.value, "level": int(level), "note": "", "failures": 0}
    free = record.state in (State.AVAILABLE, State.PAUSED, State.UNHEALTHY, State.QUARANTINED, State.STOPPED)
    if not free or not await store.transition(record, State.RESETTING, store=facts):
        holder = f" by {record.owner!r}" if record.owner else ""
        raise WrongState(
            f"container {container_id!r} is {record.state}{holder} and cannot be reset now",
            hint="wait until it is available again; `poolctl status` shows when a lease ends",
        )
