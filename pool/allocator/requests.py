"""What may be asked of a pool: requests are checked here, before Redis sees them."""

from __future__ import annotations

import json
import reprlib
import secrets
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pool.errors import InvalidRequest
from pool.models import Priority
from pool.redaction import HIDDEN, redact
from pool.store import RequestSpec, check_pool_name

_LONGEST_S = 86_400
_LONGEST_REASON = 500
_LONGEST_METADATA = 10_000
_MOST_RETRIES = 10
#: As many containers as a pool can have.
_MOST_AT_ONCE = 1000


#: What nobody sees in a text, or what turns it round: control characters, separators of lines, soft hyphens, spaces
#: without width, marks of direction, joiners, byte order marks, tags.
_UNSEEN = (
    r"\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff"
    "\U000e0000-\U000e0fff"
)
#: Text for people: what cannot be seen would only serve to deceive whoever reads it in a log or a terminal.
Text = Annotated[str, Field(min_length=1, max_length=200, pattern=f"^[^{_UNSEEN}]+$")]
#: It stands in paths of the HTTP API, where a dot at its beginning could mean the directory above.
RequestId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_:~@-][A-Za-z0-9_.:~@-]{0,127}$")]
#: A lease's ttl or longest life, and how long to wait, in seconds.
Span = Annotated[float, Field(ge=0.1, le=_LONGEST_S, allow_inf_nan=False)]
WaitSpan = Annotated[float, Field(ge=0, le=_LONGEST_S, allow_inf_nan=False)]


class _Wish(BaseModel):
    """The fields of a request that its user chooses."""

    model_config = ConfigDict(strict=True)

    owner: Text
    label: Text | None = None
    request_id: RequestId
    wait_s: WaitSpan
    ttl_s: Span | None
    timeout_s: Span | None


#: Name of a field → what it may be, in words.
ALLOWED = {
    "owner": "use 1 to 200 printable characters that say who asks, such as a test run",
    "label": "use 1 to 200 printable characters that say what kind of work it is, or none for the owner's",
    "request_id": "use 1 to 128 of A-Z, a-z, 0-9 and _ . : ~ @ -, not beginning with a dot",
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
        raise InvalidRequest(name, wish.get(name), ALLOWED[name]) from None
    for name, text in (("owner", checked.owner), ("label", checked.label), ("request_id", checked.request_id)):
        if text and redact(text) != text:  # others see these, in events and tables
            raise InvalidRequest(name, HIDDEN, "it has a token in it, which others would see")
    return RequestSpec(
        request_id=checked.request_id,
        token=secrets.token_urlsafe(24),
        owner=checked.owner,
        process=process,
        priority=Priority.parse(priority),
        wait_s=checked.wait_s,
        ttl_s=checked.ttl_s or 0.0,
        timeout_s=checked.timeout_s or 0.0,
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
