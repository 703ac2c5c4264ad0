"""The live page: files that lie beside this module, and nothing else. What it shows it asks the API for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType

from aiohttp import web

from pool.api.routing import Access, Routes

#: What a browser may do with the page: run its own scripts, and ask the server that it came from. Whatever a tenant
#: calls itself, it stays text: nothing can be made HTML or script of.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

_FOLDER = "live"
_PAGE = "index.html"
_MEDIA = MappingProxyType({".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"})


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    media: str
    etag: str


_FILES = web.AppKey("live", Mapping[str, _File])


def _load() -> Mapping[str, _File]:
    """Read what may be asked for, by name. A name that is not here does not exist, whatever is on the disk."""
    found = {}
    for entry in files("pool.api").joinpath(_FOLDER).iterdir():
        media = _MEDIA.get(entry.name[entry.name.rfind(".") :])
        if media:
            body = entry.read_bytes()
            found[entry.name] = _File(body, media, hashlib.sha256(body).hexdigest()[:32])
    return MappingProxyType(found)


async def get_page(request: web.Request) -> web.Response:
    """Return the page."""
    return _answer(request, _PAGE)


async def get_file(request: web.Request) -> web.Response:
    """Return one of the page's files."""
    return _answer(request, request.match_info["name"])


def _answer(request: web.Request, name: str) -> web.Response:
    """Return a file, or that the browser has it already.

    Raises:
        HTTPNotFound: There is none of this name.
    """
    file = request.app[_FILES].get(name)
    if file is None:
        raise web.HTTPNotFound
    # Names stay the same from version to version, so a browser asks each time whether its copy is the right one.
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache", "ETag": f'"{file.etag}"'}
    known = request.if_none_match or ()
    if any(tag.value == file.etag for tag in known):
        return web.Response(status=304, headers=headers)
    return web.Response(body=file.body, content_type=file.media, charset="utf-8", headers=headers)


def add_live(app: web.Application, routes: Routes) -> None:
    """Add the routes of this module."""
    app[_FILES] = _load()
    routes.add("GET", "/", get_page, access=Access.PUBLIC)
    routes.add("GET", f"/{_FOLDER}/{{name}}", get_file, access=Access.PUBLIC)
