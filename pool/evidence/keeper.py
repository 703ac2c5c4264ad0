"""When evidence is kept, and for how long."""

from __future__ import annotations

import asyncio
import time

import structlog

from pool.config import Cause, Config
from pool.errors import PoolError
from pool.evidence.bundle import Bundle, Shelf, discard, evidence_root
from pool.evidence.collect import Collected, Collector
from pool.models import ContainerRecord, Outcome, ResetLevel, ResetReason, rfc3339
from pool.ports import EngineContainer, Runtime, newest
from pool.store import PoolStore

#: Name of the images that are kept; the tag is the bundle's id.
_IMAGE = "containerpool-evidence"

log = structlog.get_logger()


class EvidenceKeeper:
    """Keeps evidence of the containers of one pool. What it cannot do, it logs: no recovery fails because of it.

    Args:
        config: The whole configuration.
        pool: The pool's name.
        runtime: The engine.
        store: The pool in Redis, for events.
        like: The pool whose options count, for a pool that is not configured any more.
    """

    def __init__(
        self, config: Config, pool: str, runtime: Runtime, store: PoolStore, *, like: str | None = None
    ) -> None:
        self._options = config.pools[like or pool].evidence
        self._deployment = config.deployment
        self._pool = pool
        self._runtime = runtime
        self._store = store
        self._shelf = Shelf(evidence_root(config, like or pool), config.deployment, pool)
        self._collector = Collector(runtime, self._options)
        #: Container → the revision in which evidence was kept of it last: a step that is repeated needs none again.
        self._seen: dict[str, int] = {}
        #: Containers that were kept as not clean already during the reset that goes on.
        self._unclean: set[str] = set()
        self._log = log.bind(pool=pool)

    async def before_reset(self, record: ContainerRecord, container: EngineContainer | None) -> None:
        """Keep evidence before the first attempt of a reset, if it is a recovery that is configured."""
        if record.level is not ResetLevel.NONE or self._seen.get(record.id) == record.revision:
            return
        self._seen[record.id] = record.revision
        self._unclean.discard(record.id)
        cause = cause_of(record)
        if cause is not None:
            await self.keep(cause, record, container, record.note)

    async def not_clean(self, record: ContainerRecord, container: EngineContainer | None, problem: str) -> None:
        """Keep evidence of a container that an attempt did not get clean: once for each reset, at the first one."""
        if record.id not in self._unclean:
            self._unclean.add(record.id)
            await self.keep("not_clean", record, container, problem)

    async def keep(
        self, cause: Cause, record: ContainerRecord, container: EngineContainer | None, note: str
    ) -> Bundle | None:
        """Collect a bundle if the cause is configured; returns it, or None.

        Args:
            cause: Why.
            record: The container as the store knows it.
            container: The container as the engine showed it last; looked for if None.
            note: What happened, in words.
        """
        if cause not in self._options.causes:
            return None
        try:
            container = container or newest(await self._runtime.list(self._deployment), record.id)
            if container is None:
                return None
            bundle = await self._collect(cause, record, container, note)
            self._log.info("container.evidence", container=record.id, evidence=bundle.id, cause=cause)
            facts = {"container": record.id, "evidence": bundle.id, "cause": cause, "bytes": str(bundle.size_bytes)}
            await self._store.tell("container.evidence", facts)
            await self.prune()
        except (PoolError, OSError) as error:
            self._log.warning("evidence.not_kept", container=record.id, cause=cause, why=_why(error))
            return None
        return bundle

    async def _collect(self, cause: Cause, record: ContainerRecord, container: EngineContainer, note: str) -> Bundle:
        at, began = time.time(), time.monotonic()
        bundle_id, folder = await asyncio.to_thread(self._shelf.begin, record.id, at)
        try:
            collected = await self._collector.collect(container, folder, image=f"{_IMAGE}:{bundle_id}")
            facts = self._facts(cause, record, container, collected)
            facts |= {"note": note, "taken_at": rfc3339(at), "took_s": round(time.monotonic() - began, 3)}
            return await asyncio.to_thread(self._shelf.finish, bundle_id, folder, facts)
        finally:
            if folder.exists():  # it was cut short
                await asyncio.to_thread(discard, folder)

    def _facts(
        self, cause: Cause, record: ContainerRecord, container: EngineContainer, collected: Collected
    ) -> dict[str, object]:
        last = {
            "request_id": record.request_id or record.last_request_id,
            "owner": record.owner or record.last_owner,
            "outcome": record.outcome.value if record.outcome else None,
        }
        return {
            "deployment": self._deployment,
            "pool": self._pool,
            "container": record.id,
            "name": container.name,
            "generation": container.generation,
            "cause": cause,
            "state": container.state.value,
            "exit_code": container.exit_code,
            "oom_killed": container.oom_killed,
            "lease": last if last["request_id"] else None,
            "image": collected.image or None,
            "missing": [{"what": what, "why": why} for what, why in collected.missing],
        }

    async def prune(self) -> list[Bundle]:
        """Remove bundles that are too old or too much, their images too; returns those that are gone.

        Raises:
            EngineError: An image could not be removed; its bundle stays.
        """
        now = time.time()
        await asyncio.to_thread(self._shelf.remove_unfinished, now)
        gone = []
        for bundle in await asyncio.to_thread(self.overdue, now):
            if bundle.image:
                await self._runtime.discard_image(bundle.image)
            if await asyncio.to_thread(discard, bundle.path):
                gone.append(bundle)
        if gone:
            self._log.info("evidence.removed", bundles=len(gone))
        return gone

    def overdue(self, now: float) -> list[Bundle]:
        """Return the bundles that `prune` removes, at a time in seconds since the epoch. Blocks."""
        return self._shelf.overdue(now=now, keep_s=self._options.keep_s, max_bytes=self._options.max_mb << 20)


def cause_of(record: ContainerRecord) -> Cause | None:
    """Return why a container is recovered; None where its reset is no recovery."""
    match record.reason, record.outcome:
        case ResetReason.ON_EXPIRY, _:
            return "expired"
        case ResetReason.ON_HEALTH_FAILURE, _:
            return "unhealthy"
        case ResetReason.ON_RELEASE, Outcome.FAILED:
            return "failed"
        case ResetReason.ON_RELEASE, Outcome.ERROR:
            return "error"
    return None


def _why(error: PoolError | OSError) -> str:
    return error.message if isinstance(error, PoolError) else str(error)
