"""A crew that knows its containers and does nothing to them, for tests of what decides what is to be done."""

from __future__ import annotations

from pool.config import Config
from pool.evidence import EvidenceKeeper
from pool.health import Prober
from pool.manager.crew import Crew
from pool.ports import ContainerSpec
from pool.reset import Resetter
from pool.store import PoolStore
from pool.testing import MemoryRuntime
from tests.support import add_available


async def idle_crew(config: Config, store: PoolStore, runtime: MemoryRuntime) -> Crew:
    """Return a crew that may not lead, with a running, available container in each slot."""
    prober = Prober(runtime, config.pools[store.pool].health)
    resetter = Resetter(config, store.pool, runtime, store, prober.wait_healthy)
    evidence = EvidenceKeeper(config, store.pool, runtime, store)
    crew = Crew(config, store.pool, runtime, store, resetter, evidence, lambda: False)
    for slot in config.slots(store.pool):
        created = await runtime.create(ContainerSpec.of(config, slot, generation=1))
        crew.containers[slot.id] = await runtime.start(created.ref)
        await add_available(store, slot.id)
    return crew
