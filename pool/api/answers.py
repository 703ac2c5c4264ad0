"""How answers are written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from pool.api.keys import SERVICES
from pool.shapes import lease_json
from pool.store import Grant

_JSON = "application/json"


def answer(document: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Write a document as JSON."""
    return web.Response(status=status, body=json.dumps(document).encode(), content_type=_JSON, headers=headers)


async def lease_document(request: web.Request, grant: Grant) -> dict[str, Any]:
    """Return a lease as its holder gets it."""
    services = request.app[SERVICES]
    lease = grant.lease
    limits = await services.limits(lease.pool)
    return lease_json(
        lease,
        at=grant.at,
        token=lease.proof.sealed(),
        gateway_url=gateway_url(request, grant),
        max_extensions=limits.max_extensions,
    )


def gateway_url(request: web.Request, grant: Grant) -> str | None:
    """Return where a leased container is reached through this server; None where it is not."""
    http = request.app[SERVICES].http
    if grant.lease.container.gateway is None or not http.gateway:
        return None
    return grant.lease.proof.url(http.public_url or f"{request.scheme}://{request.host}")


def location(path: str) -> dict[str, str]:
    """Return the header that says where what was made is found."""
    return {"Location": path}
