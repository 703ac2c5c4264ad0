"""What operators may want of a pool and its containers; each wish is told, and so is each that is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pool.allocator.requests import check_reason
from pool.errors import ContainerChanged, InvalidRequest, UnknownContainer, WrongState
from pool.models import ContainerRecord, PoolStatus, ResetLevel, ResetReason, State
from pool.redaction import redact
from pool.states import IDLE_STATES, TRANSITIONS
from pool.store import PoolStore

#: How often an operator's wish follows a container that is being moved by others.
_TRIES = 10


def find_container(containers: Iterable[ContainerRecord], container_id: str) -> ContainerRecord:
    """Return a container by id.

    Raises:
        UnknownContainer: There is none; the hint lists those that there are.
    """
    known = {record.id: record for record in containers}
    if container_id not in known:
        hint = f"containers: {', '.join(known) or 'none'}"
        raise UnknownContainer(f"there is no container {container_id!r}", hint=hint)
    return known[container_id]


def pool_with(statuses: Sequence[PoolStatus], container_id: str) -> PoolStatus:
    """Return the pool that has a container.

    Raises:
        UnknownContainer: None has; the hint lists the containers there are.
        InvalidRequest: Several have.
    """
    found = [status for status in statuses if any(record.id == container_id for record in status.containers)]
    if not found:
        find_container((record for status in statuses for record in status.containers), container_id)
    if len(found) > 1:
        names = ", ".join(status.pool for status in found)
        raise InvalidRequest("pool", None, f"each of these has a container {container_id!r}, so name one: {names}")
    return found[0]


@dataclass(frozen=True, slots=True)
class Order:
    """Whose wish something is, for the events and the audit.

    Attributes:
        by: Who wants it: user and host, or the name of an API token.
        why: The reason, if one is given.
        revision: Of the container, as whoever wants it has seen it: nothing is done once it is another. None where
            that does not matter.
    """

    by: str = ""
    why: str = ""
    revision: int | None = None

    @property
    def facts(self) -> dict[str, str]:
        """What events say of it."""
        return {name: redact(value) for name, value in (("by", self.by), ("why", self.why)) if value}

    async def find(self, store: PoolStore, container_id: str) -> ContainerRecord:
        """Return the container as it is now.

        Raises:
            UnknownContainer: The pool has no such container.
            ContainerChanged: It is not any more what was seen.
        """
        record = find_container((await store.status()).containers, container_id)
        if self.revision is not None and record.revision != self.revision:
            holder = f", leased by {record.owner!r}" if record.state is State.ALLOCATED else ""
            raise ContainerChanged(
                f"container {container_id!r} changed meanwhile: now it is {record.state}{holder}",
                hint="nothing was done; look at it again",
            )
        return record


NOBODYS = Order()


@asynccontextmanager
async def _refusals_told(store: PoolStore, order: Order, what: str, container_id: str) -> AsyncIterator[None]:
    """Have the pool's events say so when an operator is refused: who wanted what, and why it was not done."""
    if order.why:
        check_reason(order.why)
    try:
        yield
    except (WrongState, UnknownContainer) as error:
        told = {"action": what, **({"container": container_id} if container_id else {}), "error": error.message}
        await store.tell("operator.refused", told | order.facts)
        raise


async def request_drain(store: PoolStore, container_id: str = "", *, order: Order = NOBODYS) -> None:
    """Let a container, or without an id the whole pool, take no new lease until `request_resume`.

    Raises:
        UnknownPool, UnknownContainer: There is none.
        InvalidRequest: The reason is none.
    """
    async with _refusals_told(store, order, "drain", container_id):
        if container_id:
            await order.find(store, container_id)
            await store.drain_container(container_id, order.facts)
            return
        await store.status()  # tells a pool that is not known from one without leases
        await store.drain(by="operator", facts=order.facts)


async def request_resume(store: PoolStore, container_id: str = "", *, order: Order = NOBODYS) -> None:
    """Lend a draining container, or without an id the draining pool, again.

    Raises:
        UnknownPool, UnknownContainer: There is none.
        InvalidRequest: The reason is none.
    """
    async with _refusals_told(store, order, "resume", container_id):
        if container_id:
            await order.find(store, container_id)
        await store.resume(container_id, order.facts)


async def request_quarantine(
    store: PoolStore,
    container_id: str,
    reason: str,
    *,
    force: bool = False,
    by: str = "",
    revision: int | None = None,
) -> None:
    """Take a container out of rotation and keep it as it is until `request_restore`.

    Args:
        store: The container's pool.
        container_id: Which one.
        reason: Why; it is shown, and kept.
        force: Even if it is leased: its holder loses it, and is told.
        by: Who wants it.
        revision: Of the container, as it was seen; see `Order`.

    Raises:
        UnknownContainer: The pool has no such container.
        ContainerChanged: It is not any more what was seen.
        InvalidRequest: The reason is none.
        WrongState: It is leased, or quarantined already.
    """
    check_reason(reason)

    def needed(record: ContainerRecord) -> bool:
        if record.state is State.ALLOCATED and not force:
            raise WrongState(
                f"container {container_id!r} is leased by {record.owner!r}",
                hint="wait until it is given back (`poolctl drain` keeps it from the next one), or use force",
            )
        if State.QUARANTINED not in TRANSITIONS[record.state]:
            why = f": {record.note}" if record.note else ""
            raise WrongState(f"container {container_id!r} is {record.state} already{why}")
        return True

    order = Order(by, reason, revision)
    async with _refusals_told(store, order, "quarantine", container_id):
        await _move(store, container_id, State.QUARANTINED, needed, order=order, note=redact(reason))


async def _move(
    store: PoolStore,
    container_id: str,
    state: State,
    needed: Callable[[ContainerRecord], bool],
    *,
    order: Order,
    note: str | None = None,
) -> None:
    """Move a container by hand, even if others move it meanwhile.

    Args:
        store: The container's pool.
        container_id: Which one.
        state: Where to.
        needed: Whether the container, as it is now, is to be moved at all; refuses what must not be.
        order: Whose wish it is.
        note: What to keep with the container; None for what is there.

    Raises:
        UnknownContainer: The pool has no such container.
        WrongState: It must not be moved, or others do so all the time.
    """
    kept = {"reason": ResetReason.MANUAL.value, **({"note": note} if note is not None else {})}
    for _ in range(_TRIES):
        record = await order.find(store, container_id)
        if not needed(record) or await store.transition(record, state, store=kept, facts=order.facts):
            return
    raise WrongState(f"container {container_id!r} changes its state all the time", hint="try again")


async def request_restore(store: PoolStore, container_id: str, *, order: Order = NOBODYS) -> None:
    """Have the manager recreate a quarantined container, verify it, and lend it again.

    Raises:
        UnknownContainer: The pool has no such container.
        WrongState: It is not quarantined.
        InvalidRequest: The reason is none.
    """
    async with _refusals_told(store, order, "restore", container_id):
        record = await order.find(store, container_id)
        if record.state is not State.QUARANTINED:
            hint = "`poolctl reset` resets any that is free"
            raise WrongState(f"container {container_id!r} is {record.state}, not quarantined", hint=hint)
        await _reset(store, container_id, ResetLevel.RECREATE, order)


async def request_pause(store: PoolStore, container_id: str, *, order: Order = NOBODYS) -> None:
    """Have the manager freeze a free container until `request_unpause`.

    It is drained, too, so that it is thawed for nobody who waits; no spare takes its place.

    Raises:
        UnknownContainer: The pool has no such container.
        InvalidRequest: The reason is none.
        WrongState: It is not free.
    """

    def needed(record: ContainerRecord) -> bool:
        if record.state not in (State.AVAILABLE, State.PAUSED):
            raise WrongState(f"container {container_id!r} is {record.state}, not free", hint="wait until it is")
        return not record.kept_frozen

    async with _refusals_told(store, order, "pause", container_id):
        await _move(store, container_id, State.PAUSED, needed, order=order)
        await store.drain_container(container_id, order.facts)


async def request_unpause(store: PoolStore, container_id: str, *, order: Order = NOBODYS) -> None:
    """Put a paused container back into rotation; the manager thaws it, or leaves that to who asks for it.

    Raises:
        UnknownContainer: The pool has no such container.
        InvalidRequest: The reason is none.
        WrongState: It is not paused.
    """
    async with _refusals_told(store, order, "unpause", container_id):
        record = await order.find(store, container_id)
        if record.state is not State.PAUSED:
            raise WrongState(f"container {container_id!r} is {record.state}, not paused")
        await store.resume(container_id, order.facts)


async def request_reset(store: PoolStore, container_id: str, level: ResetLevel, *, order: Order = NOBODYS) -> None:
    """Have the manager reset a container that nobody holds.

    Raises:
        UnknownContainer: The pool has no such container.
        WrongState: It is leased, or being reset already.
        InvalidRequest: The reason is none.
    """
    async with _refusals_told(store, order, "reset", container_id):
        await _reset(store, container_id, level, order)


async def _reset(store: PoolStore, container_id: str, level: ResetLevel, order: Order) -> None:
    record = await order.find(store, container_id)
    facts: dict[str, str | int] = {"reason": ResetReason.MANUAL.value, "level": int(level), "note": "", "failures": 0}
    free = record.state in (*IDLE_STATES, State.PAUSED, State.UNHEALTHY, State.QUARANTINED, State.STOPPED)
    if not free or not await store.transition(record, State.RESETTING, store=facts, facts=order.facts):
        holder = f" by {record.owner!r}" if record.owner else ""
        raise WrongState(
            f"container {container_id!r} is {record.state}{holder} and cannot be reset now",
            hint="wait until it is available again; `poolctl status` shows when a lease ends",
        )
