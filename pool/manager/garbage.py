"""Garbage: what carries our label, and what we wrote, that no configuration knows any more.

Looking and removing are two steps, so that an operator can see the first without the second. What carries no label of
ours, or that of another deployment, is never touched.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from pool.config import Config
from pool.errors import EngineError, InvalidRequest, PoolError, UnknownPool
from pool.evidence import Bundle, EvidenceKeeper, discard, evidence_root, find_bundles
from pool.models import ContainerInfo, ContainerRecord, PoolStatus, State
from pool.ports import LABEL, LABEL_EVIDENCE, EngineContainer, EngineState, Runtime
from pool.states import IDLE_STATES
from pool.store import Connection, PoolStore, find_orphans, forget_orphans, pool_names

#: Seconds that a container gets to stop by itself before it is removed.
_GRACE_S = 30.0
_AT_ONCE = 8

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Item:
    """Something that may be garbage.

    Attributes:
        kind: container, holder, pool, network, image, evidence or keys.
        name: What it is called.
        why: Why it is garbage, or why it stays.
        fate: `garbage`, `kept` because of what `why` says, and after an attempt to remove it `removed` or `failed`.
        remove: Removes it; returns why it stays after all, or nothing.
    """

    kind: str
    name: str
    why: str
    fate: str = "garbage"
    remove: Callable[[], Awaitable[str]] | None = field(default=None, repr=False, compare=False)


class Garbage:
    """Finds and removes what is left of former configurations of one deployment.

    Args:
        config: The configuration that says what belongs.
        runtime: The engine.
        connection: Where the state lives.
    """

    def __init__(self, config: Config, runtime: Runtime, connection: Connection) -> None:
        self._config = config
        self._runtime = runtime
        self._connection = connection
        self._slots = {pool: {slot.id for slot in config.slots(pool)} for pool in config.pools}
        self._seen: set[tuple[str, str]] = set()
        self._log = log.bind(deployment=config.deployment)

    async def look(self) -> list[Item]:
        """Return what is garbage, and what would be but for a reason, in the order in which it is removed.

        Raises:
            EngineError, StoreError: The engine or Redis did not answer.
        """
        containers = await self._runtime.list(self._config.deployment)
        return [
            *await self._containers(containers),
            *await self._pools({container.pool for container in containers}),
            *await self._networks(),
            *await self._images(),
            *await self._bundles(),
            *await self._keys(),
        ]

    async def remove(self, items: Sequence[Item]) -> list[Item]:
        """Remove what is garbage among the items; returns them with what became of each."""
        done: list[Item] = []
        places = asyncio.Semaphore(_AT_ONCE)
        for kind in dict.fromkeys(item.kind for item in items):  # a network goes only after what is connected to it
            alike = [item for item in items if item.kind == kind]
            done += await asyncio.gather(*(self._remove(item, places) for item in alike))
        return done

    async def sweep(self) -> None:
        """Remove what was garbage the last time already: another manager may have been away for a moment only.

        Raises:
            EngineError, StoreError: The engine or Redis did not answer.
        """
        items = [item for item in await self.look() if item.fate == "garbage"]
        old = [item for item in items if (item.kind, item.name) in self._seen]
        self._seen = {(item.kind, item.name) for item in items}
        await self.remove(old)

    async def _remove(self, item: Item, places: asyncio.Semaphore) -> Item:
        if item.remove is None or item.fate != "garbage":
            return item
        try:
            async with places:
                stays = await item.remove()
        except PoolError as error:
            self._log.warning("garbage.not_removed", kind=item.kind, name=item.name, why=error.message)
            return replace(item, fate="failed", why=error.message)
        if stays:
            return replace(item, fate="kept", why=stays)
        self._log.info("garbage.removed", kind=item.kind, name=item.name, why=item.why)
        return replace(item, fate="removed")

    # Containers

    async def _containers(self, containers: Iterable[EngineContainer]) -> list[Item]:
        items, holders = [], []
        for container in containers:
            pool, container_id = container.pool, container.id or container.holds
            if container_id in self._slots.get(pool, ()):
                continue
            status, record = await self._look_up(pool, container_id)
            why = f"pool {pool!r} has no container {container_id!r}"
            if pool not in self._slots:
                why = f"the configuration has no pool {pool!r}"
            reason = _reason_to_keep(status, record)
            if container.holds:
                holders.append(_item("holder", container.name, why, reason, partial(self._remove_holder, container)))
            else:
                remove = partial(self._remove_container, container)
                items.append(_item("container", container.name, why, reason, remove))
        return items + holders  # what joined a holder goes first

    async def _status(self, pool: str) -> PoolStatus | None:
        try:
            return await PoolStore(self._connection, pool).status()
        except (UnknownPool, InvalidRequest):  # a label may say anything
            return None

    async def _look_up(self, pool: str, container_id: str) -> tuple[PoolStatus | None, ContainerRecord | None]:
        """Return a pool and a container of it, as far as Redis knows them."""
        status = await self._status(pool)
        records = status.containers if status else ()
        return status, next((record for record in records if record.id == container_id), None)

    async def _remove_container(self, container: EngineContainer) -> str:
        """Take a container out of rotation if it is in one, keep evidence if that is wanted, stop it, remove it."""
        status, record = await self._look_up(container.pool, container.id)
        if reason := _reason_to_keep(status, record):
            return reason
        if record and record.state in IDLE_STATES:
            note = {"note": "it is being removed as garbage"}
            if not await PoolStore(self._connection, container.pool).transition(record, State.STOPPED, store=note):
                return "somebody took it meanwhile"
        await self._keep_evidence(container, record)
        try:
            if container.state is EngineState.PAUSED:
                await self._runtime.unpause(container.ref)
            await self._runtime.stop(container.ref, grace_s=_GRACE_S)
        except EngineError as error:  # it has ended, or does not listen: it goes anyway
            self._log.info("garbage.not_stopped", name=container.name, why=error.message)
        await self._runtime.remove(container.ref)
        return ""

    async def _remove_holder(self, holder: EngineContainer) -> str:
        """Remove what kept the network of a container, unless somebody uses that after all."""
        reason = _reason_to_keep(*await self._look_up(holder.pool, holder.holds))
        if not reason:
            await self._runtime.remove(holder.ref)
        return reason

    async def _keep_evidence(self, container: EngineContainer, record: ContainerRecord | None) -> None:
        """Keep evidence as the container's pool says, or, if it is not configured, as the first pool that wants any."""
        pools = self._config.pools
        wanting = [pool for pool in pools if "removed" in pools[pool].evidence.causes]
        like = container.pool if container.pool in pools else next(iter(wanting), None)
        if like is None or not container.pool or not container.id:
            return
        store = PoolStore(self._connection, container.pool)
        keeper = EvidenceKeeper(self._config, container.pool, self._runtime, store, like=like)
        info = ContainerInfo(container.id, container.name, "", {}, "", generation=container.generation)
        record = record or ContainerRecord(info, State.STOPPED, revision=0, fence=0, since=0)
        await keeper.keep("removed", record, container, "it was removed as garbage")

    # Books

    async def _pools(self, seen: set[str]) -> list[Item]:
        """Find pools of ours in Redis that are not configured: by the deployment that they say, or by a container."""
        items = []
        for pool in await pool_names(self._connection):
            status = None if pool in self._slots else await self._status(pool)
            if status is None or (status.deployment != self._config.deployment and pool not in seen):
                continue
            reason = next((why for record in status.containers if (why := _reason_to_keep(status, record))), "")
            why = "the configuration has no such pool"
            items.append(_item("pool", pool, why, reason, PoolStore(self._connection, pool).retire))
        return items

    async def _keys(self) -> list[Item]:
        items = []
        for pool, names in (await find_orphans(self._connection)).items():
            if pool not in self._slots:
                remove = partial(forget_orphans, self._connection, pool, names)
                why = f"{len(names)} keys of a pool that is gone"
                items.append(Item("keys", f"cp:{{{pool}}}:*", why, remove=remove))
        return items

    # What else the engine has

    async def _networks(self) -> list[Item]:
        deployment = self._config.deployment
        own = any(options.container.network is None for options in self._config.pools.values())
        items = []
        for network in await self._runtime.list_networks(deployment):
            if not own or network.name != f"{LABEL}-{deployment}":
                remove = partial(self._remove_network, network.ref)
                items.append(Item("network", network.name, "no pool of the configuration uses it", remove=remove))
        return items

    async def _remove_network(self, ref: str) -> str:
        return "" if await self._runtime.discard_network(ref) else "something is connected to it"

    async def _images(self) -> list[Item]:
        """Find dangling images, and those kept as evidence for longer than any bundle is.

        The bundle itself may lie on another manager's host, so that it is not seen here proves nothing.
        """
        items = []
        oldest = time.time() - self._longest_keep_s()
        for image in await self._runtime.list_images():
            if image.labels.get(LABEL_EVIDENCE, self._config.deployment) != self._config.deployment:
                continue
            if not image.tags:
                why = "it is dangling: no name leads to it"
            elif LABEL_EVIDENCE in image.labels and all(_collected_before(tag, oldest) for tag in image.tags):
                why = "it was kept as evidence for longer than bundles are"
            else:
                continue
            names = image.tags or (image.ref,)
            items += [Item("image", name, why, remove=partial(self._remove_image, name)) for name in names]
        return items

    async def _remove_image(self, ref: str) -> str:
        return "" if await self._runtime.discard_image(ref) else "a container or another image uses it"

    def _longest_keep_s(self) -> float:
        return max(options.evidence.keep_s for options in self._config.pools.values())

    # Evidence

    async def _bundles(self) -> list[Item]:
        return await asyncio.to_thread(self._find_bundles, time.time())

    def _find_bundles(self, now: float) -> list[Item]:
        items = []
        for pool, options in self._config.pools.items():
            store = PoolStore(self._connection, pool)
            keeper = EvidenceKeeper(self._config, pool, self._runtime, store)
            limit = f"older than {options.evidence.keep_days:g} days, or beyond {options.evidence.max_mb} MB in all"
            items += [self._bundle_item(bundle, limit) for bundle in keeper.overdue(now)]
        roots = [evidence_root(self._config, pool) for pool in self._config.pools]
        for bundle in find_bundles(roots):
            former = bundle.path.parent.name not in self._config.pools
            ours = bundle.path.parent.parent.name == self._config.deployment
            if former and ours and bundle.at < now - self._longest_keep_s():
                items.append(self._bundle_item(bundle, "old, and of a pool that the configuration does not have"))
        return items

    def _bundle_item(self, bundle: Bundle, why: str) -> Item:
        return Item("evidence", bundle.id, why, remove=partial(self._remove_bundle, bundle))

    async def _remove_bundle(self, bundle: Bundle) -> str:
        if bundle.image and not await self._runtime.discard_image(bundle.image):
            return f"something uses its image {bundle.image}"
        return "" if await asyncio.to_thread(discard, bundle.path) else "it could not be deleted"


def _item(kind: str, name: str, why: str, reason: str, remove: Callable[[], Awaitable[str]]) -> Item:
    """Return garbage, or what would be garbage but for a reason."""
    return Item(kind, name, reason, "kept") if reason else Item(kind, name, why, remove=remove)


def _reason_to_keep(status: PoolStatus | None, record: ContainerRecord | None) -> str:
    """Say why a container must stay although no configuration knows it; nothing if it need not."""
    if status and status.manager:
        return f"its pool is managed by {status.manager}"
    if record and record.state is State.ALLOCATED:
        return f"it is leased by {record.owner!r}"
    if record and record.state is State.QUARANTINED:
        return f"it is quarantined: {record.note or 'by an operator'}"
    return ""


def _collected_before(tag: str, at: float) -> bool:
    """Tell whether the bundle that an image belongs to is older than a moment; False for any other name."""
    moment = Bundle.moment(tag.rpartition(":")[2])
    return moment is not None and moment < at
