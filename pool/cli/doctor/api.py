"""Whether a manager's HTTP API answers, is ready, and takes our token."""

from __future__ import annotations

from pool.cli.doctor.finding import Finding, failed, judged, ok
from pool.cli.remote import Remote, remote
from pool.errors import AccessDenied, PoolError


async def check_api(url: str) -> list[Finding]:
    """Ask a manager's HTTP API about itself, and return what there is to say."""
    found: list[Finding] = []
    try:
        async with remote(url) as api:
            await api.document("/healthz")
            found.append(ok("api", f"answers at {url}"))
            found.append(await _ready(api))
            pools = (await api.document("/v1/pools"))["pools"]
    except AccessDenied as error:
        return [*found, failed("api.token", error, "set POOL_TOKEN to what `poolctl token create` printed")]
    except PoolError as error:
        return [*found, failed("api", error)]
    found.append(ok("api.token", "taken"))
    return found + [
        judged(
            f"pool.{status['pool']}",
            f"{len(status['containers'])} containers; " + (status["manager"] or "no active manager"),
            "start one: `poolctl serve CONFIG`",
            poor=not status["manager"],
        )
        for status in pools
    ]


async def _ready(api: Remote) -> Finding:
    try:
        await api.document("/readyz")
    except AccessDenied:
        raise
    except PoolError as error:
        return failed("api.ready", error, "see the log of the manager")
    return ok("api.ready", "yes")
