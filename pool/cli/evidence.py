"""`poolctl evidence`: what managers on this host kept of containers that went wrong."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from pool.cli import completion
from pool.cli.exits import printable
from pool.cli.options import AnyPool, Json, Url, is_http
from pool.errors import InvalidRequest, StoreError

if TYPE_CHECKING:
    from pool.evidence import Bundle

#: What an archive may hold beyond what its bundle is said to hold, in bytes; and how long it may take to unpack.
_MARGIN_BYTES = 1 << 20
_PATIENCE_S = 300.0

_ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="CONFIG",
        help="Configuration that says where. By default the state directory.",
        envvar="POOL_CONFIG",
    ),
]
_DirOption = Annotated[
    Path | None, typer.Option("--dir", metavar="DIR", help="Where the bundles are, whatever the configuration says.")
]
_IdArgument = Annotated[
    str,
    typer.Argument(metavar="ID", help="Id of a bundle, or the beginning of one.", autocompletion=completion.bundles),
]


def list_(
    pool: AnyPool = None,
    *,
    as_json: Json = False,
    config: _ConfigOption = None,
    directory: _DirOption = None,
    url: Url = None,
) -> None:
    """Show what was kept of containers before they were recovered, oldest first.

    Bundles lie on the manager's host: run it there, as the manager's user, or give the URL of its HTTP API.
    """
    documents = [each for each in _documents(config, directory, url) if pool in (None, each.get("pool"))]
    if as_json:
        typer.echo(json.dumps({"bundles": documents}, indent=2))
    elif documents:
        _print_table(documents)
    else:
        typer.echo("no evidence was kept")


def show(
    bundle_id: _IdArgument,
    *,
    as_json: Json = False,
    config: _ConfigOption = None,
    directory: _DirOption = None,
    url: Url = None,
) -> None:
    """Say what a bundle is about, what is in it, and what could not be had."""
    document = _one(_documents(config, directory, url), bundle_id)
    if as_json:
        typer.echo(json.dumps(document, indent=2))
        return
    missing, files, lease = (document.pop(part, None) for part in ("missing", "files", "lease"))
    for name, value in (document | (lease or {})).items():
        if value not in (None, ""):
            typer.echo(f"{name:12} {printable(str(value))}")
    for name, size in (files or {}).items():
        typer.echo(f"{'file':12} {printable(name)}  {_size(size)}")
    for gap in missing or ():
        typer.echo(f"{'missing':12} {printable(gap['what'])}: {printable(gap['why'])}")


def get(
    bundle_id: _IdArgument,
    target: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; a folder of the bundle's id is made there.")],
    *,
    as_json: Json = False,
    config: _ConfigOption = None,
    directory: _DirOption = None,
    url: Url = None,
) -> None:
    """Copy a bundle. Nothing is replaced, and nothing is written through a symbolic link."""
    from pool.evidence import copy_bundle

    if _over_http(config, directory, url):
        document = _one(_documents(config, directory, url), bundle_id)
        bundle_id, path = document["id"], _fetch(url or "", document, target)
    else:
        bundles = {bundle.id: bundle for bundle in bundles_at(config, directory)}
        bundle_id = _one([{"id": known} for known in bundles], bundle_id)["id"]
        path = copy_bundle(bundles[bundle_id], target)
    typer.echo(json.dumps({"id": bundle_id, "path": str(path)}, indent=2) if as_json else path)


def _over_http(config: Path | None, directory: Path | None, url: str | None) -> bool:
    """Whether a manager's HTTP API is to be asked; a configuration or a directory is about this host."""
    return config is None and directory is None and is_http(url)


def _documents(config: Path | None, directory: Path | None, url: str | None) -> list[dict[str, Any]]:
    """Return what there is to say about each bundle, oldest first."""
    if _over_http(config, directory, url):
        return asyncio.run(_ask(url or ""))
    return [_bundle_json(bundle) for bundle in bundles_at(config, directory)]


async def _ask(url: str) -> list[dict[str, Any]]:
    from pool.cli.remote import container_path, remote

    found: list[dict[str, Any]] = []
    async with remote(url) as api:
        for row in (await api.document("/v1/containers"))["containers"]:
            path = container_path(row["id"], "evidence")
            found += (await api.document(path, pool=row["pool"]))["bundles"]
    return sorted(found, key=lambda document: str(document["id"]))


def _fetch(url: str, document: dict[str, Any], target: Path) -> Path:
    """Unpack a bundle that the API sends below a folder; its author may have been a tenant.

    Raises:
        InvalidRequest: It is there already.
        StoreError: It could not be unpacked to its end.
    """
    from pool.evidence.archive import unpack

    folder = target / Path(str(document["id"])).name
    if folder.exists() or folder.is_symlink():
        raise InvalidRequest("DIR", str(target), f"it has {folder.name} already, and nothing is replaced")
    with tempfile.TemporaryFile() as archive:
        asyncio.run(_download(url, document, archive))
        archive.seek(0)
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        limit_bytes = int(document["size_bytes"]) + _MARGIN_BYTES
        unpacked = unpack(archive, target, limit_bytes=limit_bytes, until=time.monotonic() + _PATIENCE_S)
    if unpacked.left_out or not folder.is_dir():
        why = "; ".join(unpacked.left_out) or "it holds something else"
        raise StoreError(f"bundle {document['id']!r} could not be unpacked whole: {printable(why)}")
    return folder


async def _download(url: str, document: dict[str, Any], archive: IO[bytes]) -> None:
    from pool.cli.remote import container_path, remote

    path = container_path(str(document["container"]), f"evidence/{quote(str(document['id']), safe='')}")
    async with remote(url) as api, api.open(path, query={"pool": str(document["pool"])}) as response:
        async for piece in response.content.iter_any():
            archive.write(piece)


def bundles_at(config: Path | None, directory: Path | None) -> list[Bundle]:
    """Return the bundles of a directory, or where a configuration keeps them, or where they are kept by default."""
    from pool.evidence import find_bundles

    return find_bundles([directory] if directory else _configured(config))


def _configured(path: Path | None) -> list[Path]:
    """Return where a configuration keeps bundles, or, without one, where they are kept by default."""
    from pool.evidence import default_evidence_root, evidence_root

    if path is None:
        return [default_evidence_root()]

    from pool.config import load_config

    config = load_config(path)
    return [evidence_root(config, pool) for pool in config.pools]


def _one(documents: list[dict[str, Any]], bundle_id: str) -> dict[str, Any]:
    """Return the bundle of an id, or of the beginning of one.

    Raises:
        InvalidRequest: There is none, or several.
    """
    found = [document for document in documents if document["id"].startswith(bundle_id)]
    if len(found) == 1 and bundle_id:
        return found[0]
    if found:
        last = found[-1]["id"]
        raise InvalidRequest("id", bundle_id, f"{len(found)} bundles begin with it, so give more of {last!r}")
    raise InvalidRequest("id", bundle_id, "use one that `poolctl evidence list` shows")


def _bundle_json(bundle: Bundle) -> dict[str, Any]:
    return {
        "id": bundle.id,
        **bundle.facts,
        "size_bytes": bundle.size_bytes,
        "path": str(bundle.path),
        "files": bundle.files(),
    }


def _print_table(documents: list[dict[str, Any]]) -> None:
    from pool.cli.tables import Column, FittingTable, open_console

    shown = FittingTable(
        "id",
        Column("pool", leaves=3),
        Column("container", leaves=2),  # the id says it, too
        "cause",
        Column("owner", least=10, leaves=1),
        Column("size", leaves=4),
        Column("note", least=12),
    )
    for document in documents:
        lease = document.get("lease") or {}
        cells = [str(document.get(part, "")) for part in ("id", "pool", "container", "cause")]
        cells += [lease.get("owner", ""), _size(document["size_bytes"]), str(document.get("note", ""))]
        shown.add_row(*cells)
    open_console().print(shown)


def _size(size_bytes: int) -> str:
    """Write a size for people.

    >>> _size(512), _size(20_000), _size(3_400_000)
    ('512 B', '20 KB', '3.4 MB')
    """
    if size_bytes < 1000:
        return f"{size_bytes} B"
    return f"{size_bytes / 1000:.0f} KB" if size_bytes < 1_000_000 else f"{size_bytes / 1_000_000:.1f} MB"
