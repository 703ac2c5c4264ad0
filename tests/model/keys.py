"""What lies in Redis, read raw, and the promises that it must keep by itself, whatever the model says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from tests.catalogue import unexplained
from tests.redis.conftest import LASTING

INDEX = {
    "available": "ready",
    "allocated": "exp",
    "starting": "work",
    "cleaning": "work",
    "resetting": "work",
    "unhealthy": "work",
    "paused": "frozen",
    "spare": "spares",
}
LEASE = ("request", "token", "owner", "process", "priority", "ttl", "confirmed", "expires_at", "deadline_at")
#: A double holds every whole number below this.
EXACT = 2**53


class Disagreement(AssertionError):
    """The scripts did something else than the model, or broke a promise."""


def ensure(promise: bool, what: str, *details: object) -> None:
    """Fail with a sentence unless a promise holds."""
    if not promise:
        raise Disagreement(f"{what}: {', '.join(map(repr, details))}")


@dataclass(slots=True)
class Keys:
    """All keys of one pool by their names without prefix. Hints are taken away by reading."""

    hashes: dict[str, dict[str, str]] = field(default_factory=dict)
    zsets: dict[str, dict[str, int]] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    rotation: set[str] = field(default_factory=set)
    hints: list[tuple[str, str]] = field(default_factory=list)
    events: list[dict[str, str]] = field(default_factory=list)
    last_event: str = "0"
    ttl_ms: dict[str, int] = field(default_factory=dict)

    def hash(self, name: str) -> dict[str, str]:
        return self.hashes.get(name, {})

    def zset(self, name: str) -> dict[str, int]:
        return self.zsets.get(name, {})

    def each(self, prefix: str) -> dict[str, dict[str, str]]:
        return {name.removeprefix(prefix): value for name, value in self.hashes.items() if name.startswith(prefix)}

    @property
    def containers(self) -> dict[str, dict[str, str]]:
        return self.each("c:")

    @property
    def requests(self) -> dict[str, dict[str, str]]:
        return self.each("r:")


_INDEXES = ("ready", "exp", "work", "frozen", "spares")

#: All keys of a pool in one go, since every step of the state machine reads them: name, type, TTL and value of each.
#: Hints are taken away.
_READ = """
local found = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
  local name, kind, value = key:sub(#ARGV[1] + 1), redis.call('TYPE', key).ok, nil
  if kind == 'zset' then value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  elseif kind == 'set' then value = redis.call('SMEMBERS', key)
  elseif kind == 'stream' then value = redis.call('XRANGE', key, '(' .. ARGV[2], '+')
  elseif kind == 'list' then value = redis.call('LRANGE', key, 0, -1)
  else value = redis.call('HGETALL', key) end
  found[#found + 1] = {name, kind, redis.call('PTTL', key), value}
  if kind == 'list' then redis.call('DEL', key) end
end
return found
"""


async def read_keys(redis: Redis, prefix: str, *, after: str) -> Keys:
    """Read a whole pool, its events from `after` on, and take its hints."""
    keys = Keys(last_event=after)
    reading: Any = redis.eval(_READ, 0, prefix, after)
    for name, kind, ttl_ms, value in sorted(await reading):
        _keep(keys, name, kind, value)
        keys.ttl_ms[name] = ttl_ms
    return keys


def _keep(keys: Keys, name: str, kind: str, value: list[Any]) -> None:
    match kind:
        case "zset":
            keys.zsets[name] = {member: int(float(score)) for member, score in _pairs(value)}
        case "set" if name == "rotation":
            keys.rotation = set(value)
        case "set":
            keys.ids = set(value)
        case "stream":
            keys.events = [dict(_pairs(fields)) for _, fields in value]
            keys.last_event = value[-1][0] if value else keys.last_event
        case "list":
            keys.hints = keys.hints + [(name.removeprefix("in:"), text) for text in value]
        case _:
            keys.hashes[name] = dict(_pairs(value))


def _pairs(flat: list[str]) -> Iterator[tuple[str, str]]:
    """Pairs of a list that a script returned for what has names and values."""
    return zip(flat[::2], flat[1::2], strict=True)


def check_promises(keys: Keys, secrets: str) -> None:
    """Check what must hold in Redis at any moment, without looking at the model.

    Args:
        keys: What there is.
        secrets: What every token begins with.
    """
    _check_containers(keys)
    _check_leases(keys)
    _check_queue(keys)
    for name, ttl_ms in keys.ttl_ms.items():
        lasting = name in LASTING or name.startswith("c:")
        ensure(lasting or ttl_ms > 0, "a key neither lasts nor expires", name, ttl_ms)
    numbers = [score for zset in keys.zsets.values() for score in zset.values()]
    ensure(max(numbers, default=0) < EXACT, "a score is too big to be exact", numbers)
    for event in keys.events:
        facts = {name: value for name, value in event.items() if name not in ("type", "at")}
        ensure(not unexplained(event["type"], facts), "an event is not in the catalogue", event)
    ensure(secrets not in repr((keys.events, keys.hints)), "a token is in events or hints", keys.events, keys.hints)


def _check_containers(keys: Keys) -> None:
    ensure(keys.ids == set(keys.containers), "ids and hashes of containers differ", keys.ids, set(keys.containers))
    for name, fields in keys.containers.items():
        indexes = [index for index in _INDEXES if name in keys.zset(index)]
        kept_back = "draining" in fields and fields["state"] in ("available", "paused", "spare")
        expected = [INDEX[fields["state"]]] if fields["state"] in INDEX and not kept_back else []
        ensure(indexes == expected, "a container is in the wrong index", name, fields["state"], indexes)
        lease = [part for part in LEASE if part in fields]
        whole = list(LEASE) if fields["state"] == "allocated" else []
        ensure(lease == whole, "a container has half a lease, or one it should not have", name, fields["state"], lease)
    for index in _INDEXES:
        ensure(set(keys.zset(index)) <= keys.ids, "an index names a container that is not", index, keys.zset(index))


def _check_leases(keys: Keys) -> None:
    """One holder for each container, one container for each request, and both sides say the same."""
    held = {name: fields for name, fields in keys.containers.items() if fields["state"] == "allocated"}
    by_container = sorted((fields["request"], name, fields["fence"], fields["token"]) for name, fields in held.items())
    by_request = sorted(
        (name, fields["container"], fields["fence"], fields["token"])
        for name, fields in keys.requests.items()
        if fields["state"] in ("granted", "leased")
    )
    ensure(by_container == by_request, "containers and requests disagree on who holds what", by_container, by_request)
    fences = [fields["fence"] for fields in held.values()]
    ensure(len(set(fences)) == len(fences), "two leases have one fence", fences)
    for name, fields in held.items():
        expires, deadline = int(fields["expires_at"]), int(fields["deadline_at"])
        ensure(keys.zset("exp").get(name) == expires, "a lease's expiry is not where the reaper looks", name)
        ensure(expires <= deadline, "a lease would outlive its deadline", name, expires, deadline)


def _check_queue(keys: Keys) -> None:
    waiting = {name for name, fields in keys.requests.items() if fields["state"] == "waiting"}
    queue, limits = keys.zset("q"), keys.zset("wdl")
    ensure(set(queue) == waiting == set(limits), "queue and waiting requests differ", queue, limits, waiting)
    ensure(not (queue and keys.zset("ready")), "a container is ready and yet somebody waits", queue, keys.zset("ready"))
    for name in queue:
        wait_until = int(keys.requests[name]["wait_until"])
        ensure(limits[name] == wait_until, "a wait ends at another time than its request says", name)
