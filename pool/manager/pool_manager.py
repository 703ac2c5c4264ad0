"""The manager of one pool: claims it or stands by, runs its loops, and leaves cleanly."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import structlog

from pool.analytics import Recorder
from pool.audit import AuditFile, Auditor
from pool.config import Config
from pool.degradation import Degradation
from pool.errors import ConfigError, EngineError, StoreError, UnknownPool
from pool.evidence import EvidenceKeeper
from pool.health import HealthReport, Prober
from pool.manager.adoption import Adoption
from pool.manager.crew import Crew
from pool.manager.freezer import Freezer
from pool.manager.garbage import Garbage
from pool.manager.listener import EngineListener
from pool.manager.sampling import Sampler
from pool.manager.watch import HealthWatch
from pool.models import State
from pool.ports import Runtime
from pool.reaper import reap_all
from pool.reset import Resetter
from pool.store import ACCESS, Connection, PoolSettings, PoolStore, WakeListener, retrying

#: How often the work list is read although no hint came.
_WORK_POLL_S = 1.0
_STANDBY_POLL_S = 0.5
_ANNOUNCE_POLL_S = 0.02
_DRAIN_POLL_S = 0.1
_DEGRADATION_INTERVAL_S = 1.0
_GARBAGE_INTERVAL_S = 3600.0
_AUDIT_INTERVAL_S = 1.0
_METRICS_INTERVAL_S = 1.0

log = structlog.get_logger()


class _ClaimLost(Exception):
    """Another manager may have the pool by now."""


class Ending:
    """How managers are told to end."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.remove = False

    def request(self, *, remove: bool = False) -> None:
        """End, and with `remove` also take down containers and pools."""
        self.remove = remove
        self.requested.set()


class PoolManager:
    """Manages one pool until it is told to stop.

    Args:
        config: The whole configuration.
        pool: The pool's name.
        runtime: The engine.
        connection: Where the state lives.
    """

    def __init__(self, config: Config, pool: str, runtime: Runtime, connection: Connection) -> None:
        self.ready = asyncio.Event()
        self._config = config
        self._options = config.pools[pool]
        self._timing = config.manager
        self._runtime = runtime
        self._connection = connection
        self._store = PoolStore(connection, pool)
        self._id = secrets.token_hex(8)
        self._name = f"{socket.gethostname()} pid {os.getpid()}"
        self._claimed_until = 0.0
        self._told: dict[str, str] = {}
        self._log = log.bind(pool=pool)
        self._auditor = self._make_auditor()
        self._recorder = Recorder(connection, pool, config.analytics)

    @property
    def _first(self) -> bool:
        """Whether this is the manager that does what one of a deployment's is enough for."""
        return self._store.pool == min(self._config.pools)

    def _make_auditor(self) -> Auditor:
        options = self._config.audit
        file = AuditFile(options.file, self._tell) if options.file else None
        others = [ACCESS] if self._first else []
        return Auditor(self._connection, self._store.pool, keep=options.keep, file=file, others=others)

    def _count_check(self, report: HealthReport) -> None:
        """Count a regular check: one that passes for each of its probes, one that fails for that which failed."""
        asked = self._options.health
        probes = [name for name, probe in (("tcp", asked.tcp), ("http", asked.http)) if probe is not None]
        for probe in [*probes, "engine"] if report.healthy else [report.probe]:
            self._recorder.books.note("pool_health_checks_total", probe, "passed" if report.healthy else "failed")

    async def run(self, ending: Ending) -> None:
        """Manage the pool until the end is requested.

        Resets in progress may then finish within the configured grace. If all is to be removed, holders may finish
        too; then containers and pool go.

        Raises:
            PoolError: The pool cannot be started as configured: an image, a port, a name, whose it is.
        """
        while await self._claim(ending.requested):
            try:
                await self._lead(ending)
            except _ClaimLost:
                self._log.warning("manager.claim_lost")

    # The claim

    def _leading(self) -> bool:
        """Whether our claim holds, judged on our own clock from the last time that Redis confirmed it."""
        return time.monotonic() < self._claimed_until

    async def _try_claim(self) -> str:
        """Claim the pool or renew the claim; returns the leader's name if that is not us."""
        asked_at = time.monotonic()
        claim = await self._store.lead(self._id, ttl_s=self._timing.claim_ttl_s, info=self._name)
        if claim.leading:
            self._claimed_until = asked_at + self._timing.claim_ttl_s
            return ""
        self._claimed_until = 0.0
        return claim.leader

    async def _claim(self, stop: asyncio.Event) -> bool:
        """Stand by until the pool is ours; returns False if we are to stop before."""
        while not stop.is_set():
            try:
                await self._check_owner()
                leader = await self._try_claim()
            except StoreError as error:
                self._tell("manager.redis_away", error.message)
            else:
                self._tell("manager.redis_away", "")
                self._tell("manager.standby", f"{leader} manages the pool" if leader else "")
                if not leader:
                    self._log.info("manager.active", manager=self._name)
                    return True
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _STANDBY_POLL_S)
        return False

    async def _check_owner(self) -> None:
        """Refuse a pool that another deployment has: it would get our containers, and its own would be nobody's.

        Raises:
            ConfigError: It has; names both.
        """
        ours, theirs = self._config.deployment, await self._store.deployment()
        if theirs not in ("", ours):
            raise ConfigError(
                f"pools.{self._store.pool}: in this Redis, it is a pool of deployment {theirs!r}, and this is {ours!r}",
                hint="choose another name for it; if the deployment was renamed, take it down under its old name first "
                "(`poolctl serve --remove`)",
            )

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._timing.claim_ttl_s / 4)
            try:
                if await self._try_claim():
                    raise _ClaimLost
            except StoreError as error:
                self._tell("manager.redis_away", error.message)
                if not self._leading():
                    raise _ClaimLost from error
            else:
                self._tell("manager.redis_away", "")

    # Leading

    async def _lead(self, ending: Ending) -> None:
        renewing = asyncio.create_task(self._renew())
        prober = Prober(self._runtime, self._options.health)
        resetter = Resetter(self._config, self._store.pool, self._runtime, self._store, prober.wait_healthy)
        evidence = EvidenceKeeper(self._config, self._store.pool, self._runtime, self._store)
        crew = Crew(self._config, self._store.pool, self._runtime, self._store, resetter, evidence, self._leading)
        freezer = Freezer(self._options.pause_after_s, self._runtime, self._store, crew)
        wake = WakeListener(self._connection, "manager")
        try:
            await self._run_loops(renewing, prober, resetter, crew, freezer, wake, ending.requested)
            if ending.remove:
                await self._dissolve()
        finally:
            await freezer.close()
            await crew.finish(grace_s=self._timing.stop_grace_s if self._leading() else 0)
            if ending.remove and self._leading():
                await self._remove()
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            await wake.close()
            await resetter.close()
            with suppress(StoreError):
                await self._auditor.look()
                await self._recorder.close()
            with suppress(StoreError):
                await self._store.resign(self._id)
            self._log.info("manager.stopped")

    async def _run_loops(
        self,
        renewing: asyncio.Task[None],
        prober: Prober,
        resetter: Resetter,
        crew: Crew,
        freezer: Freezer,
        wake: WakeListener,
        stop: asyncio.Event,
    ) -> None:
        watch = HealthWatch(self._options.health, self._store, self._runtime, prober, crew, self._count_check)
        listener = EngineListener(self._runtime, self._config.deployment, self._store.pool, watch, self._tell)
        cpus, interval_s = self._options.container.cpus, self._options.health.interval_s
        sampler = Sampler(self._options.thresholds, cpus, self._store, self._runtime, crew, interval_s=interval_s)
        adoption = Adoption(self._config, self._store.pool, self._runtime, self._store, resetter, crew, watch)
        degradation = Degradation(self._options.degradation, self._store)
        await self._open(adoption)
        sweeps = []
        if self._first:
            garbage = Garbage(self._config, self._runtime, self._connection)
            sweeps.append(self._every(_GARBAGE_INTERVAL_S, "garbage", garbage.sweep))
        loops = [
            *sweeps,
            self._every(self._timing.reap_interval_s, "reaper", lambda: reap_all(self._store)),
            self._every(interval_s, "health", watch.check_all),
            self._every(interval_s, "samples", sampler.look),
            self._every(self._timing.reconcile_interval_s, "reconcile", adoption.run),
            self._every(_DEGRADATION_INTERVAL_S, "degradation", degradation.look),
            self._every(_AUDIT_INTERVAL_S, "audit", self._auditor.look),
            self._every(_METRICS_INTERVAL_S, "metrics", self._recorder.look),
            self._every(_WORK_POLL_S, "work", lambda: self._look_after(adoption, crew, freezer)),
            self._hear(wake, crew, freezer),
            listener.run(),
            self._announce_and_wait(crew, stop),
        ]
        try:
            await _first_to_end(loops, renewing, crew.conflict)
        finally:
            await watch.close()

    async def _open(self, adoption: Adoption) -> None:
        settings = PoolSettings.of(self._options, self._config.deployment)
        created, incarnation = await self._store.open(settings, secrets.token_hex(4))
        self._log.info("pool.created" if created else "pool.adopted", incarnation=incarnation)
        if self._options.container.privileged:
            self._log.warning("pool.privileged", why="its containers may do to the host whatever root may")
        await adoption.run()

    async def _every(self, interval_s: float, name: str, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except (StoreError, EngineError, UnknownPool) as error:
                self._tell(f"{name}.delayed", error.message)
            else:
                self._tell(f"{name}.delayed", "")
            await asyncio.sleep(interval_s)

    def _tell(self, event: str, why: str) -> None:
        """Log a lasting condition once when it begins or changes, and once when it is over."""
        if self._told.get(event, "") == why:
            return
        self._told[event] = why
        if why:
            self._log.warning(event, why=why)
        else:
            self._log.info(f"{event}.over")

    async def _look_after(self, adoption: Adoption, crew: Crew, freezer: Freezer) -> None:
        """Take up work that no hint told of; where Redis lost its data, begin anew with the containers there are."""
        try:
            status = await self._store.status()
        except UnknownPool:
            self._log.error("redis.data_lost", then="every container is recreated before it is lent again")
            await self._open(adoption)
            return
        if adoption.overdue(status):
            await adoption.run()
        await crew.take_up(status)
        await freezer.look(status)
        self._recorder.see(status)

    async def _announce_and_wait(self, crew: Crew, stop: asyncio.Event) -> None:
        """Say when every container has been started, then wait for the end."""
        status = await self._store.status()
        while status.count(State.STARTING):
            await crew.idle.wait()
            await asyncio.sleep(_ANNOUNCE_POLL_S)
            with suppress(StoreError, UnknownPool):
                status = await self._store.status()
        spares = {"spare": status.count(State.SPARE)} if self._options.spares else {}
        ready = status.count(State.AVAILABLE)
        self._log.info("pool.ready", available=ready, **spares, containers=len(status.containers))
        self.ready.set()
        await stop.wait()

    async def _hear(self, wake: WakeListener, crew: Crew, freezer: Freezer) -> None:
        await wake.add(self._store.pool)

        async def listen() -> None:
            async for _, container_id in wake.hints():
                crew.schedule(container_id)
                freezer.hear(container_id)

        await retrying()(listen)

    # Leaving for good

    async def _dissolve(self) -> None:
        """Take no new request and let the holders finish, within the grace."""
        until = time.monotonic() + self._timing.stop_grace_s
        held = await self._store.drain()
        if held:
            self._log.info("pool.draining", leases=held)
        while held and time.monotonic() < until:
            await asyncio.sleep(_DRAIN_POLL_S)
            await reap_all(self._store)
            held = (await self._store.status()).count(State.ALLOCATED)

    async def _remove(self) -> None:
        for record in (await self._store.status()).containers:
            if record.state is State.ALLOCATED:
                await self._store.transition(record, State.UNHEALTHY, store={"note": "the pool was removed"})
        for container in await self._runtime.list(self._config.deployment):
            if container.pool == self._store.pool:
                await self._runtime.remove(container.ref)
        await self._store.forget()
        self._log.info("pool.removed")


async def _first_to_end(loops: list[Coroutine[Any, Any, None]], *others: asyncio.Future[None]) -> None:
    """Run until a loop or one of the others ends, cancel the loops, and raise what ended it."""
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    try:
        done, _ = await asyncio.wait([*tasks, *others], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for ended in done:
        ended.result()
