"""What lies in Redis, read raw, and the promises that it must keep by itself, whatever the model says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from tests.redis.conftest import LASTING

INDEX = {
    "available": "ready",
    "allocated": "exp",
    "starting": "work",
    "cleaning": "work",
    "resetting": "work",
    "unhealthy": "work",
    "paused": "frozen",
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


_ZSETS = {"ready", "exp", "work", "frozen", "q", "wdl", "own"}


async def read_keys(redis: Redis, prefix: str, *, after: str) -> Keys:
    """Read a whole pool, its events from `after` on, and take its hints."""
    names = sorted(str(key) for key in await redis.keys(prefix + "*"))
    pipeline: Any = redis.pipeline(transaction=False)
    for key in names:
        name = key.removeprefix(prefix)
        pipeline.pttl(key)
        if name in _ZSETS:
            pipeline.zrange(key, 0, -1, withscores=True)
        elif name == "ids":
            pipeline.smembers(key)
        elif name == "events":
            pipeline.xrange(key, f"({after}", "+")
        elif name.startswith("in:"):
            pipeline.lrange(key, 0, -1)
        else:
            pipeline.hgetall(key)
    hints = [key for key in names if key.removeprefix(prefix).startswith("in:")]
    if hints:
        pipeline.delete(*hints)
    replies = await pipeline.execute()
    keys = Keys(last_event=after)
    for number, key in enumerate(names):
        _keep(keys, key.removeprefix(prefix), replies[2 * number], replies[2 * number + 1])
    return keys


def _keep(keys: Keys, name: str, ttl_ms: int, value: Any) -> None:
    keys.ttl_ms[name] = ttl_ms
    if name in _ZSETS:
        keys.zsets[name] = {member: int(score) for member, score in value}
    elif name == "ids":
        keys.ids = set(value)
    elif name == "events":
        keys.events = [dict(fields) for _, fields in value]
        keys.last_event = value[-1][0] if value else keys.last_event
    elif name.startswith("in:"):
        keys.hints = keys.hints + [(name.removeprefix("in:"), text) for text in value]
    else:
        keys.hashes[name] = value


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
    ensure(secrets not in repr((keys.events, keys.hints)), "a token is in events or hints", keys.events, keys.hints)


def _check_containers(keys: Keys) -> None:
    ensure(keys.ids == set(keys.containers), "ids and hashes of containers differ", keys.ids, set(keys.containers))
    for name, fields in keys.containers.items():
        indexes = [index for index in ("ready", "exp", "work", "frozen") if name in keys.zset(index)]
        kept_back = "draining" in fields and fields["state"] in ("available", "paused")
        expected = [INDEX[fields["state"]]] if fields["state"] in INDEX and not kept_back else []
        ensure(indexes == expected, "a container is in the wrong index", name, fields["state"], indexes)
        lease = [part for part in LEASE if part in fields]
        whole = list(LEASE) if fields["state"] == "allocated" else []
        ensure(lease == whole, "a container has half a lease, or one it should not have", name, fields["state"], lease)
    for index in ("ready", "exp", "work", "frozen"):
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
