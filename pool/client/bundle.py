"""Several leases that were taken together and are given back together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Generic, Protocol, TypeVar

from pool.client.lease import AsyncLease, GivenBack
from pool.errors import AlreadyReleased, LeaseLost
from pool.models import Outcome


class _Held(Protocol):
    """What a bundle of either kind of lease asks of each."""

    @property
    def lost(self) -> bool: ...

    @property
    def released(self) -> bool: ...

    def check(self) -> None: ...


L = TypeVar("L", bound=_Held)


class HeldBundle(Generic[L]):
    """Leases by the name of their pool: `bundle["browser"]` is a tuple. Iterating yields all of them."""

    def __init__(self, leases: Mapping[str, tuple[L, ...]]) -> None:
        self._leases = dict(leases)

    def __getitem__(self, pool: str) -> tuple[L, ...]:
        return self._leases[pool]

    def __iter__(self) -> Iterator[L]:
        return (lease for leases in self._leases.values() for lease in leases)

    def __len__(self) -> int:
        return sum(map(len, self._leases.values()))

    @property
    def pools(self) -> tuple[str, ...]:
        """The names of the pools, in their order."""
        return tuple(self._leases)

    @property
    def lost(self) -> bool:
        """Whether one of the leases ended under its holder."""
        return any(lease.lost for lease in self)

    @property
    def released(self) -> bool:
        """Whether all leases were given back, or let go."""
        return all(lease.released for lease in self)

    def check(self) -> None:
        """Do nothing while all leases hold; those that were given back one by one do not count.

        Raises:
            LeaseLost: One is lost; whatever still runs against its container must stop.
            AlreadyReleased: All were given back.
        """
        if self.released:
            raise AlreadyReleased("all leases of the bundle were given back before")
        for lease in self:
            if not lease.released:
                lease.check()

    def __repr__(self) -> str:
        held = ", ".join(f"{pool}: {list(leases)}" for pool, leases in self._leases.items())
        return f"<{type(self).__name__} {held}>"


class AsyncBundle(HeldBundle[AsyncLease], GivenBack):
    """Leases as one asynchronous context manager: leaving the block gives all of them back."""

    _lost_too = "leases of the bundle were lost, too"

    async def release(self, outcome: str | Outcome = Outcome.PASSED) -> None:
        """Give all containers back but those that were given back one by one. It goes on where one fails.

        Args:
            outcome: passed, failed or error; it decides how thoroughly the containers are reset.

        Raises:
            LeaseLost: Leases had ended before; names their containers. The others were given back.
            AlreadyReleased: All were given back before.
            StoreUnavailable: Redis stayed away; the leases lapse by themselves.
        """
        outcome = Outcome.parse(outcome)
        if self.released:
            self.check()
        leases = [lease for lease in self if not lease.released]
        results = await asyncio.gather(*(lease.release(outcome) for lease in leases), return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        lost = [error for error in errors if isinstance(error, LeaseLost)]
        if lost:
            raise LeaseLost("; ".join(error.message for error in lost), hint=lost[0].hint)
        if errors:
            raise errors[0]
