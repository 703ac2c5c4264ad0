"""The pools behind a manager's HTTP server, as a client needs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import quote

from pool.allocator import check_reason
from pool.client.backend import Leases
from pool.client.direct import default_owner, only
from pool.client.http import reading
from pool.client.http.access import Access
from pool.client.http.keeping import HttpKeeper
from pool.client.http.obtaining import obtain, obtain_bundle
from pool.client.http.transport import Away, Transport
from pool.client.lease import AsyncLease
from pool.models import LeaseData, LeaseRef, Outcome, PoolStatus, ResetLevel, TimeoutRecommendation
from pool.requirements import Requirements, choose
from pool.store import RequestSpec, check_pool_name
from pool.waiting import QueueEntry


def _pool_path(pool: str, what: str = "") -> str:
    return f"/v1/pools/{check_pool_name(pool)}{what}"


class OverHttp:
    """A `Backend` on a manager's HTTP server.

    Args:
        transport: To the server; it is closed with this.
        process: The client's name.
        owner: Who asks when nobody says; empty where the server knows whom the token is for.
    """

    def __init__(self, transport: Transport, process: str, owner: str = "") -> None:
        self.default_owner = owner
        self.keeper = HttpKeeper(transport, process)
        self._transport = transport

    @classmethod
    async def open(cls, access: Access, process: str, *, patience_s: float) -> Self:
        """Connect, and see that the server takes the token.

        Raises:
            StoreUnavailable: Nobody answers, or the server has no Redis.
            StoreUnsupported: What answers is no server of the pool.
            AccessDenied: The token is missing, or not valid.
        """
        transport = Transport(access, process, patience_s=patience_s)
        try:
            await _greet(transport)
        except BaseException:
            await transport.close()
            raise
        return cls(transport, process, "" if access.token else default_owner())

    async def close(self) -> None:
        """See `AsyncClient.close`."""
        await self.keeper.close()

    async def acquire(
        self, pool: str | None, request: RequestSpec, *, requirements: Mapping[str, Any] | None, max_retries: int
    ) -> AsyncLease:
        """See `AsyncClient.acquire`."""
        if requirements is not None:  # chosen here, and once: sent again, the request must not go elsewhere
            needs = Requirements.parse(requirements)
            statuses = [await self.status(pool)] if pool is not None else await self._statuses()
            pool = choose(statuses, needs)
        name = check_pool_name(pool) if pool is not None else only(await self.pools())
        return await obtain(self.keeper, name, request, max_retries=max_retries)

    async def acquire_many(self, counts: Mapping[str, int], request: RequestSpec, *, max_retries: int) -> Leases:
        """See `AsyncClient.acquire_many`."""
        return await obtain_bundle(self.keeper, counts, request, max_retries=max_retries)

    async def release(self, ref: LeaseRef, outcome: Outcome) -> None:
        """See `AsyncClient.release`."""
        await self.keeper.release(ref, outcome)

    async def extend(self, ref: LeaseRef, extra_s: float, reason: str, used: int | None = None) -> LeaseData:
        """See `AsyncClient.extend`."""
        return await self.keeper.extend(ref, extra_s, reason, used)

    async def _statuses(self) -> list[PoolStatus]:
        reply = await self._transport.call("GET", "/v1/pools")
        return [reading.status(row) for row in reply.body["pools"]]

    async def pools(self) -> list[str]:
        """See `AsyncClient.pools`."""
        reply = await self._transport.call("GET", "/v1/pools")
        return [row["pool"] for row in reply.body["pools"]]

    async def status(self, pool: str) -> PoolStatus:
        """See `AsyncClient.status`."""
        return reading.status((await self._transport.call("GET", _pool_path(pool))).body)

    async def queue(self, pool: str) -> list[QueueEntry]:
        """See `AsyncClient.queue`."""
        return reading.queue((await self._transport.call("GET", _pool_path(pool, "/queue"))).body["queue"])

    async def explain(self, pool: str, request_id: str) -> str:
        """See `AsyncClient.explain`."""
        path = _pool_path(pool, f"/requests/{quote(request_id, safe='')}")
        return str((await self._transport.call("GET", path)).body["explanation"])

    async def recommend(self, pool: str, label: str) -> TimeoutRecommendation | None:
        """See `AsyncClient.timeout_recommendation`."""
        path = _pool_path(pool, f"/timeouts/{quote(label, safe='')}")
        return reading.recommendation((await self._transport.call("GET", path)).body["recommendation"])

    async def _order(self, pool: str, container_id: str, what: str, *, repeatable: bool = False, **body: Any) -> None:
        """Have something done to a container; `reason` is said only where there is one."""
        path = f"/v1/containers/{quote(container_id, safe='')}/{what}"
        said = {name: value for name, value in body.items() if value != ""}
        query = {"pool": check_pool_name(pool)}
        await self._transport.call("POST", path, query=query, body=said, repeatable=repeatable)

    async def reset(self, pool: str, container_id: str, level: ResetLevel, reason: str) -> None:
        """See `AsyncClient.reset`."""
        await self._order(pool, container_id, "reset", level=level.label, reason=reason)

    async def quarantine(self, pool: str, container_id: str, reason: str, *, force: bool) -> None:
        """See `AsyncClient.quarantine`."""
        check_reason(reason)
        await self._order(pool, container_id, "quarantine", reason=reason, force=force)

    async def restore(self, pool: str, container_id: str, reason: str) -> None:
        """See `AsyncClient.restore`."""
        await self._order(pool, container_id, "restore", reason=reason)

    async def pause(self, pool: str, container_id: str, reason: str) -> None:
        """See `AsyncClient.pause`."""
        await self._order(pool, container_id, "pause", reason=reason)

    async def unpause(self, pool: str, container_id: str, reason: str) -> None:
        """See `AsyncClient.unpause`."""
        await self._order(pool, container_id, "unpause", reason=reason)

    async def drain(self, pool: str, container_id: str | None, reason: str) -> None:
        """See `AsyncClient.drain`."""
        await self._switch(pool, container_id, "drain", reason)

    async def resume(self, pool: str, container_id: str | None, reason: str) -> None:
        """See `AsyncClient.resume`."""
        await self._switch(pool, container_id, "resume", reason)

    async def _switch(self, pool: str, container_id: str | None, what: str, reason: str) -> None:
        if container_id is not None:
            await self._order(pool, container_id, what, repeatable=True, reason=reason)
        else:
            body = {"reason": reason} if reason else {}
            await self._transport.call("POST", _pool_path(pool, f"/{what}"), body=body)


async def _greet(transport: Transport) -> None:
    """Ask for something that needs the token; a server that begins or ends is waited for, one that is away is not."""
    try:
        await transport.once("GET", "/v1/pools")
    except Away as away:
        if not away.reached:
            raise
        await transport.call("GET", "/v1/pools")
