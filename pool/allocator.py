"""What may be asked of a pool: requests are checked here, before Redis sees them, and so are operators' wishes."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pool.errors import InvalidRequest, UnknownContainer, WrongState
from pool.models import ContainerRecord, Priority, ResetLevel, ResetReason, State
from pool.store import PoolStore, RequestSpec

#: A client process counts as alive for this long after its last sign of life.
LIVENESS_S = 10.0

_LONGEST_S = 86_400
_LONGEST_REASON = 500


class _Wish(BaseModel):
    """The fields of a request that its user chooses."""

    model_config = ConfigDict(strict=True)

    owner: Annotated[str, Field(min_length=1, max_length=200)]
    label: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    request_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:~@-]{1,128}$")]
    wait_s: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
    ttl_s: Annotated[float, Field(ge=0.1, le=86_400, allow_inf_nan=False)] | None
    timeout_s: Annotated[float, Field(ge=0.1, le=86_400, allow_inf_nan=False)] | None


_ALLOWED = {
    "owner": "use 1 to 200 characters that say who asks, such as a test run",
    "label": "use 1 to 200 characters that say what kind of work it is, or none for the owner's",
    "request_id": "use 1 to 128 of A-Z, a-z, 0-9 and _ . : ~ @ -",
    "wait_s": "use seconds from 0 (do not wait) to 86400",
    "ttl_s": "use seconds from 0.1 to 86400, or none for the pool's default",
    "timeout_s": "use seconds from 0.1 to 86400, or none for the pool's default",
}


def build_request(*, process: str, priority: str | Priority, request_id: str | None = None, **wish: Any) -> RequestSpec:
    """Check a user's wish and make the request that Redis gets, with a new secret token.

    Args:
        process: The client process that waits, as its heartbeats name it.
        priority: critical, high, normal or low.
        request_id: Chosen by the client; a new one by default.
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
    )


def check_extension(extra_s: float, reason: str) -> None:
    """Refuse what is no extension of a lease.

    Raises:
        InvalidRequest: `extra_s` or `reason` is none.
    """
    number = isinstance(extra_s, int | float) and not isinstance(extra_s, bool)
    if not number or not 0 < extra_s <= _LONGEST_S:
        raise InvalidRequest("extra_s", extra_s, f"use seconds above 0 and up to {_LONGEST_S}")
    if not isinstance(reason, str) or not 0 < len(reason.strip()) <= _LONGEST_REASON:
        raise InvalidRequest("reason", reason, f"say in 1 to {_LONGEST_REASON} characters why")


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


async def request_reset(store: PoolStore, container_id: str, level: ResetLevel) -> None:
    """Have the manager reset a container that nobody holds.

    Raises:
        UnknownContainer: The pool has no such container.
        WrongState: It is leased, or being reset already.
    """
    record = find_container((await store.status()).containers, container_id)
    facts: dict[str, str | int] = {"reason": ResetReason.MANUAL.value, "level": int(level), "note": "", "failures": 0}
    free = record.state in (State.AVAILABLE, State.UNHEALTHY, State.QUARANTINED, State.STOPPED)
    if not free or not await store.transition(record, State.RESETTING, store=facts):
        holder = f" by {record.owner!r}" if record.owner else ""
        raise WrongState(
            f"container {container_id!r} is {record.state}{holder} and cannot be reset now",
            hint="wait until it is available again; `poolctl status` shows when a lease ends",
        )
