"""A lease in its holder's hands."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self

from pool.errors import AlreadyReleased, GatewayUnknown, LeaseLost
from pool.models import ContainerInfo, LeaseData, Outcome

if TYPE_CHECKING:
    from pool.client.holding import Holding

#: A lease counts as lost this share of its ttl before Redis would say so: better too early than two holders.
_MARGIN = 0.1

#: The holder is warned when a fifth of the lease's life is left, or this many seconds if that is less.
_WARNING_S = 10.0
#: A little later than Redis would by its own clock, so that the heartbeat sent then finds the deadline near, too.
_LATER = 0.95

OnLost = Callable[["HeldLease"], object]


class HeldLease:
    """What a holder knows of its lease, and whether it still holds.

    Validity is judged on this process's monotonic clock, from the last heartbeat that Redis acknowledged: a holder
    cut off from Redis learns that it lost its lease before anybody else can get the container.
    """

    def __init__(
        self,
        data: LeaseData,
        *,
        asked_at: float,
        at: float,
        on_lost: OnLost | None = None,
        on_deadline: OnLost | None = None,
    ) -> None:
        self._on_lost = on_lost
        self._on_deadline = on_deadline
        self._lost = ""
        self._ended = ""
        self.granted(data, asked_at=asked_at, at=at)

    def granted(self, data: LeaseData, *, asked_at: float, at: float) -> None:
        """Note what was granted: `at` by the clock of Redis, and asked for at `asked_at` by the monotonic clock."""
        self.data = data
        self._deadline = asked_at + (data.deadline_at - at)
        self.renew(asked_at)

    def renew(self, asked_at: float, left_s: float = 0.0) -> None:
        """Note that a heartbeat was acknowledged.

        Args:
            asked_at: When it was sent, in seconds of the monotonic clock.
            left_s: How far the deadline was away at least, where the answer says that.
        """
        self._deadline = max(self._deadline, asked_at + left_s)
        self._valid_until = min(asked_at + self.data.ttl_s * (1 - _MARGIN), self._deadline)

    def moved(self, data: LeaseData, asked_at: float) -> None:
        """Note that the lease's deadline was moved, as `data` says."""
        self._deadline += data.deadline_at - self.data.deadline_at
        self.data = data
        self.renew(asked_at)

    @property
    def warn_at(self) -> float:
        """When the holder is to be told that the deadline is near, in seconds of the monotonic clock."""
        life = self.data.deadline_at - self.data.granted_at
        return self._deadline - min(life / 5, _WARNING_S) * _LATER

    def warn(self) -> None:
        """Tell the holder that the deadline is near."""
        if self._on_deadline is not None and not self.lost and not self._ended:
            self._on_deadline(self)

    @property
    def left_s(self) -> float:
        """Seconds until the deadline, at which the lease ends, heartbeats or not; 0 once it has ended."""
        return 0.0 if self.lost or self._ended else max(self._deadline - time.monotonic(), 0.0)

    def lose(self, why: str) -> None:
        """Note that the lease is lost, and tell its holder once."""
        if self._lost or self._ended:
            return
        self._lost = why
        if self._on_lost is not None:
            self._on_lost(self)

    def expire(self) -> None:
        """Lose the lease if its time is over by our own clock."""
        now = time.monotonic()
        if now >= self._deadline:
            self.lose("its deadline was reached")
        elif now >= self._valid_until:
            self.lose("no heartbeat was acknowledged for its ttl")

    @property
    def lost(self) -> bool:
        """Whether the lease ended under its holder."""
        if not self._ended:
            self.expire()
        return bool(self._lost)

    @property
    def released(self) -> bool:
        """Whether the lease was given back, or let go."""
        return bool(self._ended)

    def check(self) -> None:
        """Do nothing while the lease holds.

        Raises:
            LeaseLost: It is lost; whatever still runs against the container must stop.
            AlreadyReleased: It was given back, or let go.
        """
        if self._ended:
            raise AlreadyReleased(f"the lease of request {self.data.request_id!r} was {self._ended} before")
        if self.lost:
            raise LeaseLost(
                f"the lease of container {self.container.id!r} is lost: {self._lost}",
                hint="stop using the container: it is being reset for somebody else",
            )

    @property
    def url(self) -> str:
        """Base URL of the container.

        Raises:
            LeaseLost: The lease is lost.
            GatewayUnknown: The container is reached through a manager's gateway only, and nobody said where that is.
        """
        self.check()
        if not self.data.url and self.container.gateway is not None:
            raise GatewayUnknown(
                f"container {self.container.id!r} is reached through the gateway only, and nobody said where that is",
                hint="set http.public_url in the manager's configuration, or connect to the manager: http://host:port",
            )
        return self.data.url

    @property
    def gateway_url(self) -> str:
        """Base URL of the container through the gateway; a secret, since the token is in it. Empty where it has none.

        Raises:
            LeaseLost: The lease is lost.
        """
        self.check()
        return self.data.gateway_url

    @property
    def container(self) -> ContainerInfo:
        """The leased container."""
        return self.data.container

    @property
    def request_id(self) -> str:
        """Id of the request that this lease answers."""
        return self.data.request_id

    @property
    def fence(self) -> int:
        """Rises with every lease of a container; hand it on to what must reject a former holder."""
        return self.data.fence

    @property
    def waited_s(self) -> float:
        """From the request to the grant, in seconds."""
        return self.data.waited_s

    def _finish(self, how: str) -> None:
        """Mark as ended for this holder, unless the lease is lost or had ended before."""
        self.check()
        self._ended = how

    def __repr__(self) -> str:
        state = self._ended or ("lost" if self._lost else "held")
        return f"<{type(self).__name__} {self.container.id} fence={self.fence} {state}>"


class GivenBack(ABC):
    """What leaving its block gives back: as passed, or as failed if it is left by an exception."""

    #: Says in a note to that exception that there was nothing left to give back.
    _lost_too: ClassVar[str]

    @property
    @abstractmethod
    def released(self) -> bool:
        """Whether it was given back, or let go."""

    @abstractmethod
    async def release(self, outcome: str | Outcome = Outcome.PASSED) -> None:
        """Give it back."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.released:
            return
        try:
            await self.release(Outcome.PASSED if error is None else Outcome.FAILED)
        except LeaseLost as lost:
            if error is None:
                raise
            error.add_note(f"{self._lost_too}: {lost}")


class AsyncLease(HeldLease, GivenBack):
    """A lease as an asynchronous context manager: leaving the block gives it back."""

    _lost_too = "the lease was lost, too"

    def __init__(
        self, data: LeaseData, keeper: Holding, *, asked_at: float, at: float, on_lost: OnLost | None = None
    ) -> None:
        super().__init__(data, asked_at=asked_at, at=at, on_lost=on_lost)
        self._keeper = keeper
        self._alarm: asyncio.TimerHandle | None = None

    def hand_out(self, on_lost: OnLost | None, on_deadline: OnLost | None) -> Self:
        """Tell the holder from now on what happens to the lease."""
        self._on_lost = on_lost
        self._on_deadline = on_deadline
        self._alarm = self._keeper.alarm(self)
        return self

    def silence(self) -> None:
        """Tell nobody any more what happens to the lease."""
        self._on_lost = self._on_deadline = None
        if self._alarm is not None:
            self._alarm.cancel()

    async def release(self, outcome: str | Outcome = Outcome.PASSED) -> None:
        """Give the container back.

        Args:
            outcome: passed, failed or error; it decides how thoroughly the container is reset.

        Raises:
            LeaseLost: The lease had ended before.
            AlreadyReleased: It was given back before.
        """
        outcome = Outcome.parse(outcome)
        self._finish("released")
        await self._keeper.give_back(self, outcome)

    async def extend(self, extra_s: float, *, reason: str) -> None:
        """Move the deadline further into the future.

        Args:
            extra_s: How much, in seconds.
            reason: Why; it is recorded with the lease's events.

        Raises:
            ExtensionDenied: The extensions are used up, or the deadline would be beyond the longest lease.
            LeaseLost: The lease has ended.
            InvalidRequest: `extra_s` or `reason` is none.
        """
        self.check()
        asked_at = time.monotonic()
        ref, used = self.data.proof, self.data.extensions_used
        self.moved(await self._keeper.extend(ref, extra_s, reason, used), asked_at)
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._keeper.alarm(self)

    async def detach(self) -> None:
        """Let go of the lease without giving it back: this client neither renews nor returns it any more.

        Redis keeps it for `data.ttl_s` from the last heartbeat; whoever has `data.ref` can release it until then.

        Raises:
            LeaseLost: The lease had ended before.
            AlreadyReleased: It was given back, or let go.
        """
        self._finish("detached")
        self._keeper.let_go(self)
