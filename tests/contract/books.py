"""What the tests of the contract look up in the books of a pool, and the manager's part that they do."""

from __future__ import annotations

from pool.models import ResetReason, State
from pool.store import PoolStore


async def state(store: PoolStore, container_id: str = "a") -> State:
    record = await store.container(container_id)
    assert record is not None
    return record.state


async def is_state(store: PoolStore, wanted: State, container_id: str = "a") -> bool:
    return await state(store, container_id) is wanted


async def queued(store: PoolStore, length: int) -> bool:
    return len((await store.status()).queue) == length


async def lose(store: PoolStore, container_id: str = "a") -> None:
    """Have a container die under its holder."""
    record = await store.container(container_id)
    assert record is not None
    assert await store.transition(record, State.UNHEALTHY, store={"reason": ResetReason.ON_HEALTH_FAILURE.value})


async def recover(store: PoolStore, container_id: str = "a") -> None:
    """Do the manager's part: bring a container back that is not available."""
    record = await store.container(container_id)
    assert record is not None
    if record.state is State.UNHEALTHY:
        assert await store.transition(record, State.RESETTING)
        record = await store.container(container_id)
        assert record is not None
    assert await store.transition(record, State.AVAILABLE)
