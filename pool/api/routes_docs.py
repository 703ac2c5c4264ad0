"""What the API is, for programs and for people."""

from __future__ import annotations

import json

from aiohttp import web

from pool.api.openapi import describe
from pool.api.page import POLICY, render
from pool.api.routing import ROUTES, Access, Routes

_TEXTS = web.AppKey("texts", dict[str, bytes])


async def get_openapi(request: web.Request) -> web.Response:
    """Return the OpenAPI document."""
    return web.Response(body=_text(request, "openapi"), content_type="application/json")


async def get_docs(request: web.Request) -> web.Response:
    """Return the page."""
    headers = {"Content-Security-Policy": POLICY}
    return web.Response(body=_text(request, "page"), content_type="text/html", charset="utf-8", headers=headers)


def _text(request: web.Request, name: str) -> bytes:
    """Return one of the two texts, which are made when the first is asked for."""
    texts = request.app[_TEXTS]
    if not texts:
        routes = request.app[ROUTES]
        document = describe(routes)
        texts["openapi"] = json.dumps(document).encode()
        texts["page"] = render(document).encode()
    return texts[name]


def add_docs(app: web.Application, routes: Routes) -> None:
    """Add the routes of this module."""
    app[_TEXTS] = {}
    routes.add("GET", "/openapi.json", get_openapi, access=Access.PUBLIC)
    routes.add("GET", "/docs", get_docs, access=Access.PUBLIC)
