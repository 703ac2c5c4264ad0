"""Holders: tiny containers that keep network and published ports of slots, whose own containers come and go.

A container that joins another one needs no network of its own at each start, which is most of what a start takes. It is
cut off when its holder ends, and also when that is started again: then it must be restarted, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from pool.config import Config, Slot
from pool.errors import ContainerGone, EngineError, EngineUnavailable, NameTaken, PortTaken
from pool.ports import ContainerSpec, EngineContainer, EngineState, Runtime

_RUNS = (EngineState.RUNNING, EngineState.PAUSED)  # a frozen holder holds as well

log = structlog.get_logger()


class Holders:
    """The holders of one pool.

    Args:
        config: The whole configuration.
        pool: The pool's name.
        runtime: The engine.
    """

    def __init__(self, config: Config, pool: str, runtime: Runtime) -> None:
        self.wanted = config.pools[pool].slot == "held"
        self._config = config
        self._runtime = runtime
        self._known: dict[str, EngineContainer] = {}
        self._doubtful: set[str] = set()
        self._log = log.bind(pool=pool)

    def note(self, holder: EngineContainer) -> None:
        """Remember a holder that the engine has, unless a slot's is known already: that one may be newer."""
        self._known.setdefault(holder.holds, holder)

    def doubt(self, slot_id: str) -> None:
        """Take another holder the next time: what joined this one was not healthy."""
        self._doubtful.add(slot_id)

    def ports(self, slot_id: str, container: EngineContainer) -> Mapping[int, int]:
        """Return where a slot's container is published: by itself, or by the holder that it joins."""
        holder = self._known.get(slot_id)
        return holder.ports if holder is not None and container.joins == holder.ref else container.ports

    def address(self, slot_id: str, container: EngineContainer) -> str:
        """Return where the network of a slot's container reaches it: its own, or that of the holder that it joins."""
        holder = self._known.get(slot_id)
        return holder.address if holder is not None and container.joins == holder.ref else container.address

    async def prepare(self, slot: Slot) -> str:
        """Make sure that a slot has the holder that it is to have, and no other one.

        Returns:
            The holder, which runs, for a container to join; empty where slots are not held.

        Raises:
            PortTaken: A port is in use.
            EngineError: It cannot be started, or removed.
        """
        holder = await self._current(slot)
        if holder is not None and not self._fits(slot, holder):
            await self._remove(slot, holder)
            holder = None
        if not self.wanted:
            return ""
        if holder is not None and holder.state not in _RUNS:
            holder = await self._started_again(slot, holder)
        if holder is None:
            holder = await self._make(slot)
        self._doubtful.discard(slot.id)
        self._known[slot.id] = holder
        return holder.ref

    async def problem(self, container: EngineContainer) -> str:
        """Say why a container is cut off from its network, if it is: with what the engine says of its holder.

        Raises:
            EngineUnavailable: The engine is away.
        """
        if not container.joins:
            return ""
        try:
            holder = await self._runtime.inspect(container.joins)
        except ContainerGone:
            return "the holder of its network is gone"
        if holder.state not in _RUNS:
            return f"the holder of its network is {holder.state}"
        known = self._known.get(container.id)
        seen = known.started_at if known is not None and known.ref == holder.ref else holder.started_at
        if seen != holder.started_at or holder.started_s > container.started_s:
            return "the holder of its network was started anew by somebody else"
        return ""

    def is_news(self, slot_id: str, ref: str, at: float) -> bool:
        """Whether something that happened to a holder happened to the slot's present one, since its last start.

        Args:
            slot_id: The slot.
            ref: The holder.
            at: When, in seconds since the epoch by the engine's clock.
        """
        known = self._known.get(slot_id)
        return known is not None and known.ref == ref and at > known.started_s

    async def _current(self, slot: Slot) -> EngineContainer | None:
        known = self._known.get(slot.id)
        if known is None:
            return None
        try:
            return await self._runtime.inspect(known.ref)
        except ContainerGone:
            del self._known[slot.id]
            return None

    def _fits(self, slot: Slot, holder: EngineContainer) -> bool:
        if not self.wanted or slot.id in self._doubtful:
            return False
        cut_off = holder.state in _RUNS and bool(slot.inside) and not (holder.ports if slot.ports else holder.address)
        return not cut_off and holder.spec == ContainerSpec.of_holder(self._config, slot).spec

    async def _remove(self, slot: Slot, holder: EngineContainer) -> None:
        await self._runtime.remove(holder.ref)
        self._known.pop(slot.id, None)
        self._log.info("holder.removed", container=slot.id, name=holder.name)

    async def _started_again(self, slot: Slot, holder: EngineContainer) -> EngineContainer | None:
        """Start a holder that has ended; what joined it can join it again. None if it had to be removed."""
        try:
            return await self._runtime.start(holder.ref)
        except (EngineUnavailable, PortTaken):
            raise
        except EngineError as error:
            self._log.warning("holder.not_started", container=slot.id, why=error.message)
            await self._remove(slot, holder)
            return None

    async def _make(self, slot: Slot) -> EngineContainer:
        spec = ContainerSpec.of_holder(self._config, slot)
        try:
            created = await self._runtime.create(spec)
        except NameTaken:
            await self._remove_unknown(slot)
            created = await self._runtime.create(spec)
        try:
            return await self._runtime.start(created.ref)
        except BaseException:
            await asyncio.shield(self._runtime.remove(created.ref))
            raise

    async def _remove_unknown(self, slot: Slot) -> None:
        """Remove holders of a slot that were made by an attempt which was cut short."""
        for found in await self._runtime.list(self._config.deployment):
            if found.holds == slot.id and found.pool == slot.pool:
                await self._remove(slot, found)
