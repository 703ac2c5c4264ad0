"""Whether a lease holds, watched for as long as somebody uses it through the gateway; its end cuts off all at once."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp
import structlog

from pool.api.problems import Problem
from pool.errors import AlreadyReleased, GatewayOff, LeaseError, LeaseLost, PoolError, StoreError, TooManyConnections
from pool.leases import LeaseRef
from pool.models import ContainerInfo, GatewayRules, RequestState
from pool.store import PoolStore, Sight

#: A lease is looked at so long before its known end, in seconds, and again whenever half of what is left has passed.
_EARLY_S = 1.0
_SHORTEST_S = 0.005
#: How long a look may take that is due at the very end; without an answer by then the lease is over.
_LATE_S = 0.05
#: Between two looks while Redis does not answer.
_AGAIN_S = 0.25
#: The second look follows so soon: events of a new pool, or of one that this process has just begun to follow, may have
#: been missed at first.
_SECOND_LOOK_S = 1.5
#: The longest time between two looks. A guard that nobody used for so long is given up; the next use begins anew.
_IDLE_S = 30.0

log = structlog.get_logger()


class Guard:
    """One lease, as far as the gateway has to do with it.

    Requests do not ask Redis: the lease is read at the first of them. From then on three things end it: an event of its
    end, its own end as it was known when Redis was asked last, and a look now and then that finds it over. What is open
    then is cut off, in both directions.

    Attributes:
        ended: Why the lease does not hold any more; None while it does.
        retired: It watches no longer, so the next use needs another one.

    Args:
        ref: The lease as the first who uses it names it; the secret in it proves nothing yet.
        store: The pool in Redis; its calls must not wait for a Redis that is away.
    """

    def __init__(self, ref: LeaseRef, store: PoolStore) -> None:
        self.ended: PoolError | Problem | None = None
        self.retired = False
        self._ref = ref
        self._store = store
        self._token = ""
        self._info: ContainerInfo | None = None
        self._ends_at = 0.0
        self._cuts: set[asyncio.Timeout] = set()
        self._used_at = 0.0
        self._known = asyncio.Event()
        self._unread: StoreError | None = None
        self._doubt = asyncio.Event()
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._loop = asyncio.get_running_loop()

    async def known(self) -> None:
        """Wait until the lease was read.

        Raises:
            StoreError: Redis does not answer.
        """
        await self._known.wait()
        if self._unread is not None:
            raise self._unread

    @property
    def request_id(self) -> str:
        """The request that the lease answers."""
        return self._ref.request_id

    def proves(self, ref: LeaseRef) -> bool:
        """Whether a lease token has the lease's secret; a request that Redis does not know has none."""
        return bool(self._token) and hmac.compare_digest(self._token.encode(), ref.token.encode())

    def shares(self, other: Guard) -> bool:
        """Whether two leases are of the same container."""
        return self._info is not None and other._info is not None and self._info.id == other._info.id

    @property
    def info(self) -> ContainerInfo:
        """The leased container, as it was read last.

        Raises:
            LeaseError: The lease has ended.
        """
        if self.ended is not None or self._info is None:
            raise self.ended or AssertionError("the lease was not read")
        return self._info

    @property
    def rules(self) -> GatewayRules:
        """How the container is reached.

        Raises:
            LeaseError: The lease has ended.
            GatewayOff: Not through the gateway.
        """
        if (rules := self.info.gateway) is None:
            raise GatewayOff(
                f"containers of pool {self._ref.pool!r} are not reached through the gateway",
                hint="use the lease's url, or set access: gateway or both for the pool",
            )
        return rules

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[asyncio.Timeout]:
        """Keep a connection for the length of the block, which the lease's end interrupts.

        Yields:
            What has `expired()` once the lease has ended; then the block raises TimeoutError.

        Raises:
            TooManyConnections: The lease has as many as it may.
            LeaseError: The lease has ended.
        """
        limit = self.rules.connections
        if len(self._cuts) >= limit:
            raise TooManyConnections(
                f"{limit} connections of the lease of request {self._ref.request_id!r} are open already",
                hint="gateway.connections of the pool says how many may be; close some",
            )
        async with asyncio.timeout(None) as cut:
            self._cuts.add(cut)
            try:
                yield cut
            finally:
                self._cuts.discard(cut)
                self._used_at = self._loop.time()

    def session(self, *, reuse: bool) -> aiohttp.ClientSession:
        """Return what connects to the container. Connections are this lease's own and end with it.

        Were they shared, what one holder left in a connection would reach the next one's container.

        Args:
            reuse: Over connections that are kept, rather than a fresh one. One that is kept may be closed by the
                container just when it is used: only what may be sent twice goes over those.
        """
        if reuse not in self._sessions:
            self._sessions[reuse] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=not reuse, ssl=False),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.rules.connect_timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                auto_decompress=False,
                trust_env=False,
                max_line_size=_LONGEST_LINE,
                max_field_size=_LONGEST_LINE,
            )
        return self._sessions[reuse]

    def end(self, error: PoolError | Problem) -> None:
        """Cut off whatever is open; from now on the lease is over."""
        if self.ended is not None:
            return
        self.ended = error
        self._doubt.set()
        for cut in self._cuts:
            cut.reschedule(self._loop.time())
        if self._cuts:
            log.info(
                "gateway.cut_off",
                pool=self._ref.pool, lease=self._ref.request_id, connections=len(self._cuts), why=error.code,
            )  # fmt: skip

    def doubt(self) -> None:
        """Look at once: events may have been missed."""
        self._doubt.set()

    async def watch(self) -> None:
        """Read the lease; return when it has ended, or nobody used it for a while. Its connections are closed then."""
        try:
            await self._begin()
            longest_s = _SECOND_LOOK_S
            while self.ended is None and not self._idle:
                await self._pause(longest_s)
                longest_s = _IDLE_S
                if self.ended is None:
                    await self._look()
        finally:
            self.retired = True
            await asyncio.gather(*(session.close() for session in self._sessions.values()))

    async def _begin(self) -> None:
        asked_at = self._used_at = self._loop.time()
        try:
            self._note(await self._store.look(self._ref.request_id), asked_at)
        except StoreError as error:
            self._unread = error
            self.end(error)
        finally:
            self._known.set()

    @property
    def _idle(self) -> bool:
        return not self._cuts and self._loop.time() - self._used_at > _IDLE_S

    async def _pause(self, longest_s: float) -> None:
        """Wait until a look is due, or demanded, or the lease has ended."""
        left = self._ends_at - self._loop.time()
        pause = min(max(left - min(_EARLY_S, left / 2), _SHORTEST_S), longest_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._doubt.wait()

    async def _look(self) -> None:
        asked_at = self._loop.time()
        self._doubt.clear()
        try:
            async with asyncio.timeout(max(self._ends_at - asked_at, 0) + _LATE_S):
                sight = await self._store.look(self._ref.request_id)
        except (StoreError, TimeoutError):
            if self._loop.time() >= self._ends_at:
                self.end(LeaseLost(f"the lease of request {self._ref.request_id!r} cannot be confirmed: Redis is away"))
                return
            await asyncio.sleep(min(_AGAIN_S, self._ends_at - self._loop.time()))
            self._doubt.set()  # what was to be found out still is
        else:
            self._note(sight, asked_at)

    def _note(self, sight: Sight | None, asked_at: float) -> None:
        """Note what Redis said, asked at `asked_at` by the loop's clock: rather too early than too late it will end."""
        if sight is not None:
            self._token = sight.token
        if sight is None or sight.lease is None or sight.fence != self._ref.fence:
            state = RequestState.LOST if sight is None or sight.fence != self._ref.fence else sight.state
            self.end(ending(self._ref.request_id, state))
            return
        self._info = sight.lease.container
        self._ends_at = asked_at + (sight.lease.expires_at - sight.at)


#: Of what a container sends in its head: browsers' servers set long cookies.
_LONGEST_LINE = 64 * 1024


def ending(request_id: str, state: RequestState) -> LeaseError:
    """Return the error of a lease that has come to an end."""
    if state is RequestState.RELEASED:
        return AlreadyReleased(f"the lease of request {request_id!r} was released before")
    return LeaseLost(
        f"the lease of request {request_id!r} is not held any more",
        hint="it expired, was revoked, or its container died; acquire another one",
    )
