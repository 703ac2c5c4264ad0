"""Which events are audited, and what they say: who did what, why, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pool.models import Event, rfc3339
from pool.redaction import redact

#: Who acts where no person does.
MANAGER = "manager"

#: Types of events that are always audited → what came of it, where no field says.
_AUDITED: Mapping[str, str] = {
    "lease.granted": "granted",
    "lease.released": "released",
    "lease.cancelled": "given back unused",
    "lease.unfit": "given back unfit",
    "lease.lost": "lost",
    "lease.extended": "extended",
    "lease.extension_denied": "denied",
    "pool.created": "created",
    "pool.draining": "draining",
    "pool.resumed": "resumed",
    "pool.degraded": "degraded",
    "pool.recovered": "recovered",
    "container.draining": "draining",
    "container.resumed": "resumed",
    "operator.refused": "refused",
}
#: Moves to these states are audited, whatever caused them.
_GRAVE = frozenset({"quarantined", "unhealthy", "stopped"})
#: Whose holder acts: `owner` in other events is only whom it happened to.
_BY_OWNER = frozenset(
    {"lease.granted", "lease.released", "lease.cancelled", "lease.unfit", "lease.extended", "lease.extension_denied"}
)
#: Facts that say nothing to whoever asks what was done, and are long.
_LEFT_OUT = frozenset({"stages", "by", "why"})


def is_audited(event: Event) -> bool:
    """Whether an event changes who has what, or was somebody's wish."""
    if event.type == "container.moved":
        fields = event.fields
        return fields.get("to") in _GRAVE or "reset_level" in fields or "by" in fields
    return event.type in _AUDITED


def describe(pool: str, event: Event) -> dict[str, Any]:
    """Return the entry of an event, without its place in the chain."""
    fields = event.fields
    return {
        "pool": pool,
        "at": rfc3339(event.at),
        "event": event.id,
        "type": event.type,
        "who": _who(event),
        "what": _what(pool, fields),
        "why": redact(fields.get("why") or fields.get("note") or fields.get("reason", "")),
        "result": _result(event),
        "facts": {name: redact(value) for name, value in fields.items() if name not in _LEFT_OUT},
    }


def _who(event: Event) -> str:
    if by := event.fields.get("by"):
        return redact(by)
    owner = event.fields.get("owner", "") if event.type in _BY_OWNER else ""
    return redact(owner) or MANAGER


def _what(pool: str, fields: Mapping[str, str]) -> str:
    """Name the thing that it was done to, or was to be."""
    thing = f"container {fields['container']}" if "container" in fields else f"pool {pool}"
    return redact(f"{thing}, request {fields['request']}" if "request" in fields else thing)


def _result(event: Event) -> str:
    fields = event.fields
    if event.type == "container.moved":
        level = f", {fields['reset_level']} reset" if "reset_level" in fields else ""
        return f"{fields.get('from')} to {fields.get('to')}{level}"
    if event.type == "operator.refused":
        return f"refused: {redact(fields.get('error', ''))}"
    outcome = fields.get("outcome", "") if event.type == "lease.released" else ""
    return outcome or _AUDITED[event.type]
